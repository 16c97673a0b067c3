# Import of users with other systems' hashes: every scheme signs in, kill -9 loses and doubles nothing,
# and no file brings the command down.

import collections
import json
import os
import pty
import signal
import sqlite3
import subprocess
import time
import unittest

from harness import BINARY, ROOT, SOAK, Gatehouse, after, peak_memory, scratch, seeded
from visitor import call
from wire import eventually

USERS = 20_000 * SOAK
# A hash that costs nothing to make: nobody signs in with it.
HASH = "$2b$04$abcdefghijklmnopqrstuubyCG3zY1GIXMyxfivm.ClDiInHzxjiq"
MAXIMUM_LINE = 65_536


def vectors():
    """(case, password, hash) of every vector of other systems' hashes."""
    cases = []
    for line in (ROOT / "Tests/Vectors/foreign-hashes.txt").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "case":
            cases.append({})
        if name in ("case", "password", "hash"):
            cases[-1][name] = value
    assert len(cases) > 15
    return [(case["case"], case["password"], case["hash"]) for case in cases]


def line(name, password_hash=HASH, **more):
    return json.dumps({"username": name, "password_hash": password_hash, **more})


class ImportTest(unittest.TestCase):
    def setUp(self):
        self.directory = scratch(self)
        self.file = self.directory / "users.jsonl"
        self.gatehouse = Gatehouse(self, front={})

    def write(self, *lines):
        """The file of these lines, text or bytes."""
        self.file.write_bytes(b"".join(
            (one.encode() if isinstance(one, str) else one) + b"\n" for one in lines))

    def run_import(self, *options):
        """(exit code, summary, {refused line: reason}) of an import of the file."""
        code, output, errors = self.gatehouse.command(
            "users", "import", self.file, "--json", *options)
        self.assertIn(code, (0, 1), errors)
        refused = {}
        for text in errors.splitlines():
            if text.startswith("line "):
                number, _, reason = text[5:].partition(": ")
                refused[int(number)] = reason
            else:
                self.assertRegex(text, "^(going on after line|error:|hint:)")
        return code, json.loads(output) if output else None, refused

    def names(self):
        return [user["username"] for user in self.gatehouse.json("users", "list")["users"]]

    def sign_in(self, name, password):
        return call(self.gatehouse.front, "POST", "/auth/v1/login",
                    {"username": name, "password": password, "transport": "bearer"}).status


