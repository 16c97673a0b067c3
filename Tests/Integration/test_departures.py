# People who leave, with real servers: what is due is done, a restored database forgets them again, and what is
# counted of people has no names.

import base64
import json
import shutil
import sqlite3
import time
import unittest

from harness import Gatehouse
from test_front_door import PASSWORD, FrontDoorTest
from wire import eventually


class Returning(unittest.TestCase):
    """A data directory whose database is older than its deletion ledger."""

    def setUp(self):
        self.gatehouse = Gatehouse(self).make_store()
        self.ada = self.gatehouse.add_user("ada")
        self.gatehouse.add_user("bob")
        self.database = self.gatehouse.data / "gatehouse.sqlite"
        self.ledger = self.gatehouse.data / "deletions.ledger"
        self.copy = self.gatehouse.directory / "copy.sqlite"
        with sqlite3.connect(self.database) as source, sqlite3.connect(self.copy) as copy:
            source.backup(copy)
        source.close()
        copy.close()

    def restore(self):
        for end in ("-wal", "-shm"):
            self.database.with_name(self.database.name + end).unlink(missing_ok=True)
        shutil.copy(self.copy, self.database)

    def is_there(self, name):
        return self.gatehouse.command("users", "show", name)[0] == 0

    def entries(self):
        return [entry for entry in self.gatehouse.json("audit", "list")["entries"]
                if entry["kind"] == "user_deleted"]

    def doctor(self, check):
        code, output, _ = self.gatehouse.command("doctor", "--json")
        [finding] = [finding for finding in json.loads(output)["findings"]
                     if finding["check"] == check]
        return finding["level"]

    # Promise: restore-forgets
    def test_a_server_deletes_them_again_before_it_listens(self):
        self.gatehouse.ok("users", "delete", "ada", "--yes")
        self.assertEqual(self.ledger.stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.ledger.read_text().split()[0], self.ada["id"].replace("-", ""))
        self.restore()
        self.assertTrue(self.is_there("ada"))
        self.assertEqual(self.doctor("deletion ledger"), "error")
        self.gatehouse.start()
        self.assertFalse(self.is_there("ada"), "as soon as it is ready")
        self.assertTrue(self.is_there("bob"))
        self.assertEqual(self.gatehouse.command("users", "add", "ada")[0], 1, "reserved")
        self.assertIn("deleted again", self.gatehouse.logged())
        [entry] = self.entries()
        self.assertEqual((entry["user"], entry["detail"], entry["actor"]),
                         (self.ada["id"], "why=again", "server"))
        self.assertEqual(self.doctor("deletion ledger"), "ok")
        self.assertEqual(self.gatehouse.stop(), 0)

    # Promise: restore-forgets
    def test_the_command_does_it_without_a_server(self):
        self.gatehouse.ok("users", "delete", "ada", "--yes")
        self.assertEqual(self.gatehouse.json("users", "purge-again"), {"deleted": []})
        self.restore()
        self.assertEqual(self.gatehouse.json("users", "purge-again"), {"deleted": [self.ada["id"]]})
        self.assertFalse(self.is_there("ada"))
        self.assertTrue(self.is_there("bob"))

    def test_lines_that_are_no_entries_bring_nobody_back(self):
        self.gatehouse.ok("users", "delete", "ada", "--yes")
        entry = self.ledger.read_text()
        bob = self.gatehouse.json("users", "show", "bob")
        self.restore()
        self.ledger.write_text(f"{'0' * 32} 179\n{'0' * 32} 1795{entry}")
        self.gatehouse.start()
        self.assertFalse(self.is_there("ada"), "her line stands behind one that was cut off")
        self.assertIn("the deletion ledger is not whole", self.gatehouse.logged())
        self.assertEqual(self.doctor("deletion ledger"), "error")
        # What is put right beside a running server is read.
        identifier = (bob.get("id") or bob["user"]["id"]).replace("-", "")
        self.ledger.write_text(f"{identifier} 1795\n")
        eventually(lambda: self.gatehouse.logged().count("deleted again") == 2, within=90, every=0.1)
        self.assertFalse(self.is_there("bob"))
        self.assertEqual(self.doctor("deletion ledger"), "ok")
        self.assertEqual(self.gatehouse.stop(), 0)

    def test_a_ledger_that_cannot_be_read_stops_deletions_and_no_server(self):
        self.ledger.mkdir()
        code, _, errors = self.gatehouse.command("users", "delete", "ada", "--yes")
        self.assertEqual(code, 3)
        self.assertIn("deletions.ledger", errors)
        self.assertTrue(self.is_there("ada"))
        self.gatehouse.start()
        self.assertIn("deleting people again failed", self.gatehouse.logged())
        self.assertEqual(self.doctor("deletion ledger"), "error")
        self.assertEqual(self.gatehouse.stop(), 0)


