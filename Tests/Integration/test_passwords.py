# What may be a password: the rules where people meet them, and filters made by the command line.

import json
import os
import pty
import signal
import subprocess
import time
import unittest

from harness import BINARY, ENVIRONMENT, ROOT, SOAK, Gatehouse, peak_memory, scratch, seeded
from visitor import call
from wire import eventually

GOOD = "plum over seven ships"
LEAKED = "grey owls sell lamps"


def register(gatehouse, name, password):
    return call(gatehouse.front, "POST", "/auth/v1/register",
                {"username": name, "password": password})


class Rules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.list = scratch(cls) / "list"
        cls.list.write_text(LEAKED + "\n")
        cls.filter = cls.list.with_name("filter")
        subprocess.run([BINARY, "passwords", "filter", "build", cls.list, "--output", cls.filter],
                       check=True, env=ENVIRONMENT, capture_output=True)
        cls.gatehouse = Gatehouse(cls, front={
            "audience": "lighthouse", "password.context_words": ["Springfield", "acme rockets"],
            "password.filter": str(cls.filter)}).start()

    def test_every_rule_is_told_by_the_front_door_and_by_the_command_alike(self):
        for password, reason in [
                ("fourteen chars", "at least 15"), ("ada.ada.ada.1815", "your username"),
                ("lighthouse 2026", "name of this service"), ("localhost123456", "name of this service"),
                ("Springfield 2026!", "everybody here"), ("2026 Acme Rockets", "everybody here"),
                ("aB1! aB1! aB1! ", "repeated"), ("qwertyuiop12345", "neighbouring"),
                ("Correct Horse Battery Staple", "common"), (LEAKED, "leaked"),
                (LEAKED.upper(), "leaked")]:
            with self.subTest(password):
                response = register(self.gatehouse, "ada", password)
                self.assertEqual(response.status, 422, response)
                problem = json.loads(response.body)
                self.assertEqual(problem["type"], "urn:gatehouse:problem:password")
                self.assertIn(reason, problem["title"])
                code, output, errors = self.gatehouse.command(
                    "users", "add", "ada", "--password-stdin", input=password + "\n")
                self.assertEqual((code, output), (1, ""))
                self.assertIn(problem["title"], errors)
                self.assertNotIn(password, errors)
        self.assertEqual(self.gatehouse.json("users", "list"), {"users": []})
        self.assertNotIn(LEAKED, self.gatehouse.logged())

    def test_what_only_contains_what_is_refused_is_taken(self):
        for number, password in enumerate([
                "ada and bob in boats", "my lighthouse is red", "springfielders win",
                "xqwertyuiop12345", LEAKED + "!", "the correct horse battery staple"]):
            response = register(self.gatehouse, f"other{number}", password)
            self.assertEqual(response.status, 201, response)


