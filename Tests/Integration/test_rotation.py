# Key rotation and key revocation under load: no valid cookie is ever refused.

import json
import signal
import sqlite3
import threading
import time
import unittest

from harness import REVOCATION_SECONDS, SOAK, Gatehouse
from wire import Wire, eventually

ROTATIONS = 5 * SOAK


class Load:
    """Keep-alive connections, over TCP and the Unix socket, that check every token in turn: hundreds of
    times a second, and yet not so often that whatever else happens has to wait.
    """

    PAUSE_SECONDS = 0.01

    def __init__(self, gatehouse, tokens):
        self.tokens = list(tokens)
        self.refused = []  # every answer but 200, and every broken connection
        self.checks = 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(address,), daemon=True)
                        for address in [gatehouse.tcp, gatehouse.unix] * 3]
        for thread in self.threads:
            thread.start()

    def run(self, address):
        try:
            with Wire(address) as wire:
                while not self.stopping.is_set():
                    for token in list(self.tokens):
                        time.sleep(self.PAUSE_SECONDS)
                        response = wire.check(token)
                        self.checks += 1  # near enough: only "many" is asked of it
                        if response.status != 200 and token in self.tokens:
                            self.refused.append((time.time(), response))
        except Exception as problem:
            self.refused.append((time.time(), problem))

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


class Rotation(unittest.TestCase):
    def setUp(self):
        self.gatehouse = Gatehouse(self).start()
        for name in ["ada", "grace"]:
            self.gatehouse.add_user(name)
        self.first = [self.gatehouse.issue(name) for name in ["ada", "grace"]]
        self.load = Load(self.gatehouse, [session["token"] for session in self.first])
        self.addCleanup(self.load.stop)

    def state(self, key):
        keys = self.gatehouse.json("keys", "list")["keys"]
        return {row["id"]: row["state"] for row in keys}.get(key)

    def active(self):
        return [row["id"] for row in self.gatehouse.json("keys", "list")["keys"]
                if row["state"] == "active"]

    def assert_nothing_refused(self):
        self.assertEqual(self.load.refused, [])

    def test_rotation_refuses_nothing_and_revoking_a_key_refuses_its_cookies_only(self):
        [first_key] = self.active()
        for session in self.first:
            self.assertEqual(self.gatehouse.explain(session["token"])["key"], first_key)

        used = {first_key}
        for _ in range(ROTATIONS):
            checks = self.load.checks
            key = self.gatehouse.json("keys", "rotate")["key"]
            self.assertNotIn(key, used)
            used.add(key)
            eventually(lambda: self.state(key) == "active", REVOCATION_SECONDS)
            self.assertEqual(self.active(), [key])
            session = self.gatehouse.issue("ada")
            self.assertEqual(self.gatehouse.explain(session["token"])["key"], key)
            self.load.tokens.append(session["token"])
            eventually(lambda: self.load.checks > checks + 100, within=10)
            self.assert_nothing_refused()

        # Old cookies have lived through it all. From here on, the first two are not in the load.
        self.assertEqual(self.state(first_key), "retiring")
        for session in self.first:
            self.assertEqual(self.gatehouse.check(session["token"]).status, 200)
            self.load.tokens.remove(session["token"])

        self.gatehouse.ok("keys", "revoke", first_key)
        for session in self.first:
            eventually(lambda: self.gatehouse.check(session["token"]).status == 401,
                       REVOCATION_SECONDS)
            self.assertNotEqual(self.gatehouse.explain(session["token"])["verdict"], "good")
        self.assertEqual(self.state(first_key), "revoked")
        checks = self.load.checks
        eventually(lambda: self.load.checks > checks + 100, within=10)
        self.load.stop()
        self.assert_nothing_refused()

    def test_rotate_that_waits_has_the_key_active(self):
        key = self.gatehouse.json("keys", "rotate", "--wait")["key"]
        self.assertEqual(self.active(), [key])

    def test_rotation_without_a_server_activates_at_once(self):
        self.load.stop()
        self.gatehouse.stop()
        key = self.gatehouse.json("keys", "rotate")["key"]
        self.assertEqual(self.active(), [key])
        self.gatehouse.start()
        for session in [*self.first, self.gatehouse.issue("ada")]:
            self.assertEqual(self.gatehouse.check(session["token"]).status, 200)


