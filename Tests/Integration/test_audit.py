# The audit trail on real processes: written by servers and commands, proved, exported, and defended.

import json
import shutil
import sqlite3
import unittest

from harness import Gatehouse
from visitor import call

PASSWORD = "a fine day for sailing"


class Audit(unittest.TestCase):
    def setUp(self):
        self.gatehouse = Gatehouse(self, front={}).start()

    def entries(self, *options):
        return self.gatehouse.json("audit", "list", *options)["entries"]

    def user_of(self, kind):
        [entry] = self.entries("--kind", kind)
        return entry["user"]

    def verify(self, *options):
        code, output, _ = self.gatehouse.command("audit", "verify", "--json", *options)
        return code, json.loads(output)

    def tamper(self, *statements):
        database = sqlite3.connect(self.gatehouse.data / "gatehouse.sqlite")
        for trigger in ["audit_no_update", "audit_no_delete", "audit_chained"]:
            database.execute(f"DROP TRIGGER IF EXISTS {trigger}")
        for statement in statements:
            database.execute(statement)
        database.commit()
        database.close()

    def act(self):
        """Something of every kind that operators do."""
        gatehouse = self.gatehouse
        gatehouse.add_user("ada")
        gatehouse.add_user("eve")
        session = gatehouse.issue("ada")
        gatehouse.ok("sessions", "revoke", session["session"], "--reason", "ticket 1")
        gatehouse.ok("users", "disable", "eve", "--reason", "asked for it")
        gatehouse.ok("users", "enable", "eve")
        gatehouse.ok("users", "invite")
        gatehouse.ok("users", "recover", "ada")
        gatehouse.ok("users", "rename", "eve", "eva")
        gatehouse.ok("users", "unlock", "ada")
        gatehouse.ok("users", "delete", "eva", "--yes")
        gatehouse.ok("keys", "rotate", "--wait")
        gatehouse.ok("keys", "revoke", "--all", "--wait")
        gatehouse.ok("sessions", "revoke", "--all")
        gatehouse.ok("passwords", "pepper", "rotate")

    def test_every_act_leaves_a_trace_and_the_trail_is_whole(self):
        self.act()
        kinds = {entry["kind"] for entry in self.entries("--limit", "1000")}
        self.assertLessEqual({
            "user_created", "session_created", "session_revoked", "user_disabled", "user_enabled",
            "user_invited", "user_recovery_issued", "user_renamed", "user_deleted", "key_added",
            "key_activated", "key_revoked", "sessions_revoked_before", "pepper_layered",
            "password_attempts_reset", "audit_checkpoint",
        }, kinds)
        eve = self.user_of("user_deleted")
        by_reason = {entry["reason"]: entry
                     for user in ["ada", eve] for entry in self.entries("--user", user)
                     if "reason" in entry}
        self.assertEqual(by_reason["ticket 1"]["kind"], "session_revoked")
        self.assertTrue(by_reason["ticket 1"]["operator"])
        code, result = self.verify()
        self.assertEqual((code, result["whole"], result["faults"]), (0, True, []))
        # Eve was deleted: what was said of her besides her id is gone, and the trail is whole.
        self.assertNotIn("asked for it", by_reason)
        self.assertGreaterEqual(result["erased"], 1)

        # Written by three chains at least: this server's, the commands', and the next server's.
        head = result["head"]
        self.gatehouse.stop()
        self.gatehouse.start()
        self.gatehouse.ok("users", "add", "grace")
        code, result = self.verify("--expect", head)
        self.assertEqual((code, result["whole"]), (0, True))
        chains = {entry["chain"] for entry in self.entries("--limit", "1000")}
        self.assertGreaterEqual(len(chains), 3)
        self.assertIn("commands", chains)

    def test_requests_say_where_they_came_from(self):
        response = call(self.gatehouse.front, "POST", "/auth/v1/register",
                        {"username": "ada", "password": PASSWORD},
                        "X-Forwarded-For: 203.0.113.7", "Sec-Fetch-Site: same-origin",
                        "Content-Type: application/json")
        self.assertEqual(response.status, 201, response)
        [entry] = self.entries("--user", "ada")
        self.assertEqual((entry["kind"], entry["place"]), ("user_created", "203.0.113.0/24"))
        self.assertNotIn("203.0.113.7", json.dumps(self.entries("--limit", "1000")))

    def test_what_was_altered_removed_or_cut_off_is_named(self):
        self.act()
        code, result = self.verify()
        self.assertEqual(code, 0)
        head, last = result["head"], max(entry["entry"] for entry in self.entries())
        self.gatehouse.stop()
        store = self.gatehouse.data / "gatehouse.sqlite"
        database = sqlite3.connect(store)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        shutil.copytree(self.gatehouse.data, self.gatehouse.data.with_name("backup"))
        for statement, kind, entry in [
            ("UPDATE audit SET operator = 'nobody' WHERE sequence = 12", "altered", 12),
            ("UPDATE audit SET user_id = randomblob(16) WHERE sequence = 14", "altered", 14),
            ("DELETE FROM audit WHERE sequence = 13", "missing", None),
            (f"DELETE FROM audit WHERE sequence > {last - 2}", "cut_off", None),
            ("UPDATE audit_personal SET reason = 'other'", "personal_altered", None),
        ]:
            self.tamper(statement)
            code, result = self.verify("--expect", head)
            self.assertEqual((code, result["whole"]), (1, False), statement)
            self.assertIn(kind, [fault["kind"] for fault in result["faults"]], statement)
            if entry:
                self.assertEqual(result["faults"][0].get("entry"), entry, result)
            _, output, _ = self.gatehouse.command("doctor", "--json")
            levels = {finding["check"]: finding["level"]
                      for finding in json.loads(output)["findings"]}
            if kind != "cut_off":  # only the head that was kept shows that
                self.assertEqual(levels["audit trail"], "error", statement)
            for name in ["gatehouse.sqlite-wal", "gatehouse.sqlite-shm"]:
                (self.gatehouse.data / name).unlink(missing_ok=True)
            shutil.copy(self.gatehouse.data.with_name("backup") / store.name, store)
        code, result = self.verify("--expect", head)
        self.assertEqual((code, result["whole"]), (0, True))

    def test_the_store_refuses_to_rewrite_its_trail(self):
        self.gatehouse.add_user("ada")
        database = sqlite3.connect(self.gatehouse.data / "gatehouse.sqlite")
        for statement in ["DELETE FROM audit", "UPDATE audit SET time = 0",
                          "INSERT INTO audit (time, kind, actor) VALUES (1, 'x', 'server')"]:
            with self.assertRaises(sqlite3.IntegrityError):
                database.execute(statement)
        database.close()

    def test_an_export_is_complete_and_ends_with_the_head(self):
        self.act()
        lines = [json.loads(line) for line in self.gatehouse.ok("audit", "export").splitlines()]
        self.assertEqual([line["entry"] for line in lines[:-1]],
                         list(range(1, len(lines))))
        self.assertEqual(lines[-2]["kind"], "audit_exported")
        code, result = self.verify("--expect", lines[-1]["head"])
        self.assertEqual((code, lines[-1]["whole"], result["whole"]), (0, True, True))
        after = lines[-3]["entry"]
        rest = self.gatehouse.ok("audit", "export", "--after", str(after)).splitlines()
        self.assertEqual([json.loads(line)["entry"] for line in rest[:-1]], [after + 1, after + 2])

    def test_a_server_that_is_killed_leaves_a_whole_trail(self):
        for round in range(3):
            self.gatehouse.add_user(f"user{round}")
            self.gatehouse.kill()
            self.gatehouse.start()
        code, result = self.verify()
        self.assertEqual((code, result["whole"]), (0, True))

    def test_a_new_audit_key_is_taken_up_by_servers_and_commands(self):
        gatehouse = self.gatehouse
        gatehouse.add_user("ada")
        head = self.verify()[1]["head"]
        old = self.entries()[-1]["audit_key"]
        new = gatehouse.json("keys", "data", "rotate", "audit")["key"]
        self.assertNotEqual(new, old)
        last = self.entries()[-1]["entry"]
        gatehouse.add_user("eve")
        response = call(gatehouse.front, "POST", "/auth/v1/register",
                        {"username": "bob", "password": PASSWORD},
                        "Sec-Fetch-Site: same-origin", "Content-Type: application/json")
        self.assertEqual(response.status, 201, response)
        written = [entry for entry in self.entries("--limit", "1000") if entry["entry"] > last]
        self.assertEqual({entry["audit_key"] for entry in written}, {new})
        self.assertEqual({entry["chain"] == "commands" for entry in written}, {True, False})
        code, result = self.verify("--expect", head)
        self.assertEqual((code, result["whole"], result["faults"]), (0, True, []))
        # Settling first; then, after two hours, because entries were made with it.
        [kept] = gatehouse.json("keys", "data", "prune")["kept"]
        self.assertEqual((kept["key"], kept["reason"]), (old, "settling"))
        keys = {key["id"]: key for key in gatehouse.json("keys", "data", "list")["keys"]}
        self.assertEqual((keys[old]["state"], keys[new]["state"]), ("former", "newest"))
        self.assertGreaterEqual(keys[old]["rows"], 1)

    def test_a_server_that_starts_says_how_far_the_others_had_got(self):
        self.gatehouse.add_user("ada")
        self.gatehouse.add_user("eve")
        last = self.entries()[-1]
        self.assertEqual(last["chain"], "commands")
        self.gatehouse.kill()
        self.gatehouse.start()
        later = [entry for entry in self.entries() if entry["entry"] > last["entry"]]
        self.assertTrue(later, "no checkpoint")
        checkpoint = later[0]
        self.assertEqual((checkpoint["kind"], checkpoint["position"]), ("audit_checkpoint", 1))
        end = "f" * 32 + f"{last['position']:016x}" + last["mac"]
        self.assertIn(end, [checkpoint["ends"][at:at + 112]
                            for at in range(0, len(checkpoint["ends"]), 112)])
        # So that nobody takes away what the commands did.
        self.gatehouse.kill()
        self.tamper(f"DELETE FROM audit WHERE sequence = {last['entry']}")
        code, result = self.verify()
        self.assertEqual(code, 1)
        self.assertEqual([(fault["kind"], fault["chain"]) for fault in result["faults"]],
                         [("numbers_missing", "unchained"), ("cut_off", "commands")])

    def test_bad_questions_are_told(self):
        for arguments, code in [
            (["audit", "list", "--kind", "nothing"], 2), (["audit", "list", "--limit", "0"], 2),
            (["audit", "list", "--limit", "10001"], 2), (["audit", "list", "--user", "nobody"], 1),
            (["audit", "list", "--since", "yesterday"], 2),
            (["audit", "verify", "--expect", "gatehouse-audit-head-1:1:00"], 2),
            (["users", "add", "x1", "--reason", ""], 2),
            (["users", "add", "x1", "--reason", "x" * 257], 2),
            (["users", "add", "x1", "--reason", "a\nb"], 2),
        ]:
            found, _, errors = self.gatehouse.command(*arguments)
            self.assertEqual(found, code, (arguments, errors))
            self.assertTrue(errors)
        self.gatehouse.ok("users", "add", "x1", "--reason", "x" * 256)
