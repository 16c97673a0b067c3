# `gatehouse store copy`: sessions stay valid on the other database and back, kill -9 at any point loses
# and doubles nothing, and nobody starts on a part of a store.

import json
import unittest

from harness import Gatehouse, scratch
from postgresql import PostgreSQL
from test_front_door import register
from test_import import line
from test_sessions import PASSWORD, Browser

# More than two batches of a table.
USERS = 1100
# Points of a run's writes at which it dies: before its mark is there, and within batches.
POINTS = [1, 2, 3, 4, 5, 6, 8, 11, 17]
UNFINISHED = "a copy into the database is unfinished"


class StoreCopy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Its settings are those that `doctor` asks for.
        cls.cluster = PostgreSQL(cls, durable=True)
        cls.databases = 0

    def setUp(self):
        self.key = scratch(self) / "root.key"
        self.first = self.gatehouse()
        self.first.ok("keys", "init")

    def gatehouse(self, database=None, **settings):
        """A server that is not started, under the test's root key, with a data directory of its own."""
        data = scratch(self) / "data"
        data.mkdir(0o700)
        return Gatehouse(self, data=data, front={}, database=database,
                         settings={"root_key.file": str(self.key), **settings})

    def database(self):
        StoreCopy.databases += 1
        return self.cluster.create_database(f"copy{self.databases}")

    def places(self):
        """Servers to copy to, of either kind."""
        return self.gatehouse(), self.gatehouse(self.database())

    @staticmethod
    def options(side, gatehouse):
        """Where a store is, as options of the command."""
        if not gatehouse.database:
            return [f"--{side}", f"sqlite:{gatehouse.data}"]
        settings = gatehouse.database.settings()
        return [f"--{side}", settings["store.url"],
                f"--{side}-password-file", settings["store.password_file"]]

    def copy(self, source, destination):
        """(exit code, report, errors) of the command, with the destination's data directory."""
        # The configuration of a server on SQLite: the command is told both sides.
        runner = self.runner(destination)
        code, output, errors = runner.command(
            "store", "copy", *self.options("from", source), *self.options("to", destination),
            "--json")
        return code, json.loads(output) if output else None, errors

    def runner(self, destination):
        runner = Gatehouse(self, data=destination.data,
                           settings={"root_key.file": str(self.key)})
        runner.environment |= destination.environment
        return runner

    def people(self, count=USERS):
        """Users of the first store, which stands still."""
        file = scratch(self) / "users.jsonl"
        file.write_text("".join(line(f"user{number}") + "\n" for number in range(count)))
        self.first.make_store()
        self.first.ok("users", "import", file)

    def test_sessions_stay_valid_there_and_back(self):
        self.first.start()
        register(self.first, "ada")
        browser = Browser(self.first)
        browser.sign_in("ada", remember=True)
        sessions = [self.first.issue("ada") for _ in range(5)]
        ended = []

        def end(gatehouse):
            session = sessions.pop()
            gatehouse.ok("sessions", "revoke", session["session"], "--wait")
            ended.append(session)

        def assert_as_before(gatehouse):
            for session in sessions:
                self.assertEqual(gatehouse.check(session["token"]).status, 200)
            for session in ended:
                response = gatehouse.check(session["token"])
                self.assertEqual((response.status, response.header("x-auth-reason")),
                                 (401, "revoked"))

        end(self.first)
        self.first.ok("keys", "rotate", "--wait")
        sessions.append(self.first.issue("ada"))
        place = self.first
        for destination in [self.gatehouse(self.database()), self.gatehouse()]:
            self.assertEqual(place.stop(), 0)
            before = place.json("audit", "verify")
            code, report, errors = self.copy(place, destination)
            self.assertEqual(code, 0, errors)
            self.assertEqual(report["rows_before"], 0)
            rows = {table["table"]: table["rows"] for table in report["tables"]}
            self.assertEqual(rows["audit"], before["entries"])
            self.assertGreater(rows["sessions"], len(sessions))
            self.assertEqual(destination.json("audit", "verify"), before)
            destination.start()
            assert_as_before(destination)
            # The browser is known, and its cookies go on; so does what is done from now on.
            self.assertEqual(
                browser.copy().without_session().resume(destination).status, 200)
            browser.without_session().resume(destination)
            Browser(destination).sign_in("ada", PASSWORD)
            end(destination)
            sessions.append(destination.issue("ada"))
            assert_as_before(destination)
            self.assertEqual([finding for finding in destination.json("doctor")["findings"]
                              if finding["level"] == "error"], [])
            place = destination

    def test_a_copy_that_is_killed_goes_on(self):
        self.people()
        for destination in self.places():
            with self.subTest("to PostgreSQL" if destination.database else "to SQLite"):
                self.kill_often(destination)

    def kill_often(self, destination):
        for point in POINTS:
            destination.environment["GATEHOUSE_FAULT"] = f"kill:{point}"
            code, _, errors = self.copy(self.first, destination)
            del destination.environment["GATEHOUSE_FAULT"]
            self.assertEqual(code, -9, errors)
            # The mark is written by the first transaction; nobody takes a part for a store.
            code, _, errors = destination.command("users", "list")
            self.assertEqual(UNFINISHED in errors, point > 2)
            self.assertEqual(code, 3 if point > 2 else 0, errors)
        code, whole, errors = self.copy(self.first, destination)
        self.assertEqual(code, 0, errors)
        self.assertGreater(whole["rows_before"], USERS)
        self.assertLess(whole["rows_before"], whole["rows"])
        # As after a kill between the last commit and the report.
        code, again, errors = self.copy(self.first, destination)
        self.assertEqual(code, 0, errors)
        self.assertEqual(again["tables"], whole["tables"])
        rows = {table["table"]: table["rows"] for table in whole["tables"]}
        self.assertEqual(rows["users"], USERS)
        names = [user["username"] for user in destination.json("users", "list")["users"]]
        self.assertEqual(sorted(names), sorted(f"user{number}" for number in range(USERS)))
        self.assertEqual(destination.json("audit", "verify"), self.first.json("audit", "verify"))
        # Nobody copies over it once it is used.
        destination.ok("users", "disable", "user1")
        code, _, errors = self.copy(self.first, destination)
        self.assertEqual(code, 1)
        self.assertIn("is in use", errors)

    def test_no_server_starts_on_a_part(self):
        self.people(10)
        for destination in self.places():
            with self.subTest("to PostgreSQL" if destination.database else "to SQLite"):
                destination.environment["GATEHOUSE_FAULT"] = "kill:9"
                self.assertEqual(self.copy(self.first, destination)[0], -9)
                del destination.environment["GATEHOUSE_FAULT"]
                destination.spawn()
                self.assertEqual(destination.exit_code(), 3)
                self.assertIn(UNFINISHED, destination.logged())
                # Nor does a copy of what the store has become since.
                self.first.ok("users", "disable", "user1")
                code, _, errors = self.copy(self.first, destination)
                self.assertEqual(code, 1)
                self.assertIn("a part of another one, or of this one before it changed", errors)

    def test_a_store_that_is_served_is_refused(self):
        self.first.start()
        destination = self.gatehouse(self.database())
        code, _, errors = self.copy(self.first, destination)
        self.assertEqual(code, 1)
        self.assertIn("runs on the store to copy", errors)
        self.assertEqual(self.first.stop(), 0)
        destination.start()
        code, _, errors = self.copy(self.first, destination)
        self.assertEqual(code, 1)
        self.assertIn("runs on the store to copy to", errors)

    def test_what_can_not_be_copied_is_told(self):
        self.people(1)
        for options, code, text in [
            (["--from", "sqlite:", "--to", "mysql://h/d"], 2, "--to must begin with sqlite:"),
            (["--from", "postgresql://u:hunter2@h/d", "--to", "sqlite:"], 2, "--from must not have"),
            (["--from", "sqlite:/nowhere", "--to", "sqlite:"], 3, "there is no data directory at"),
            (["--from", "sqlite:", "--to", "sqlite:"], 1, "is in use"),
            (["--from", "sqlite:", "--to", "postgresql://u@127.0.0.1:1/d"], 3, "refused"),
        ]:
            with self.subTest(options):
                result = self.first.command("store", "copy", *options)
                self.assertEqual(result[0], code, result)
                self.assertIn(text, result[2])
                self.assertNotIn("hunter2", "".join(result[1:]))
