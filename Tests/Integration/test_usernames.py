# Usernames: what the commands refuse, renaming, deleting, reserved names, and skeletons of another
# version beside a running server.

import json
import sqlite3
import unittest

from harness import ROOT, Gatehouse
from visitor import call

PASSWORD = "seven grey herons wait"


class Usernames(unittest.TestCase):
    def register(self, gatehouse, name):
        """Status and problem of a registration at the front door."""
        answer = call(gatehouse.front, "POST", "/auth/v1/register",
                      {"username": name, "password": PASSWORD})
        return answer.status, json.loads(answer.body).get("type", "")

    def refused(self, gatehouse, *arguments, code=1):
        """What a command says that must not succeed."""
        actual, output, errors = gatehouse.command(*arguments)
        self.assertEqual(actual, code, f"{arguments}: {output}{errors}")
        return errors

    def doctor(self, gatehouse):
        _, output, errors = gatehouse.command("doctor", "--json")
        self.assertTrue(output, errors)
        return [finding for finding in json.loads(output)["findings"]
                if finding["check"] == "usernames"]

    def execute(self, gatehouse, script):
        connection = sqlite3.connect(gatehouse.data / "gatehouse.sqlite")
        connection.executescript(script)
        connection.close()

    def names(self, gatehouse):
        return [user["username"] for user in gatehouse.json("users", "list")["users"]]

    def test_the_policy_is_for_commands_and_registrations(self):
        gatehouse = Gatehouse(self, front={}).start()
        for name in ["zoë", "a+b", "аdmin"]:
            self.assertIn("letters a to z", self.refused(gatehouse, "users", "add", name))
            self.assertEqual(
                self.register(gatehouse, name), (422, "urn:gatehouse:problem:username"))
        gatehouse.add_user("ada")
        self.assertIn(
            "letters a to z", self.refused(gatehouse, "users", "rename", "ada", "zoë"))
        other = Gatehouse(self, settings={"username.unicode": True}).make_store()
        other.add_user("zoë")
        self.assertIn("several alphabets", self.refused(other, "users", "add", "аdmin"))
        self.assertEqual(self.names(other), ["zoë"])

    def test_reserved_names_are_for_those_who_mean_it(self):
        gatehouse = Gatehouse(self, front={"username.reserved": ["acme", "the-shop"]}).start()
        for name in ["admin", "r00t", "acme", "the-sh0p", "ACME"]:
            self.assertIn("is taken", self.refused(gatehouse, "users", "add", name))
            self.assertEqual(
                self.register(gatehouse, name), (409, "urn:gatehouse:problem:username_taken"))
        gatehouse.ok("users", "add", "admin", "--reserved")
        gatehouse.add_user("ada")
        gatehouse.ok("users", "rename", "ada", "acme", "--reserved")
        self.refused(gatehouse, "users", "add", "admin", "--reserved")
        self.assertEqual(gatehouse.stop(), 0)
        gatehouse.start()
        self.assertEqual(self.names(gatehouse), ["acme", "admin"])
        self.assertEqual(self.register(gatehouse, "adrnin")[0], 409)

    def test_renaming_ends_sessions_and_keeps_the_old_name_from_others(self):
        gatehouse = Gatehouse(self, front={}).start()
        user = gatehouse.add_user("ada")
        gatehouse.add_user("grace")
        session = gatehouse.issue("ada")["token"]
        self.assertEqual(gatehouse.check(session).status, 200)
        renamed = gatehouse.json("users", "rename", "ada", "Countess", "--wait")
        self.assertEqual((renamed["username"], renamed["id"]), ("countess", user["id"]))
        self.assertEqual(gatehouse.check(session).header("x-auth-reason"), "revoked")
        new = gatehouse.issue("countess")["token"]
        self.assertEqual(gatehouse.check(new).header("x-auth-username"), "countess")
        self.assertIn("formerly  ada", gatehouse.ok("users", "show", "countess"))
        self.assertEqual(gatehouse.json("users", "show", "countess")["former_usernames"], ["ada"])
        self.refused(gatehouse, "users", "show", "ada")
        for name in ["ada", "countess", "c0untess"]:
            self.refused(gatehouse, "users", "add", name)
            self.refused(gatehouse, "users", "rename", "grace", name)
            self.assertEqual(self.register(gatehouse, name)[0], 409)
        gatehouse.ok("users", "rename", "countess", "ada")
        self.assertIn("already", gatehouse.ok("users", "rename", "ada", "ADA", "--wait"))
        self.assertEqual(self.names(gatehouse), ["ada", "grace"])
        self.refused(gatehouse, "users", "rename", "nobody", "somebody")

    def test_deleting_asks_first_and_leaves_a_tombstone(self):
        gatehouse = Gatehouse(self, front={}).start()
        gatehouse.add_user("ada")
        session = gatehouse.issue("ada")["token"]
        self.assertIn("--yes", self.refused(gatehouse, "users", "delete", "ada", code=2))
        self.assertEqual(gatehouse.check(session).status, 200)
        self.assertIn("ended 1 session(s)",
                      gatehouse.ok("users", "delete", "ada", "--yes", "--wait"))
        self.assertEqual(gatehouse.check(session).header("x-auth-reason"), "revoked")
        self.assertEqual(self.names(gatehouse), [])
        self.refused(gatehouse, "users", "delete", "ada", "--yes")
        self.refused(gatehouse, "users", "recover", "ada")
        self.refused(gatehouse, "users", "add", "ada", "--reserved")
        self.assertEqual(self.register(gatehouse, "ADA")[0], 409)

    def test_another_version_of_skeletons_stops_registration_until_they_are_rewritten(self):
        gatehouse = Gatehouse(self, front={}).start()
        for name in ["moro1", "grace"]:
            gatehouse.ok("users", "add", name)
        session = gatehouse.issue("grace")["token"]
        [finding] = self.doctor(gatehouse)
        self.assertEqual(finding["level"], "ok")
        # As if another version had let in what looks alike to this one.
        self.execute(gatehouse, """
            UPDATE skeletons SET version = 'another';
            UPDATE names SET canonical = 'morol', skeleton = 'morol' WHERE canonical = 'grace';
        """)
        self.assertEqual(
            self.register(gatehouse, "ada"), (503, "urn:gatehouse:problem:usernames_outdated"))
        self.assertIn(
            "reindex", self.refused(gatehouse, "users", "add", "ada", code=3))
        self.refused(gatehouse, "users", "rename", "moro1", "ada", code=3)
        self.assertEqual(gatehouse.check(session).status, 200)
        outdated, collision = self.doctor(gatehouse)
        self.assertEqual(outdated["level"], "error")
        self.assertIn("reindex", outdated["hint"])
        self.assertEqual(collision["message"], "morol looks like moro1")
        # A server starts, and goes on refusing.
        self.assertEqual(gatehouse.stop(), 0)
        gatehouse.start()
        self.assertIn("nobody can register", gatehouse.logged())
        report = gatehouse.json("users", "reindex")
        self.assertEqual(report["changed"], 1)
        self.assertEqual(report["collisions"], [{"first": "moro1", "other": "morol"}])
        self.assertEqual(self.register(gatehouse, "ada")[0], 201)
        self.assertEqual(self.register(gatehouse, "m0rol")[0], 409)
        self.assertEqual(self.names(gatehouse), ["ada", "moro1", "morol"])
        ok, collision = self.doctor(gatehouse)
        self.assertEqual((ok["level"], collision["level"]), ("ok", "warning"))
        gatehouse.ok("users", "rename", "morol", "grace")
        self.assertEqual(len(self.doctor(gatehouse)), 1)

    def test_a_database_of_an_earlier_release_goes_on(self):
        gatehouse = Gatehouse(self, front={})
        gatehouse.ok("keys", "init")
        connection = sqlite3.connect(gatehouse.data / "gatehouse.sqlite")
        connection.executescript((ROOT / "Tests/Vectors/store-2.sql").read_text())
        connection.close()
        (gatehouse.data / "gatehouse.sqlite").chmod(0o600)
        self.assertIn("older release", self.refused(gatehouse, "users", "list", code=3))
        gatehouse.start()
        self.assertEqual(self.names(gatehouse), [
            "a+b", "adm1n", "admin", "admln", "jane@example.org", "zoë", "аdmin"])
        for name in ["A+B", "zoë", "аdmin", "admln"]:
            self.assertEqual(gatehouse.check(gatehouse.issue(name)["token"]).status, 200)
        self.assertEqual(
            [finding["message"] for finding in self.doctor(gatehouse)[1:]],
            ["admln looks like adm1n", "аdmin looks like admin"])
        self.assertEqual(self.register(gatehouse, "gone")[0], 409)
        gatehouse.ok("users", "rename", "a+b", "ab")
        gatehouse.ok("users", "rename", "ab", "a+b")