class Replacement(unittest.TestCase):
    """A filter that is renamed to the name is taken up by a running server."""

    def setUp(self):
        self.directory = scratch(self)
        self.filter = self.directory / "filter"
        self.build("nothing to see here")
        self.gatehouse = Gatehouse(self, front={"password.filter": str(self.filter)}).start()
        self.names = iter(range(1000))

    def build(self, *passwords):
        subprocess.run([BINARY, "passwords", "filter", "build", "-", "--output", self.filter],
                       input="\n".join(passwords).encode(), check=True, env=ENVIRONMENT,
                       capture_output=True)

    def status(self, password):
        return register(self.gatehouse, f"user{next(self.names)}", password).status

    def test_a_new_filter_is_used_and_a_bad_one_is_told_once_and_left(self):
        self.assertEqual(self.status(LEAKED), 201)
        self.build(LEAKED)
        eventually(lambda: self.status(LEAKED) == 422, within=15, every=0.2)
        bad = self.directory / "bad"
        bad.write_bytes(self.filter.read_bytes()[:-1] + b"x")
        bad.rename(self.filter)
        eventually(lambda: "can't be used" in self.gatehouse.logged(), within=15)
        self.filter.unlink()
        eventually(lambda: "no such file" in self.gatehouse.logged(), within=15)
        time.sleep(11)
        self.assertEqual(self.gatehouse.logged().count("no such file"), 1)
        self.assertEqual(self.gatehouse.logged().count("checksum"), 1)
        self.assertEqual(self.status(LEAKED), 422)
        self.assertEqual(self.status(GOOD), 201)
        self.build(GOOD)
        eventually(lambda: self.status(GOOD) == 422, within=15, every=0.2)
        self.assertEqual(self.status(LEAKED), 201)

    def test_a_filter_cut_short_in_place_is_503_and_not_the_end(self):
        os.truncate(self.filter, 60)
        self.assertEqual(self.status(GOOD), 503)
        self.assertEqual(self.status("too short"), 422)
        self.build(LEAKED)
        eventually(lambda: self.status(GOOD) == 201, within=15, every=0.2)
        self.assertEqual(self.status(LEAKED), 422)

    def test_without_a_sound_filter_no_server_starts(self):
        self.gatehouse.stop()
        whole = self.filter.read_bytes()
        for content, reason in [(None, "no such file"), (b"", "not a password filter"),
                                (whole[:-1], "size"), (whole[:60] + b"?" + whole[61:], "checksum")]:
            with self.subTest(reason):
                if content is None:
                    self.filter.unlink()
                else:
                    self.filter.write_bytes(content)
                self.assertEqual(self.gatehouse.spawn().exit_code(), 3)
                self.assertIn("error: cannot use the password filter", self.gatehouse.logged())
                self.assertIn(reason, self.gatehouse.logged())
                code, _, errors = self.gatehouse.command(
                    "users", "add", "ada", "--password-stdin", input=GOOD)
                self.assertEqual(code, 3, errors)
                code, output, _ = self.gatehouse.command("doctor", "--json")
                self.assertEqual(code, 1)
                findings = {f["check"]: f for f in json.loads(output)["findings"]}
                self.assertEqual(findings["password filter"]["level"], "error")