class Import(ImportTest):
    def test_every_scheme_signs_in_beside_a_running_server(self):
        self.gatehouse.start()
        cases = vectors()
        self.write(*(line(f"user{number}", hash) for number, (_, _, hash) in enumerate(cases)))
        code, summary, refused = self.run_import()
        self.assertEqual((code, refused), (0, {}))
        self.assertEqual(summary, {"lines": len(cases), "added": len(cases), "refused": 0,
                                   "resumed_after": 0})
        for number, (case, password, _) in enumerate(cases):
            with self.subTest(case):
                self.assertEqual(self.sign_in(f"user{number}", "not " + password), 401)
                self.assertEqual(self.sign_in(f"USER{number}", password), 200)
        # Each is one of ours by now, but for those that did not read all that was typed.
        cut = {f"user{number}" for number, (_, password, hash) in enumerate(cases)
               if hash.startswith("$2") and len(password.encode()) > 72}
        eventually(lambda: self.foreign() <= cut, within=30)
        for number, (case, password, _) in enumerate(cases):
            with self.subTest(case):
                self.assertEqual(self.sign_in(f"user{number}", password), 200)

    def foreign(self):
        """The users whose hash is not Argon2id of ours under a pepper."""
        database = sqlite3.connect(f"file:{self.gatehouse.data}/gatehouse.sqlite?mode=ro", uri=True)
        rows = database.execute(
            "SELECT canonical, password_hash FROM users JOIN names ON user_id = id").fetchall()
        database.close()
        return {name for name, text in rows
                if not text.startswith("$argon2id$v=19$m=12288,t=3,p=1,keyid=")}

    def test_a_user_without_a_password_signs_in_after_a_recovery_only(self):
        self.gatehouse.start()
        self.write(line("ada", None))
        self.assertEqual(self.run_import()[0], 0)
        self.assertEqual(self.sign_in("ada", "null"), 401)
        self.assertFalse(self.gatehouse.json("users", "show", "ada")["has_password"])
        self.assertIn("recover", self.gatehouse.json("users", "recover", "ada")["link"])

    def test_refused_lines_are_told_with_their_numbers_and_change_nothing(self):
        self.gatehouse.make_store()
        self.gatehouse.add_user("taken")
        self.write(
            line("ada"),
            "",                                                            # nothing
            line("TAKEN"), line("ada"),                                    # names that are taken
            line("a b"), line(""), line("x" * 65),                         # no names
            line("p1", "hunter2"), line("p2", "$1$abcdefgh$abcdefghijklmnopqrstuv"),
            line("p3", "$argon2id$v=19$m=4194304,t=1,p=1$AAECAwQFBgcICQoLDA0ODw$duawEJoJFH2JnwDWfNd"
                       "iDQ"),
            line("p4", HASH.replace("$04$", "$31$")),
            line("q1", profile={"name": "Q"}), line("q2", email="q@example.org"),
            '{"username": "r1"}', '{"username": "r2", "username": "r3", "password_hash": null}',
            '{"username": "r4", "password_hash": null', "[" * 60_000, "]", "\ufeff" + line("r5"),
            line("r6").replace("r6", "\\u001b[31m"), b'{"username": "r\xff", "password_hash": null}',
            line("last", profile={}) + "\r")
        code, summary, refused = self.run_import()
        self.assertEqual(code, 1)
        self.assertEqual(sorted(refused), list(range(3, 22)))
        self.assertEqual(summary, {"lines": 22, "added": 2, "refused": 19, "resumed_after": 0})
        self.assertEqual(self.names(), ["ada", "last", "taken"])
        for number, word in {3: "taken", 4: "taken", 5: "space", 6: "empty", 7: "too long",
                             8: "scheme", 9: "scheme", 10: "memory", 11: "work", 12: "profile",
                             13: "member", 14: "lacks", 15: "JSON", 17: "JSON", 21: "UTF-8"}.items():
            self.assertIn(word, refused[number])
        # What a line says is never printed: it may be a password, or mean something to a terminal.
        self.assertNotIn("\x1b", "".join(refused.values()))
        self.assertNotIn("hunter2", "".join(refused.values()))

    def test_refused_lines_go_to_a_file_when_it_is_named(self):
        self.gatehouse.make_store()
        self.write(line("ada"), "x", line("a b"))
        report = self.directory / "refused.jsonl"
        code, _, printed = self.run_import("--refused", report)
        self.assertEqual((code, printed), (1, {}))
        lines = [json.loads(text) for text in report.read_text().splitlines()]
        self.assertEqual([one["line"] for one in lines], [2, 3])
        self.assertIn("space", lines[1]["reason"])
        self.assertEqual(report.stat().st_mode & 0o077, 0)
        code, _, errors = self.gatehouse.command(
            "users", "import", self.file, "--refused", self.directory)
        self.assertEqual(code, 3, errors)

    def test_what_could_not_be_told_is_told_by_the_next_run(self):
        self.gatehouse.make_store()
        self.gatehouse.add_user("taken")
        self.write(line("ada"), "x", line("taken"))
        # The users are in the store, and there is no room for the report.
        code, _, errors = self.gatehouse.command(
            "users", "import", self.file, "--refused", "/dev/full")
        self.assertEqual(code, 3, errors)
        self.assertEqual(self.names(), ["ada", "taken"])
        code, summary, refused = self.run_import()
        self.assertEqual((code, sorted(refused)), (1, [2, 3]))
        self.assertEqual(summary, {"lines": 3, "added": 1, "refused": 2, "resumed_after": 3})
        # And no more after that.
        code, again, refused = self.run_import()
        self.assertEqual((code, again, refused), (1, summary, {}))

    def test_a_terminal_shows_how_far_it_is(self):
        self.gatehouse.make_store()
        self.write(*(line(f"user{number}") for number in range(3000)), "x")
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [BINARY, "users", "import", str(self.file), "--data-dir", str(self.gatehouse.data),
             *self.gatehouse.options], env=self.gatehouse.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        shown = b""
        try:
            while data := os.read(ours, 4096):
                shown += data
        except OSError:
            pass  # how a terminal says that nobody writes to it any more
        os.close(ours)
        output, _ = process.communicate()
        self.assertEqual(output, b"added 3000 user(s) of 3001 line(s), refused 1\n")
        self.assertRegex(shown, rb"\r\x1b\[K\[#+-*\] \d+ %, \d+ added, 0 refused, \d+ s left")
        # The bar makes room for a refused line, and is gone at the end.
        self.assertRegex(shown, rb"\r\x1b\[Kline 3001: ")
        self.assertRegex(shown, rb"\n(\r\x1b\[K[^\n]*)?$")
        # More than a page of users is listed, for programs and for people.
        names = sorted(f"user{number}" for number in range(3000))
        self.assertEqual(self.names(), names)
        code, table, _ = self.gatehouse.command("users", "list")
        self.assertEqual(code, 0)
        self.assertEqual([row.split()[0] for row in table.splitlines()], ["username"] + names)

    def test_long_lines_take_no_memory(self):
        self.gatehouse.make_store()
        longest = line("longest")
        longest += " " * (MAXIMUM_LINE - 1 - len(longest))
        with open(self.file, "wb") as file:
            file.write(b'{"username": "')
            for _ in range(100):
                file.write(b"x" * 1_000_000)
            file.write(b'", "password_hash": null}\n' + line("ada").encode() + b"\n")
            file.write(longest.encode() + b"\n")
            file.write(longest.replace("longest", "longer").encode() + b"  \n")
            file.write(b"\0" * 1_000_000)  # and no line end
        process = self.gatehouse.popen("users", "import", self.file)
        peak = peak_memory(process)
        _, errors = process.communicate()
        self.assertEqual(process.returncode, 1, errors)
        told = [text for text in errors.splitlines() if text]
        self.assertEqual([text.split(":")[0] for text in told], ["line 1", "line 4", "line 5"])
        self.assertTrue(all("more than 65536 bytes" in text for text in told), told)
        self.assertEqual(self.names(), ["ada", "longest"])
        self.assertGreater(peak, 0)
        self.assertLess(peak, 100_000, "KiB")

    def test_a_file_that_changed_is_noticed(self):
        self.gatehouse.make_store()
        self.write(line("ada"), line("bob"))
        self.assertEqual(self.run_import()[0], 0)
        # What is appended is imported, and only that.
        with open(self.file, "a") as file:
            file.write(line("eve") + "\n")
        code, summary, _ = self.run_import()
        self.assertEqual(code, 0)
        self.assertEqual(summary, {"lines": 3, "added": 3, "refused": 0, "resumed_after": 2})
        for content in [[line("adb"), line("bob"), line("eve"), line("new")], [line("ada")], []]:
            self.write(*content)
            code, output, errors = self.gatehouse.command("users", "import", self.file)
            self.assertEqual((code, output), (1, ""))
            self.assertIn("has changed since 3 line(s)", errors)
        self.assertEqual(self.names(), ["ada", "bob", "eve"])
        self.write(line("eve"), line("new"))
        code, summary, refused = self.run_import("--from-start")
        self.assertEqual(code, 1)
        self.assertEqual(summary, {"lines": 2, "added": 1, "refused": 1, "resumed_after": 0})
        self.assertEqual(list(refused), [1])
        self.assertEqual(self.names(), ["ada", "bob", "eve", "new"])
        # And the new beginning is what the next run follows.
        self.assertEqual(self.run_import()[1]["resumed_after"], 2)

    def test_what_is_no_file_is_refused(self):
        self.gatehouse.make_store()
        os.mkfifo(self.file)
        for path in (self.file, self.directory, self.directory / "none", "/dev/zero"):
            code, _, errors = self.gatehouse.command("users", "import", path)
            self.assertEqual(code, 1, errors)
        self.assertEqual(self.gatehouse.command("users", "import")[0], 2)


