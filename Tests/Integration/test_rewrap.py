# From one root key to another, and kill -9 at every fault point of the commands that change the ring.

import itertools
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest

from harness import BINARY, REVOCATION_SECONDS, Gatehouse, scratch
from wire import eventually

ROTATE = ("keys", "rotate", "--wait")
REVOKE = ("keys", "revoke", "--all", "--wait")
FINISH = ("keys", "rewrap", "--finish")


class Commands(unittest.TestCase):
    def test_a_command_that_fails_is_noticed_whatever_the_parent_does_with_its_children(self):
        made = Gatehouse(self).make_store()
        program = scratch(self) / "unwrap"
        for ending, code in [("", 0), ("exit 3", 3)]:
            program.write_text(f"#!/bin/sh\ncat {made.data}/root.key\n{ending}\n")
            program.chmod(0o700)
            # Ignored is inherited, and the kernel then keeps nobody's exit code.
            done = subprocess.run(
                [BINARY, "keys", "list", "--data-dir", made.data], capture_output=True, text=True,
                env=made.environment | {"GATEHOUSE_ROOT_KEY_COMMAND": str(program)},
                preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
            self.assertEqual(done.returncode, 3 if code else 0, done)
            if code:
                self.assertIn("ended with 3", done.stderr)


def errors(gatehouse):
    _, output, _ = gatehouse.command("doctor")
    return [line for line in output.splitlines() if line.startswith("error")]


class RootKeys(unittest.TestCase):
    """A store with a session, its root key, and the path of another."""

    def setUp(self):
        self.made = Gatehouse(self).make_store()
        self.made.add_user("ada")
        self.token = self.made.issue("ada")["token"]
        self.directory = scratch(self)
        self.old, self.new = self.made.data / "root.key", self.directory / "new.key"
        self.rewrap = ("keys", "rewrap", "--new-file", self.new, "--create")

    def on(self, data, key=None):
        """Commands and a server with a root key of their own."""
        return Gatehouse(self, data=data, environment={"GATEHOUSE_ROOT_KEY_FILE": str(
            key or data / "root.key")})

    def root_keys(self, gatehouse):
        return gatehouse.json("keys", "list")["root_keys"]


class Faults(RootKeys):
    def each_point(self, arguments, running, key=None, revokes=False, then=None):
        """Kills the command at each of its fault points, on a fresh copy of the store every time, until
        it ends by itself. Says at how many it died.
        """
        for point in itertools.count(1):
            data = self.directory / f"{running}-{point}"
            shutil.copytree(self.made.data, data)
            gatehouse = self.on(data, key)
            if running:
                gatehouse.start()
            gatehouse.environment["GATEHOUSE_FAULT"] = f"kill:{point}"
            code, _, said = gatehouse.command(*arguments)
            del gatehouse.environment["GATEHOUSE_FAULT"]
            if code == 0:
                gatehouse.kill()
                return point - 1
            self.assertEqual(code, -signal.SIGKILL, said)
            with self.subTest(point=point, running=running):
                self.assert_whole(gatehouse, running, revokes)
                gatehouse.kill()
                gatehouse.start()
                self.assert_whole(gatehouse, True, revokes)
                if not running:
                    gatehouse.stop()
                gatehouse.ok(*arguments)
                self.assertEqual(errors(gatehouse), [])
                states = [row["state"] for row in gatehouse.json("keys", "list")["keys"]]
                self.assertEqual(states.count("active"), 1, states)
                self.assertNotIn("pending", states)
                if not running:
                    gatehouse.start()
                self.assertEqual(gatehouse.check(self.token).status, 401 if revokes else 200)
                self.assertEqual(gatehouse.check(gatehouse.issue("ada")["token"]).status, 200)
                if then:
                    then(gatehouse)
            gatehouse.kill()

    def assert_whole(self, gatehouse, running, revokes):
        """The ring opens, and an old cookie is as good as the ring says."""
        # No active key is an error while a revocation waits for the next one.
        self.assertEqual([line for line in errors(gatehouse)
                          if not (revokes and "no key is active" in line)], [])
        states = [row["state"] for row in gatehouse.json("keys", "list")["keys"]]
        is_good = gatehouse.explain(self.token)["verdict"] == "good"
        self.assertEqual(is_good, "revoked" not in states)
        self.assertTrue(is_good or revokes)
        if running:
            eventually(lambda: gatehouse.check(self.token).status == (200 if is_good else 401),
                       REVOCATION_SECONDS)

    def test_a_rotation_dies_anywhere(self):
        # Without a server the command activates too: a write more.
        self.assertEqual(self.each_point(ROTATE, False), 6)
        self.assertEqual(self.each_point(ROTATE, True), 3)

    def test_a_revocation_of_all_keys_dies_anywhere(self):
        self.assertEqual(self.each_point(REVOKE, False, revokes=True), 6)
        self.assertEqual(self.each_point(REVOKE, True, revokes=True), 3)

    def test_a_rewrap_dies_anywhere(self):
        def then(gatehouse):
            both = self.root_keys(gatehouse)
            self.assertEqual(len(both), 2)
            self.assertEqual(self.root_keys(self.on(gatehouse.data, self.new)), both)

        for running in [False, True]:
            self.assertEqual(self.each_point(self.rewrap, running, then=then), 3)

    def test_the_end_of_a_rewrap_dies_anywhere(self):
        added = self.made.json(*self.rewrap)["added"]

        def then(gatehouse):
            self.assertEqual(self.root_keys(gatehouse), added)
            code, _, said = self.on(gatehouse.data).command("keys", "list")
            self.assertEqual(code, 3)
            self.assertIn(added[0], said)

        for running in [False, True]:
            self.assertEqual(self.each_point(FINISH, running, key=self.new, then=then), 3)

    def test_the_switch_is_none_of_the_servers(self):
        self.made.environment["GATEHOUSE_FAULT"] = "kill:1"
        self.made.start()
        eventually(lambda: self.made.check(self.token).status == 200, within=5)
        self.assertEqual(self.made.stop(), 0)
        self.made.environment["GATEHOUSE_FAULT"] = "kill"
        self.assertEqual(self.made.command("keys", "list")[0], 2)


class Rewrap(RootKeys):
    def test_from_one_root_key_to_another_with_servers_running(self):
        one, two = self.on(self.made.data).start(), self.on(self.made.data).start()
        [old_id] = self.root_keys(one)
        answer = one.json(*self.rewrap)
        [new_id] = answer["added"]
        self.assertEqual(set(answer["root_keys"]), {old_id, new_id})
        self.assertEqual(one.json(*self.rewrap)["added"], [], "it was done")
        for key, first, second in [(self.old, old_id, new_id), (self.new, new_id, old_id)]:
            under = f"under root key {first} (configured) and {second}\n"
            gatehouse = self.on(self.made.data, key)
            self.assertIn(f"warning: keyring: it opens {under}", gatehouse.ok("doctor"))
            self.assertIn(under, gatehouse.ok("keys", "list"))

        def finish(*options):
            return self.on(self.made.data, self.new).command(*FINISH, *options)

        code, _, said = finish()
        self.assertEqual(code, 1)
        self.assertIn("2 server(s) still run", said)
        # One of them runs with the new root key, and both change the ring and take every cookie.
        two.stop()
        two.environment["GATEHOUSE_ROOT_KEY_FILE"] = str(self.new)
        two.start()
        for gatehouse in [one, two]:
            gatehouse.ok(*ROTATE)
        tokens = [self.token, one.issue("ada")["token"], two.issue("ada")["token"]]
        for gatehouse, token in itertools.product([one, two], tokens):
            self.assertEqual(gatehouse.check(token).status, 200)
        code, _, said = finish()
        self.assertEqual(code, 1)
        self.assertIn("1 server(s) still run", said)

        waiting = self.on(self.made.data, self.new).popen(*FINISH, "--wait", "--json")
        time.sleep(1)
        self.assertIsNone(waiting.poll())
        self.assertEqual(set(self.root_keys(one)), {old_id, new_id})
        one.stop()
        one.environment["GATEHOUSE_ROOT_KEY_FILE"] = str(self.new)
        one.start()
        output, said = waiting.communicate(timeout=30)
        self.assertEqual(waiting.returncode, 0, said)
        self.assertIn(f'"removed":["{old_id}"]', output)
        self.assertEqual(self.root_keys(one), [new_id])
        for gatehouse, token in itertools.product([one, two], tokens):
            self.assertEqual(gatehouse.check(token).status, 200)
        one.ok(*ROTATE)
        self.assertEqual(one.check(two.issue("ada")["token"]).status, 200)

    def test_a_server_with_another_root_key_does_not_start_and_names_both(self):
        [id] = self.root_keys(self.made)
        other = Gatehouse(self).make_store()
        [other_id] = self.root_keys(other)
        server = self.on(self.made.data, other.data / "root.key").spawn()
        self.assertEqual(server.exit_code(), 3)
        self.assertIn(id, server.logged())
        self.assertIn(other_id, server.logged())
        self.assertNotIn("gatehouse-root-key", server.logged())

    def test_with_the_old_root_key_a_rewrap_is_undone(self):
        server = self.on(self.made.data).start()
        [id] = self.root_keys(server)
        server.ok(*self.rewrap)
        self.assertIn("That undid the rewrap", server.ok(*FINISH))
        self.assertEqual(self.root_keys(server), [id])
        self.assertEqual(self.on(self.made.data, self.new).command("keys", "list")[0], 3)
        self.assertEqual(server.check(self.token).status, 200)

    def test_the_configured_root_key_is_no_new_one(self):
        for key in [self.old, self.new]:
            code, _, said = self.on(self.made.data, key).command(
                "keys", "rewrap", "--new-file", self.old)
            self.assertEqual(code, 1 if key == self.old else 3, said)
        self.assertEqual(len(self.root_keys(self.made)), 1)

    def test_a_new_root_key_is_made_when_asked_and_its_path_is_absolute(self):
        code, _, said = self.made.command("keys", "rewrap", "--new-file", self.new)
        self.assertEqual(code, 3)
        self.assertIn("--create makes it", said)
        code, _, said = self.made.command("keys", "rewrap", "--new-file", "new.key", "--create")
        self.assertEqual(code, 2)
        self.assertIn("absolute path", said)
        self.assertFalse((self.made.directory / "new.key").exists())

    def test_a_server_and_its_commands_take_a_credential_or_a_command(self):
        credentials = self.directory / "credentials"
        credentials.mkdir()
        shutil.copy(self.old, credentials / "root")
        program = self.directory / "print"
        # What it has open: nothing of ours beside the three that it is given, and ls its directory.
        seen = self.directory / "seen"
        program.write_text(f"#!/bin/sh\nls /proc/self/fd >> {seen}\nexec cat {self.old}\n")
        program.chmod(0o700)
        for environment in [
            {"GATEHOUSE_ROOT_KEY_CREDENTIAL": "root", "CREDENTIALS_DIRECTORY": str(credentials)},
            {"GATEHOUSE_ROOT_KEY_COMMAND": str(program)},
        ]:
            gatehouse = Gatehouse(self, data=self.made.data, environment=environment).start()
            self.assertEqual(gatehouse.check(self.token).status, 200)
            gatehouse.ok(*ROTATE)
            self.assertEqual(errors(gatehouse), [])
            code, _, said = gatehouse.command("keys", "init")
            self.assertEqual(code, 1)
            self.assertIn("nothing is made there", said)
            # The store is open by then.
            self.assertEqual(gatehouse.command("keys", "rewrap", "--new-command", program)[0], 1)
            gatehouse.stop()
        self.assertEqual(set(seen.read_text().split()), {"0", "1", "2", "3"})

    def test_the_steps_are_in_the_trail(self):
        self.made.ok(*self.rewrap)
        self.assertNotIn("undid", self.on(self.made.data, self.new).ok(*FINISH))

        with sqlite3.connect(self.made.data / "gatehouse.sqlite") as database:
            rows = database.execute(
                "SELECT kind, actor FROM audit WHERE kind LIKE 'root_key_%' ORDER BY sequence")
            self.assertEqual(rows.fetchall(),
                             [("root_key_added", "command"), ("root_key_removed", "command")])