class Silence(unittest.TestCase):
    """Two servers on one store, of which the second falls silent."""

    LEASE = 10  # the least that can be set
    SETTINGS = {"revocation.max_staleness": f"{LEASE}s"}

    def setUp(self):
        self.first = Gatehouse(self, settings=self.SETTINGS).start()
        self.second = Gatehouse(self, data=self.first.data, settings=self.SETTINGS).start()
        self.first.add_user("ada")
        self.session = self.first.issue("ada")

    def pause(self):
        self.second.process.send_signal(signal.SIGSTOP)

    def wake(self):
        self.second.process.send_signal(signal.SIGCONT)

    def keys(self):
        return {row["id"]: row["state"] for row in self.first.json("keys", "list")["keys"]}

    def read_until(self, command, words):
        """What a command has printed up to the line with these words."""
        lines = []
        for line in command.stdout:
            lines.append(line)
            if words in line:
                return "".join(lines)
        self.fail(f"it ended without saying {words}: {lines} {command.stderr.read()}")

    def start_waiting(self, *arguments):
        command = self.first.popen(*arguments)
        self.addCleanup(command.kill)
        return command, self.read_until(command, "waiting for server")

    def interrupt(self, command, how):
        """Ctrl-C, or a crash."""
        command.send_signal(how)
        command.communicate()
        self.assertEqual(command.returncode, -how)

    def assert_good_everywhere(self, session):
        for server in [self.first, self.second]:
            self.assertEqual(server.check(session["token"]).status, 200)

    def test_a_rotation_that_was_interrupted_is_gone_on_with(self):
        [old] = self.keys()
        self.pause()
        for how in [signal.SIGINT, signal.SIGKILL]:
            command, said = self.start_waiting("keys", "rotate", "--wait")
            [key] = [key for key, state in self.keys().items() if state == "pending"]
            if how == signal.SIGINT:
                self.assertIn(f"key {key} added", said)
                first_key = key
            else:
                self.assertIn(f"key {key} is pending already: going on with it", said)
                self.assertIn("which has ring version 1", said)
            self.read_until(command, "Ctrl-C ends the waiting, not the rotation")
            self.interrupt(command, how)
        self.assertEqual(key, first_key)
        self.assertEqual(self.keys(), {old: "active", key: "pending"})
        command, _ = self.start_waiting("keys", "rotate", "--wait")
        self.wake()
        rest, errors = command.communicate(timeout=self.LEASE)
        self.assertEqual((command.returncode, errors), (0, ""))
        for words in [f"key {key} is active", "every server has ring version 3"]:
            self.assertIn(words, rest)
        self.assertEqual(self.keys(), {old: "retiring", key: "active"})
        self.assert_good_everywhere(self.session)
        self.assert_good_everywhere(self.first.issue("ada"))

    def test_a_revocation_of_all_keys_that_was_interrupted_is_gone_on_with(self):
        self.pause()
        lost = self.first.json("keys", "rotate")["key"]
        command, said = self.start_waiting("keys", "revoke", "--all", "--wait")
        [key] = [key for key, state in self.keys().items() if state == "pending"]
        self.assertNotEqual(key, lost)
        self.assertIn(f"key {key} added", said)
        hint = self.read_until(command, "revoke that key too")
        self.assertIn("`gatehouse keys rotate --wait` goes on with the key", hint)
        for line in (said + hint).splitlines():
            self.assertLessEqual(len(line), 100, line)
        self.interrupt(command, signal.SIGINT)
        command, said = self.start_waiting("keys", "rotate", "--wait")
        self.assertIn(f"key {key} is pending already", said)
        self.wake()
        rest, errors = command.communicate(timeout=self.LEASE)
        self.assertEqual((command.returncode, errors), (0, ""))
        self.assertIn("every server has", rest)
        self.assertEqual({key for key, state in self.keys().items() if state != "revoked"}, {key})
        entries = self.first.json("audit", "list", "--kind", "key_added")["entries"]
        self.assertEqual([entry["key"] for entry in entries][-2:], [lost, key])
        self.assert_good_everywhere(self.first.issue("ada"))

    def test_json_has_the_steps_and_nothing_else_on_standard_output(self):
        code, output, errors = self.first.command("keys", "rotate", "--wait", "--json")
        self.assertEqual(code, 0, errors)
        steps = json.loads(output)["steps"]
        self.assertEqual(steps[0]["step"], "added")
        self.assertEqual(steps[-1]["step"], "loaded")
        self.assertEqual([s["step"] for s in steps].count("activated"), 1)
        self.assertEqual([s["seconds"] for s in steps], sorted(s["seconds"] for s in steps))
        self.assertIn("every server has ring version 3", errors)

    def test_a_paused_server_is_given_up_after_its_lease_and_says_no_more_until_it_has_refreshed(
            self):
        [old] = self.keys()
        waiting = Wire(self.second.tcp)  # connected before, and asked while it is paused
        self.addCleanup(waiting.socket.close)
        self.assertEqual(waiting.check(self.session["token"]).status, 200)
        began = time.monotonic()
        self.pause()
        command, said = self.start_waiting("keys", "revoke", old, "--wait")
        self.assertIn(f"key {old} is revoked", said)
        # No key is active meanwhile, which is an error.
        eventually(lambda: "silent for" in self.first.command("doctor")[1], within=self.LEASE + 4)
        rest, errors = command.communicate(timeout=60)
        self.assertEqual(command.returncode, 0, errors)
        self.assertRegex(
            rest, r"waiting for server \w+, which has .*, silent for 1\d s, given up in \d s")
        took = time.monotonic() - began
        # Its last heartbeat was up to 5 s before; it is given up 5 s after its lease.
        self.assertGreater(took, self.LEASE)
        self.assertLess(took, self.LEASE + 10)
        self.assertIn("was silent for longer than its lease", rest)
        self.assertEqual(self.first.check(self.session["token"]).status, 401)
        new = self.first.issue("ada")
        self.assertEqual(self.first.check(new["token"]).status, 200)

        # It can't refresh while someone else holds the store: it says neither yes nor no.
        database = sqlite3.connect(self.first.data / "gatehouse.sqlite", isolation_level=None)
        self.addCleanup(database.close)
        database.execute("BEGIN IMMEDIATE")
        self.wake()
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for session in [self.session, new]:
                self.assertEqual(waiting.check(session["token"]).status, 503)
        database.execute("ROLLBACK")
        # Then it knows: what it says is the truth, from the first answer on.
        for session, truth in [(new, 200), (self.session, 401)]:
            answers = []
            eventually(lambda: answers.append(waiting.check(session["token"]).status)
                       or answers[-1] == truth, within=10)
            self.assertEqual(set(answers) - {503}, {truth})
        self.assert_good_everywhere(new)

    def test_a_session_revocation_that_was_interrupted_is_waited_for_again(self):
        self.pause()
        arguments = ["sessions", "revoke", self.session["session"], "--wait"]
        command, _ = self.start_waiting(*arguments)
        self.interrupt(command, signal.SIGINT)
        eventually(lambda: self.first.check(self.session["token"]).status == 401,
                   REVOCATION_SECONDS)
        command, _ = self.start_waiting(*arguments)
        self.wake()
        _, errors = command.communicate(timeout=self.LEASE)
        self.assertEqual((command.returncode, errors), (0, ""))
        self.assertEqual(self.second.check(self.session["token"]).status, 401)


