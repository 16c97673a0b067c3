# `gatehouse doctor --promises`: it finds nothing in a deployment that is in order, and names each breach.

import contextlib
import json
import sqlite3
import time
import unittest

from harness import Gatehouse
from visitor import call

PASSWORD = "a fine day for sailing"
DAY = 86_400


class SelfAssessment(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls, front={
            "public.origin": "https://localhost:8443",
            "contact.people": "mailto:privacy@example.org",
            "contact.security": "mailto:security@example.org",
            "audit.addresses": "address"}).start()
        cls.gatehouse.marks_test_users = False
        # Nobody mends while the test looks: what upkeep would do in a minute stays undone.
        answer = call(cls.gatehouse.front, "POST", "/auth/v1/register",
                      {"username": "ada", "password": PASSWORD})
        assert answer.status == 201, answer
        cls.user = json.loads(answer.body)["user"]["id"].replace("-", "")
        notice = cls.gatehouse.directory / "terms.txt"
        notice.write_text("Be kind.\n")
        today = time.strftime("%Y-%m-%d", time.gmtime())
        cls.gatehouse.ok("notices", "publish", str(notice), "--document", "terms",
                         "--effective", today, "--title", "Terms")
        assert cls.gatehouse.stop() == 0

    def findings(self, *flags):
        code, output, errors = self.gatehouse.command("doctor", "--json", *flags)
        self.assertIn(code, (0, 1), errors)
        return code, {finding["check"]: finding for finding in json.loads(output)["findings"]
                      if finding["level"] == "error"}

    def write(self, *statements):
        """As nobody may: past every rule of the program, and taken back after the test."""
        path = self.gatehouse.data / "gatehouse.sqlite"
        before = {name: name.read_bytes()
                  for name in self.gatehouse.data.glob("gatehouse.sqlite*")}

        def take_back():
            for name in self.gatehouse.data.glob("gatehouse.sqlite*"):
                name.unlink()
            for name, content in before.items():
                name.write_bytes(content)
                name.chmod(0o600)
        self.addCleanup(take_back)
        with contextlib.closing(sqlite3.connect(path, timeout=20)) as database, database:
            for statement, *values in statements:
                database.execute(statement, values)

    def breach(self, check, *words):
        for flags in [["--promises"], []]:
            code, errors = self.findings(*flags)
            self.assertEqual(code, 1)
            self.assertEqual(set(errors), {check}, (flags, errors))
            for word in words:
                self.assertIn(word, errors[check]["message"])

    # Promise: self-assessment
    def test_nothing_is_found_where_all_is_in_order(self):
        self.assertEqual(self.findings("--promises"), (0, {}))
        # What a look at everything finds, beside promises, is no matter of theirs.
        checks = {finding["check"] for finding in json.loads(
            self.gatehouse.ok("doctor", "--promises", "--json"))["findings"]}
        self.assertLessEqual({"notices", "grants", "profiles", "deletions", "deletion ledger",
                              "addresses", "erased data", "keyring", "audit trail", "contact"},
                             checks)

    # Promise: self-assessment
    def test_a_change_that_was_published_too_late(self):
        # No earlier than the store's time, which the database would refuse.
        now = int(time.time()) + 60
        self.write(("INSERT INTO notices SELECT document, 2, title, text, sha256, ?, ?, NULL, NULL "
                    "FROM notices", now, now + 5 * DAY))
        self.breach("notices", "terms version 2")

    # Promise: self-assessment
    def test_somebody_who_should_be_gone(self):
        now = int(time.time())
        self.write(("INSERT INTO deletions (user_id, requested, due) VALUES (?, ?, ?)",
                    bytes.fromhex(self.user), now - 20 * DAY, now - 2 * 3600))
        self.breach("deletions", "was to be deleted")

    # Promise: self-assessment
    def test_an_address_that_should_be_cut(self):
        past = int(time.time()) - 15 * DAY
        self.write(("DROP TRIGGER audit_no_update",),
                   ("UPDATE audit SET time = ? WHERE kind = 'user_created'", past))
        code, errors = self.findings("--promises")
        self.assertEqual(code, 1)
        self.assertIn("whole ones", errors["addresses"]["message"])
        # The trail can't be written to unnoticed either.
        self.assertEqual(set(errors), {"addresses", "audit trail"}, errors)

    # Promise: self-assessment
    def test_an_acting_session_that_outlives_its_grant(self):
        now = int(time.time())
        session, grant = bytes(15) + b"\1", bytes(15) + b"\2"
        self.write(
            ("INSERT INTO sessions (id, user_id, epoch, created, authenticated, idle_deadline, "
             "absolute_deadline, methods, level, remembered) VALUES (?, ?, 0, ?, ?, ?, ?, 0, 1, 0)",
             session, bytes.fromhex(self.user), now, now, now + 3600, now + 3600),
            ("INSERT INTO looks (user_id, time, operator, grant_id, seen, session_id) "
             "VALUES (?, ?, 'bob', ?, 'session', ?)",
             bytes.fromhex(self.user), now, grant, session))
        self.breach("grants", session.hex())

    # Promise: self-assessment
    def test_a_profile_that_nobody_can_open(self):
        self.write(("INSERT INTO profiles (user_id, key_id, sealed, updated, revision, "
                    "last_sequence) VALUES (?, 77, zeroblob(296), ?, 1, 0)",
                    bytes.fromhex(self.user), int(time.time())))
        self.breach("profiles", "1 row(s)")

    # Promise: self-assessment
    def test_keys_that_nobody_rotates_and_nobody_to_ask(self):
        configuration = self.gatehouse.directory / "gatehouse.yaml"
        before = configuration.read_text()
        self.addCleanup(configuration.write_text, before)
        settings = json.loads(before)
        del settings["contact.people"]
        settings["keys.rotate_every"] = "0"
        configuration.write_text(json.dumps(settings))
        code, errors = self.findings("--promises")
        self.assertEqual(code, 1)
        self.assertEqual(set(errors), {"rotation", "contact"}, errors)
        # Elsewhere they are unwise.
        self.assertEqual(self.findings(), (0, {}))


if __name__ == "__main__":
    unittest.main()
