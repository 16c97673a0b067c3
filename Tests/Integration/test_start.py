# Starting and stopping: what a server refuses to start with, how commands end, and what is logged.

import json
import os
import signal
import socket
import unittest

from harness import Gatehouse, scratch
from wire import Wire, head


class RootKey(unittest.TestCase):
    """A server outside --dev starts with a sound root key only."""

    def setUp(self):
        self.gatehouse = Gatehouse(self, dev=False)
        self.gatehouse.ok("keys", "init")
        self.key = self.gatehouse.data / "root.key"

    def assert_refused(self, *words):
        """The server ends at once with exit code 3, and says why in one of these words."""
        code = self.gatehouse.spawn().exit_code()
        logged = self.gatehouse.logged()
        self.assertEqual(code, 3, logged)
        self.assertIn("root.key", logged)
        self.assertTrue(any(word in logged.lower() for word in words), logged)

    def test_starts_with_the_key_that_init_made(self):
        self.assertEqual(self.key.stat().st_mode & 0o777, 0o600)
        self.gatehouse.start()

    def test_refuses_a_key_that_others_can_read(self):
        for mode in [0o644, 0o640, 0o604]:
            with self.subTest(oct(mode)):
                self.key.chmod(mode)
                self.assert_refused("others", "permission", "readable")

    def test_refuses_a_key_that_is_too_short(self):
        self.key.write_bytes(self.key.read_bytes()[:40])
        self.assert_refused("short", "32 bytes")

    def test_refuses_to_start_without_the_key(self):
        self.key.unlink()
        self.assert_refused("missing", "not found", "no such", "does not exist", "no root key")
        self.assertFalse(self.key.exists(), "a new root key would open nothing")

    def test_refuses_a_symbolic_link(self):
        elsewhere = self.key.with_name("elsewhere")
        self.key.rename(elsewhere)
        self.key.symlink_to(elsewhere)
        self.assert_refused("link")

    def test_refuses_another_root_key_than_the_ring_is_wrapped_under(self):
        self.gatehouse.make_store()
        other = Gatehouse(self, dev=False)
        other.ok("keys", "init")
        self.key.write_bytes((other.data / "root.key").read_bytes())
        code = self.gatehouse.spawn().exit_code()
        self.assertEqual(code, 3, self.gatehouse.logged())

    def test_init_keeps_an_existing_key(self):
        before = self.key.read_bytes()
        self.gatehouse.command("keys", "init")
        self.assertEqual(self.key.read_bytes(), before)


class Configuration(unittest.TestCase):
    def refusal(self, text, environment=None):
        """What the server says about this configuration file before it ends with exit code 3."""
        path = scratch(self) / "gatehouse.yaml"
        path.write_text(text)
        gatehouse = Gatehouse(self, arguments=["--config", path], environment=environment)
        code = gatehouse.spawn().exit_code()
        self.assertEqual(code, 3, gatehouse.logged())
        self.assertFalse(os.path.exists(gatehouse.unix), "it began to listen")
        return gatehouse.logged()

    def test_every_error_is_reported_at_once_by_name(self):
        said = self.refusal(
            "session:\n  idle: banana\n  absolut: 24h\nrevocation:\n  max_staleness: -5s\n"
            "colour: blue\n", environment={"GATEHOUSE_SESSION_ABSOLUTE": "tomorrow"})
        for name in ["session.idle", "session.absolut", "revocation.max_staleness", "colour"]:
            self.assertIn(name, said)
        self.assertTrue("session.absolute" in said or "GATEHOUSE_SESSION_ABSOLUTE" in said, said)

    def test_an_unknown_variable_is_an_error(self):
        self.assertIn("GATEHOUSE_SESION_IDLE", self.refusal(
            "# Nothing is set.\n", environment={"GATEHOUSE_SESION_IDLE": "1h"}))

    def test_an_empty_file_sets_nothing(self):
        path = scratch(self) / "gatehouse.yaml"
        path.touch()
        Gatehouse(self, arguments=["--config", path]).start()

    def test_a_file_that_is_not_there_or_not_yaml_is_an_error(self):
        gatehouse = Gatehouse(self, arguments=["--config", "/nonexistent/gatehouse.yaml"])
        self.assertEqual(gatehouse.spawn().exit_code(), 3)
        self.assertIn("/nonexistent/gatehouse.yaml", gatehouse.logged())
        self.refusal("session: [\n")


class ExitCodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls).make_store()
        cls.gatehouse.add_user("ada")
        cls.session = cls.gatehouse.issue("ada")

    def assert_exits(self, code, *arguments, input=None):
        actual, output, errors = self.gatehouse.command(*arguments, input=input)
        self.assertEqual(actual, code, f"{arguments}\n{output}{errors}")
        if code:
            self.assertTrue(errors or output, "it failed without a word")
        self.assertNotIn("Fatal error", errors)

    def test_0_when_done(self):
        for arguments in [["users", "list"], ["users", "show", "ada"], ["sessions", "list", "ada"],
                          ["keys", "list"], ["explain", self.session["token"]]]:
            with self.subTest(arguments):
                self.assert_exits(0, *arguments)
        self.assert_exits(0, "explain", input=self.session["token"] + "\n")

    def test_1_when_refused_or_not_found(self):
        for arguments in [["users", "add", "ADA"], ["users", "show", "nobody"],
                          ["users", "disable", "nobody"], ["sessions", "issue", "nobody"],
                          ["sessions", "list", "nobody"], ["sessions", "revoke", "0" * 32],
                          ["sessions", "revoke", "--user", "nobody"],
                          ["keys", "revoke", "fffffff0"],
                          ["explain", "garbage"], ["explain", self.session["token"] + "A"],
                          ["users", "add", ""], ["users", "add", "a" * 65],
                          ["users", "add", "a\nb"]]:
            with self.subTest(arguments):
                self.assert_exits(1, *arguments)
        self.assert_exits(1, "explain", input="garbage\n")

    def test_2_when_asked_wrongly(self):
        for arguments in [["users", "nonsense"], ["nonsense"], ["users", "add"],
                          ["users", "list", "--nonsense"],
                          ["sessions", "revoke"], ["sessions", "issue", "ada", "--count", "many"],
                          ["sessions", "revoke", "0" * 32, "--all"], ["keys", "revoke"],
                          ["sessions", "revoke", "not-hex"],
                          ["sessions", "revoke", "--before", "2099-01-01T00:00:00Z"],
                          ["keys", "revoke", "--before", "2099-01-01T00:00:00Z"]]:
            with self.subTest(arguments):
                self.assert_exits(2, *arguments)

    def test_3_when_the_store_fails(self):
        broken = Gatehouse(self).make_store()
        databases = list(broken.data.glob("*.sqlite*"))
        self.assertTrue(databases)
        for path in databases:
            path.write_bytes(b"not a database, but long enough to be read as one " * 1000)
        self.assertEqual(broken.command("users", "list")[0], 3)
        self.assertEqual(broken.spawn().exit_code(), 3)

    def test_3_when_there_is_no_data(self):
        empty = Gatehouse(self)
        self.assertEqual(empty.command("users", "list")[0], 3)
        empty.ok("keys", "init")
        code, _, said = empty.command("users", "list")
        self.assertEqual(code, 3)
        self.assertIn("hint: start the server once", said)


class Lifecycle(unittest.TestCase):
    def setUp(self):
        self.gatehouse = Gatehouse(self).start()
        self.gatehouse.add_user("ada")
        self.token = self.gatehouse.issue("ada")["token"]

    def test_signals_stop_it_with_exit_code_0_though_connections_are_open(self):
        for signum in [signal.SIGTERM, signal.SIGINT]:
            with (self.subTest(signum), Wire(self.gatehouse.tcp) as tcp,
                  Wire(self.gatehouse.unix) as unix):
                for wire in [tcp, unix]:
                    self.assertEqual(wire.check(self.token).status, 200)
                self.gatehouse.process.send_signal(signum)
                self.assertEqual(self.gatehouse.exit_code(), 0, self.gatehouse.logged())
                for wire in [tcp, unix]:
                    self.assertTrue(wire.closed_by_peer())
                self.gatehouse.start()

    def test_a_busy_port_is_a_clear_error_and_the_first_server_lives(self):
        second = Gatehouse(self)
        second.tcp = self.gatehouse.tcp
        self.assertEqual(second.spawn().exit_code(), 3, second.logged())
        self.assertIn(str(second.tcp[1]), second.logged())
        self.assertIn("in use", second.logged())
        self.assertEqual(self.gatehouse.check(self.token).status, 200)

    def test_a_busy_unix_socket_is_not_taken_over(self):
        second = Gatehouse(self)
        second.unix = self.gatehouse.unix
        self.assertEqual(second.spawn().exit_code(), 3, second.logged())
        self.assertIn(second.unix, second.logged())
        with Wire(self.gatehouse.unix) as wire:
            self.assertEqual(wire.check(self.token).status, 200)

    def test_a_unix_socket_left_behind_is_replaced(self):
        self.gatehouse.kill()
        self.assertTrue(os.path.exists(self.gatehouse.unix))
        self.gatehouse.start()
        with Wire(self.gatehouse.unix) as wire:
            self.assertEqual(wire.check(self.token).status, 200)

    def test_only_loopback_is_listened_on(self):
        for port in [self.gatehouse.tcp[1], self.gatehouse.admin[1]]:
            with self.assertRaises(OSError):
                # Another loopback address stands for every other address of the machine.
                socket.create_connection(("127.0.0.2", port), 5).close()

    def test_the_admin_endpoint_says_how_it_is(self):
        self.assertEqual(self.gatehouse.ask_admin("/livez").status, 200)
        self.assertEqual(self.gatehouse.ask_admin("/readyz").status, 200)
        json.loads(self.gatehouse.ask_admin("/readyz").body)
        metrics = self.gatehouse.ask_admin("/metrics")
        self.assertEqual(metrics.status, 200)
        self.assertTrue(metrics.header("content-type").startswith("text/plain"))
        self.assertIn(b"# TYPE gatehouse_", metrics.body)
        self.assertEqual(self.gatehouse.ask_admin("/check").status, 404)

    def test_the_log_is_json_lines_without_a_token(self):
        garbage = "garbage-that-was-sent-as-a-token"
        with Wire(self.gatehouse.tcp) as wire:
            wire.check(self.token)
            wire.check(garbage)
            wire.request(head("BAD " + garbage))
        self.gatehouse.stop()
        logged = self.gatehouse.logged()
        lines = [json.loads(line) for line in logged.splitlines()]
        self.assertTrue(lines)
        self.assertTrue(all(isinstance(line, dict) for line in lines))
        self.assertNotIn(self.token, logged)
        self.assertNotIn(garbage, logged)

    def test_what_it_stores_is_for_its_owner_only(self):
        for path in [self.gatehouse.data, *self.gatehouse.data.rglob("*")]:
            self.assertEqual(path.lstat().st_mode & 0o077, 0, path)