class Unusable(unittest.TestCase):
    def test_a_server_that_cant_load_a_newer_ring_says_so_and_answers_for_its_lease_only(self):
        gatehouse = Gatehouse(self, settings=Silence.SETTINGS).start()
        gatehouse.add_user("ada")
        token = gatehouse.issue("ada")["token"]
        database = sqlite3.connect(gatehouse.data / "gatehouse.sqlite", isolation_level=None)
        self.addCleanup(database.close)
        # Its number stands under the seal: such a ring doesn't open.
        database.execute("UPDATE keyring SET version = version + 1")
        eventually(lambda: gatehouse.ask_admin("/readyz").status == 503, REVOCATION_SECONDS)
        self.assertIn(b"keyring_unusable", gatehouse.ask_admin("/readyz").body)
        self.assertEqual(gatehouse.metric("gatehouse_keyring_usable"), 0)
        self.assertIn('"failure":"the keyring does not open"', gatehouse.logged())
        self.assertNotIn("GatehouseCore.", gatehouse.logged())
        self.assertEqual(gatehouse.check(token).status, 200)
        eventually(lambda: gatehouse.check(token).status == 503, within=Silence.LEASE + 3)
        database.execute("UPDATE keyring SET version = version - 1")
        eventually(gatehouse.is_ready, REVOCATION_SECONDS)
        self.assertEqual(gatehouse.metric("gatehouse_keyring_usable"), 1)
        self.assertEqual(gatehouse.check(token).status, 200)