class Filters(unittest.TestCase):
    def setUp(self):
        self.directory = scratch(self)
        self.filter = self.directory / "filter"

    def run_filter(self, *arguments, input=b"", **options):
        return subprocess.run([BINARY, "passwords", "filter", *map(str, arguments)], input=input,
                              env=ENVIRONMENT, capture_output=True, timeout=120, **options)

    def lines(self, count, name="list"):
        """A file of passwords that are all different."""
        path = self.directory / name
        with open(path, "w") as file:
            for start in range(0, count, 100_000):
                file.writelines(f"{number * 2654435761 % 2**32:x} password\n"
                                for number in range(start, min(count, start + 100_000)))
        return path

    def state(self):
        """What files there are, by name, number and size, but for those that keys wait in."""
        state = []
        for name in sorted(os.listdir(self.directory)):
            try:
                status = (self.directory / name).stat()
            except FileNotFoundError:
                continue
            if not name.startswith("."):
                state.append((name, status.st_ino, status.st_size))
        return state

    def test_build_and_check(self):
        built = self.run_filter("build", "-", "--output", self.filter, "--json",
                                "--false-positive-rate", "0.001",
                                input=f"{LEAKED}\nshort\n{'x' * 1025}\n\xff\n".encode("latin-1"))
        self.assertEqual(built.returncode, 0, built.stderr)
        report = json.loads(built.stdout)
        self.assertEqual(report, {
            "lines": 4, "taken": 1, "too_short": 1, "too_long": 1, "invalid": 1, "entries": 1,
            "bytes": self.filter.stat().st_size, "false_positive_rate": 1 / 1024})
        self.assertEqual(built.stderr, b"")
        self.assertEqual(self.filter.stat().st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(self.directory), ["filter"])
        checked = self.run_filter("check", self.filter, "--json")
        self.assertEqual(json.loads(checked.stdout), {
            "entries": 1, "bytes": report["bytes"], "false_positive_rate": 1 / 1024,
            "format": "plain"})
        for password, listed in [(LEAKED, True), (LEAKED.upper() + "\r\n", True), (GOOD, False)]:
            checked = self.run_filter("check", self.filter, "--stdin", "--json",
                                      input=password.encode())
            self.assertEqual(json.loads(checked.stdout)["listed"], listed)
            self.assertEqual(checked.returncode, 0 if listed else 1)

    def test_what_can_not_be_made_or_read_is_told(self):
        some = self.lines(10)
        for arguments, code in [
                (["build", some, "--output", self.filter, "--false-positive-rate", "1"], 2),
                (["build", some, "--output", self.filter, "--false-positive-rate", "0"], 2),
                (["build", some, "--output", self.filter, "--format", "md5"], 2),
                (["build", some], 2), (["build", "--output", self.filter], 2),
                (["build", some, "--output", self.filter, "--format", "sha1"], 3),
                (["build", self.directory / "none", "--output", self.filter], 1),
                (["build", self.directory, "--output", self.filter], 3),
                (["build", some, "--output", self.directory / "no" / "filter"], 3),
                (["build", some, "--output", self.directory], 3),
                (["check", self.filter], 3), (["check", some], 3)]:
            with self.subTest(arguments):
                result = self.run_filter(*arguments)
                self.assertEqual(result.returncode, code, result)
                self.assertIn(b"rror:", result.stderr)
                self.assertEqual(os.listdir(self.directory), ["list"])

    def test_killed_at_any_moment_it_leaves_the_old_filter_or_the_new_one(self):
        random = seeded(self)
        old, new = 20_000, 300_000 * SOAK
        self.assertEqual(
            self.run_filter("build", self.lines(old, "old"), "--output", self.filter).returncode, 0)
        many = self.lines(new, "new")
        arguments = [BINARY, "passwords", "filter", "build", many, "--output", self.filter]
        start = time.monotonic()
        subprocess.run(arguments, check=True, env=ENVIRONMENT, capture_output=True)
        seconds = time.monotonic() - start
        drafts = 0
        for attempt in range(12 * SOAK):
            self.run_filter("build", self.directory / "old", "--output", self.filter)
            before = self.state()
            process = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
            if attempt % 2:
                time.sleep(seconds * random.uniform(0, 1.1))
            else:
                # While the filter is written.
                while self.state() == before and process.poll() is None:
                    pass
                time.sleep(random.uniform(0, 0.02))
            process.send_signal(signal.SIGKILL)
            process.wait()
            checked = self.run_filter("check", self.filter, "--json")
            self.assertEqual(checked.returncode, 0, checked.stderr)
            self.assertIn(json.loads(checked.stdout)["entries"], [old, new])
            for name, *_ in self.state():
                if name not in ["old", "new", "filter"]:
                    self.assertRegex(name, r"^filter\.\d+\.new$")
                    drafts += 1
                    (self.directory / name).unlink()
        self.assertGreater(drafts, 0, "nothing was killed while it wrote the filter")

    def peak(self, count):
        """The most memory, in MiB, that building a filter of so many lines takes."""
        process = subprocess.Popen(
            [BINARY, "passwords", "filter", "build", self.lines(count), "--output", self.filter],
            env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        peak = peak_memory(process)
        self.assertEqual(process.returncode, 0)
        return peak / 1024

    def test_memory_does_not_grow_with_the_list(self):
        few, many = self.peak(20_000), self.peak(3_000_000 * SOAK)
        # In memory, 3,000,000 keys would be 24 MiB more, and their text 60.
        self.assertLess(many - few, 8 * SOAK, f"{few} MiB and {many} MiB")
        self.assertLess(many, 48)

    def test_a_terminal_sees_progress(self):
        ours, theirs = pty.openpty()
        try:
            result = subprocess.run(
                [BINARY, "passwords", "filter", "build", self.lines(100_000), "--output",
                 self.filter], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=theirs, check=True)
            os.close(theirs)
            shown = os.read(ours, 10_000)
        finally:
            os.close(ours)
        self.assertIn(b"\r100000 lines", shown)
        self.assertIn(b"100000 entries", result.stdout)