class Interrupted(ImportTest):
    """A file of many users, some of whose lines are refused: every 97th is no JSON."""

    def write_many(self, count):
        self.file.write_text("".join(
            ("x" if number % 97 == 0 else line(f"user{number}")) + "\n"
            for number in range(1, count + 1)))
        self.refused = set(range(97, count + 1, 97))
        self.added = {f"user{number}" for number in range(1, count + 1)} - {
            f"user{number}" for number in self.refused}

    def assert_whole(self, output, told):
        summary = json.loads(output)
        self.assertEqual(summary["added"], len(self.added))
        self.assertEqual(summary["refused"], len(self.refused))
        self.assertEqual(set(self.names()), self.added)
        self.assertEqual(told, self.refused)
        trail = sqlite3.connect(f"file:{self.gatehouse.data}/gatehouse.sqlite?mode=ro", uri=True)
        after(self, trail.close)
        events = collections.Counter(kind for kind, in trail.execute(
            "SELECT kind FROM audit WHERE kind IN ('users_imported', 'user_created')"))
        self.assertEqual(events, {"users_imported": 1, "user_created": len(self.added)})
        users, = trail.execute("SELECT count(DISTINCT user_id) FROM audit "
                               "WHERE kind = 'user_created'").fetchone()
        self.assertEqual(users, len(self.added))

    def test_kill_9_loses_nothing_and_doubles_nothing(self):
        random = seeded(self)
        self.gatehouse.start()
        self.write_many(USERS)
        report = self.directory / "refused.jsonl"
        report.touch()
        killed = 0
        while True:
            process = self.gatehouse.popen(
                "users", "import", self.file, "--json", "--refused", report)
            # Once right away, then whenever some more lines were refused, at any point of a step.
            goal = random.uniform(0, 0.1) * len(self.refused) if killed else 0
            goal += report.read_bytes().count(b"\n")
            while process.poll() is None and report.read_bytes().count(b"\n") < goal:
                time.sleep(0.001)
            time.sleep(random.uniform(0, 0.05))
            process.send_signal(random.choice([signal.SIGKILL, signal.SIGINT]))
            output, errors = process.communicate(timeout=600)
            if process.returncode >= 0:
                break
            killed += 1
        self.assertEqual(process.returncode, 1, errors)
        self.assertGreater(killed, 1)
        self.assertGreater(json.loads(output)["resumed_after"], 0)
        self.assert_whole(output, {
            json.loads(text)["line"] for text in report.read_text().splitlines()})
        self.assertTrue(self.gatehouse.is_alive())

    def test_two_imports_of_one_file_do_not_double(self):
        self.gatehouse.make_store()
        self.write_many(USERS)
        two = [self.gatehouse.popen("users", "import", self.file, "--json") for _ in range(2)]
        ends = [(process.communicate(timeout=600), process.returncode) for process in two]
        self.assertEqual({code for _, code in ends}, {1}, ends)
        self.assertTrue(any("another command imports" in errors for (_, errors), _ in ends), ends)
        # Whoever was overtaken goes on after the other.
        code, output, _ = self.gatehouse.command("users", "import", self.file, "--json")
        self.assertEqual(code, 1)
        self.assert_whole(output, self.refused)

    def test_people_sign_in_while_many_are_imported(self):
        self.gatehouse.start()
        _, password, hash = vectors()[4]
        self.file.write_text(line("ada", hash) + "\n")
        self.run_import()
        self.file = self.directory / "many.jsonl"
        self.write_many(USERS)
        process = self.gatehouse.popen("users", "import", self.file, "--json", "--refused",
                                       self.directory / "refused.jsonl")
        slowest, times = 0, 0
        start = time.monotonic()
        while process.poll() is None:
            begin = time.monotonic()
            self.assertEqual(self.sign_in("ada", password), 200)
            slowest, times = max(slowest, time.monotonic() - begin), times + 1
        seconds = time.monotonic() - start
        output, errors = process.communicate()
        self.assertEqual(json.loads(output)["added"], len(self.added), errors)
        print(f"{USERS} lines in {seconds:.1f} s; {times} sign-ins meanwhile, the slowest "
              f"{slowest * 1000:.0f} ms", flush=True)
        self.assertGreater(times, 0)

    def test_memory_does_not_grow_with_the_file(self):
        self.gatehouse.make_store()
        peaks = []
        for count in (USERS // 10, USERS):
            self.file = self.directory / f"{count}.jsonl"
            self.file.write_text("".join(
                line(f"n{count}-{number}") + "\n" for number in range(count)))
            start = time.monotonic()
            process = self.gatehouse.popen("users", "import", self.file, "--json")
            peaks.append(peak_memory(process))
            output, errors = process.communicate()
            self.assertEqual(process.returncode, 0, errors)
            self.assertEqual(json.loads(output)["added"], count)
            print(f"{count} users: {time.monotonic() - start:.1f} s, {peaks[-1]} KiB", flush=True)
        self.assertGreater(peaks[0], 0)
        self.assertLess(peaks[1], peaks[0] + 30_000, "KiB")
