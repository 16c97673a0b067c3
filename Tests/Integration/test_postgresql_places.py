# Where a database may be that Gatehouse is given: behind TLS, and restored from a copy.

import unittest

from authority import Authority
from harness import Gatehouse, scratch
from postgresql import PostgreSQL
from test_front_door import PASSWORD, register, sign_in
from test_postgresql_tools import run
from wire import eventually


class Encrypted(unittest.TestCase):
    """The certificate of the database is verified, as over any network."""

    @classmethod
    def setUpClass(cls):
        cls.authority = Authority(cls)
        cls.cluster = PostgreSQL(cls, tls=cls.authority.issue("database"))
        cls.database = cls.cluster.create_database("gatehouse")

    def node(self, **options):
        """A server that is not started, and finds the database as libpq's options say."""
        way = {"host": "localhost", "sslmode": "verify-full",
               "sslrootcert": str(self.authority.certificate)} | options
        return Gatehouse(self, front={}, database=self.database.through(**way))

    def test_a_server_signs_people_in_over_it(self):
        node = self.node()
        node.start()
        self.assertEqual(register(node, "ada").status, 201)
        self.assertEqual(sign_in(node, "ada").status, 200)
        self.assertEqual(self.database.psql(
            "SELECT DISTINCT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
            "WHERE usename = 'gatehouse'"), [("t",)])

    def test_nothing_starts_over_it_that_cannot_be_verified(self):
        for options, said in [
                ({"sslrootcert": str(Authority(self).certificate)}, "certificate verify failed"),
                ({"sslrootcert": "/nowhere/ca.pem"}, "/nowhere/ca.pem"),
                ({"host": "db.example.org", "hostaddr": "127.0.0.1"},
                 'does not match host name "db.example.org"')]:
            with self.subTest(said):
                node = self.node(**options)
                self.assertNotEqual(node.spawn().exit_code(), 0)
                for errors in [node.logged(), node.command("users", "list")[2]]:
                    self.assertIn(said, errors)
                    self.assertNotIn(self.cluster.password_file.read_text().strip(), errors)


class Restored(unittest.TestCase):
    """Copied and put back as Scale.md says, under "Copies"."""

    def test_a_server_goes_on_with_a_restored_copy(self):
        # Its settings are those that `doctor` asks for.
        cluster = PostgreSQL(self, durable=True)
        original = self.gatehouse(cluster.create_database("original")).start()
        for name in ["ada", "eve"]:
            self.assertEqual(register(original, name).status, 201)
        lives, ended = (original.issue("ada") for _ in range(2))
        copy = scratch(self) / "copy"
        self.run_program(original.database, "pg_dump", "--format=custom", f"--file={copy}")

        # What the copy doesn't know.
        original.ok("sessions", "revoke", ended["session"], "--wait")
        original.ok("users", "delete", "eve", "--yes")
        self.assertEqual(original.check(ended["token"]).status, 401)
        self.assertEqual(original.stop(), 0)
        database = cluster.create_database("restored")
        self.run_program(database, "pg_restore", "--exit-on-error", copy, "--dbname")

        restored = self.gatehouse(database, data=original.data, key=original.key).start()
        self.assertEqual(restored.check(lives["token"]).status, 200)
        self.assertEqual(restored.check(ended["token"]).status, 200, "which is why there is more:")
        restored.ok("sessions", "revoke", "--all")
        for session in [lives, ended]:
            eventually(lambda: restored.check(session["token"]).status == 401, within=5)
        restored.ok("audit", "verify")
        self.assertEqual([finding for finding in restored.json("doctor")["findings"]
                          if finding["level"] == "error"], [])
        self.assertEqual(sign_in(restored, "ada").status, 200)
        self.assertEqual(restored.check(restored.issue("ada")["token"]).status, 200)
        # The deletion ledger was not put back, and has deleted her again.
        self.assertEqual([user["username"] for user in restored.json("users", "list")["users"]],
                         ["ada"])

    def gatehouse(self, database, data=None, key=None):
        key = key or scratch(self) / "root.key"
        gatehouse = Gatehouse(self, data=data, front={}, database=database,
                              settings={"root_key.file": str(key)})
        gatehouse.key = key
        return gatehouse

    def run_program(self, database, program, *arguments):
        done = run(database, database.cluster.url(database.name), program, *map(str, arguments))
        self.assertEqual(done.returncode, 0, done.stderr)