class Leaping(unittest.TestCase):
    def at_the_store(self, sql, *values):
        with sqlite3.connect(self.database) as database:
            database.execute(sql, values)
        database.close()

    # Promise: deletion
    def test_a_clock_that_went_far_ahead_while_no_server_ran_deletes_nobody_for_hours(self):
        gatehouse = Gatehouse(self).make_store()
        user = bytes.fromhex(gatehouse.add_user("ada")["id"].replace("-", ""))
        self.database = gatehouse.data / "gatehouse.sqlite"
        now = int(time.time())
        # The clock says that it is three weeks later than the store last knew.
        self.at_the_store("INSERT INTO deletions VALUES (?, ?, ?)",
                          user, now - 22 * 86_400, now - 8 * 86_400)
        self.at_the_store("UPDATE head SET latest_time = ?", now - 21 * 86_400)
        gatehouse.start()
        eventually(lambda: "deletions are held back" in gatehouse.logged(), within=90, every=0.1)
        time.sleep(2)
        self.assertEqual(gatehouse.command("users", "show", "ada")[0], 0)
        findings = json.loads(gatehouse.command("doctor", "--json")[1])["findings"]
        [finding] = [each for each in findings if each["check"] == "deletions"]
        self.assertEqual(finding["level"], "ok")
        self.assertIn("held back until", finding["message"])
        self.assertEqual(gatehouse.stop(), 0)
        # Six hours later.
        self.at_the_store("UPDATE clock_leaps SET time = time - 21600")
        gatehouse.start()
        eventually(lambda: "deleted as requested" in gatehouse.logged(), within=90, every=0.1)
        self.assertEqual(gatehouse.command("users", "show", "ada")[0], 1)
        self.assertEqual(gatehouse.stop(), 0)


class Counting(unittest.TestCase):
    # Promise: statistics
    def test_counts_have_no_names(self):
        gatehouse = Gatehouse(self).start()
        user = gatehouse.add_user("ada")
        answer = gatehouse.ask_admin("/v1/admin/statistics?days=3")
        self.assertEqual(answer.status, 200)
        counts = json.loads(answer.body)
        self.assertEqual(len(counts["days"]), 3)
        self.assertEqual(counts["days"][-1]["new"], 1)
        self.assertEqual(gatehouse.json("statistics", "--days", 3), counts)
        self.assertNotIn(user["id"], answer.body.decode())
        self.assertEqual(counts["days"][-1]["active"], 0, "she has an account, and was not here")
        for days, status in (("1", 200), ("400", 200), ("0", 400), ("401", 400), ("x", 400),
                             ("", 400), ("1&days=1", 400)):
            with self.subTest(days):
                self.assertEqual(
                    gatehouse.ask_admin(f"/v1/admin/statistics?days={days}").status, status)
        for days in (0, 401):
            self.assertEqual(gatehouse.command("statistics", "--days", days)[0], 2)
        self.assertEqual(gatehouse.stop(), 0)


class Going(FrontDoorTest):
    settings = {"people.deletion_wait": "0s"}

    def export(self, name):
        return json.loads(self.gatehouse.ok("users", "export", name))

    # Promise: export
    def test_an_operator_exports_what_the_person_does(self):
        name = self.new_user()
        self.visitor().sign_in(name, PASSWORD, follow=False)
        today = self.gatehouse.json("statistics", "--days", 1)["days"][0]
        self.assertGreaterEqual(today["active"], 1)
        self.assertEqual(today["returning"], 0, "everybody here registered today")
        export = self.export(name)
        self.assertEqual(export["format"], "gatehouse-export-1")
        self.assertEqual(export["account"]["username"], name)
        self.assertEqual(len(export["sessions"]), 1)
        self.assertEqual(export["audit"][-1]["kind"], "data_exported")
        self.assertEqual(export["audit"][-1]["actor"], "command")
        page = self.gatehouse.ok("users", "export", name, "--page")
        self.assertTrue(page.startswith("<!doctype html>"))
        self.assertIn(export["account"]["user"], page)
        self.assertEqual(self.gatehouse.command("users", "export", "nobody")[0], 1)

    # Promise: deletion
    # Promise: nothing-left
    def test_what_is_due_a_running_server_does(self):
        name = self.new_user()
        visitor = self.visitor()
        visitor.sign_in(name, PASSWORD, follow=False)
        marker = "zq7MarkerOfThisTest"
        visitor.open("/auth/account")
        visitor.submit(action="/account/device", new_key="theme", new_value=marker, follow=False)
        visitor.open("/auth/account/leave")
        visitor.submit(action="/account/leave", password=PASSWORD, follow=False)
        self.assertEqual(visitor.response.status, 303, visitor.response)
        eventually(lambda: "deleted as requested" in self.gatehouse.logged(), within=90, every=0.1)
        self.assertEqual(self.gatehouse.command("users", "show", name)[0], 1)
        visitor.open("/auth/account")
        self.assertNotIn(b"theme", visitor.response.body)
        eventually(lambda: not self.found(marker), within=90, every=0.1)

    def found(self, marker):
        """Files of the data directory, and the log, with the text in any writing."""
        text = marker.encode()
        writings = [text, text.hex().encode(), marker.encode("utf-16-le"),
                    base64.b64encode(text)[:-4]]
        files = [file for file in self.gatehouse.data.rglob("*") if file.is_file()]
        return [file for file in [*files, self.gatehouse.log]
                if any(writing in file.read_bytes() for writing in writings)]