class Doctor(unittest.TestCase):
    def findings(self, every):
        gatehouse = Gatehouse(self, settings={"keys.rotate_every": every}).make_store()

        def look():
            rows = gatehouse.json("doctor")["findings"]
            return {row["check"]: row["level"] for row in rows
                    if row["check"] in ("keyring", "rotation")}
        return look

    def test_rotation_that_is_off_is_warned_of(self):
        self.assertEqual(self.findings("0")(), {"keyring": "ok", "rotation": "warning"})
        self.assertEqual(self.findings("30d")(), {"keyring": "ok"})

    def test_a_key_twice_as_old_as_it_may_get_is_warned_of(self):
        began = time.monotonic()
        look = self.findings("10s")
        self.assertEqual(look(), {"keyring": "ok"})
        eventually(lambda: look() == {"keyring": "warning"}, within=30, every=0.5)
        self.assertGreater(time.monotonic() - began, 19)


    def test_a_ring_that_fills_is_warned_of_and_a_full_one_says_when_there_is_room(self):
        gatehouse = Gatehouse(self).make_store()
        made = len(gatehouse.json("keys", "list")["keys"])
        for keys in range(made + 1, 65):
            gatehouse.ok("keys", "rotate")
            if keys in (47, 48):
                self.assertEqual("it holds 48 keys" in gatehouse.ok("doctor"), keys == 48)
        code, _, said = gatehouse.command("keys", "rotate")
        self.assertEqual(code, 1)
        self.assertRegex(said, r"takes no more\nhint: .*the next is destroyed after 2\d{3}-")


class Automatic(unittest.TestCase):
    EVERY = 10  # the least that can be set

    def test_servers_rotate_by_themselves_once_and_refuse_nothing(self):
        settings = {"keys.rotate_every": f"{self.EVERY}s"}
        first = Gatehouse(self, settings=settings).start()
        second = Gatehouse(self, data=first.data, settings=settings).start()
        first.add_user("ada")
        tokens = [first.issue("ada")["token"]]
        loads = [Load(server, tokens) for server in [first, second]]
        for load in loads:
            self.addCleanup(load.stop)
        rows = lambda: first.json("keys", "list")["keys"]
        eventually(lambda: len(rows()) == 3 and rows()[2]["state"] == "active",
                   within=self.EVERY * 2 + 10)
        for load in loads:
            load.stop()
            self.assertEqual(load.refused, [])
            self.assertGreater(load.checks, 100)
        activated = [row["activated"] for row in rows()]
        for earlier, later in zip(activated, activated[1:]):
            # In whole seconds, a little later than the key was added.
            self.assertIn(later - earlier, range(self.EVERY, self.EVERY + 4))
        self.assertLess(first.metric("gatehouse_active_key_age_seconds"), self.EVERY + 2)
        # One of the two did it: which, is for the store to say when both start in one second.
        [other, leader] = sorted(server.logged().count("key added") for server in [first, second])
        self.assertEqual(other, 0)
        self.assertGreaterEqual(leader, 2)


class Replaced(unittest.TestCase):
    """Another database is put in the place of the one that a server has open."""

    def test_a_server_says_nothing_more_and_commands_name_it(self):
        gatehouse = Gatehouse(self).start()
        gatehouse.add_user("ada")
        session = gatehouse.issue("ada")
        self.assertEqual(gatehouse.check(session["token"]).status, 200)
        database = gatehouse.data / "gatehouse.sqlite"
        copy = gatehouse.data / "copy.sqlite"
        with sqlite3.connect(database) as old, sqlite3.connect(copy) as new:
            old.backup(new)
        for end in ["", "-wal", "-shm"]:
            database.with_name(database.name + end).unlink(missing_ok=True)
        copy.rename(database)
        # Not when its lease would have run out: whoever waits for servers doesn't see this one.
        eventually(lambda: gatehouse.check(session["token"]).status == 503, REVOCATION_SECONDS)
        code, _, errors = gatehouse.command("keys", "rotate", "--wait")
        self.assertEqual(code, 3)
        self.assertIn("goes on with a database that was replaced under it", errors)
        gatehouse.stop()
        gatehouse.ok("keys", "rotate", "--wait")
        gatehouse.start()
        self.assertEqual(gatehouse.check(session["token"]).status, 200)

    def test_a_server_whose_store_was_set_back_in_place_says_nothing_more(self):
        gatehouse = Gatehouse(self).start()
        gatehouse.add_user("ada")
        session = gatehouse.issue("ada")
        database = gatehouse.data / "gatehouse.sqlite"
        copy = gatehouse.data / "copy.sqlite"
        with sqlite3.connect(database) as old, sqlite3.connect(copy) as new:
            old.backup(new)
        gatehouse.ok("sessions", "revoke", session["session"], "--wait")
        self.assertEqual(gatehouse.check(session["token"]).status, 401)
        with sqlite3.connect(database) as old, sqlite3.connect(copy) as new:
            new.backup(old)
        eventually(lambda: gatehouse.check(session["token"]).status == 503, REVOCATION_SECONDS)
        # However far the older store gets.
        for _ in range(3):
            gatehouse.ok("sessions", "revoke", gatehouse.issue("ada")["session"])
        time.sleep(0.5)
        self.assertEqual(gatehouse.check(session["token"]).status, 503)
