# The tests' own PostgreSQL: a cluster, its standby and the proxy do what other tests take for granted.

import concurrent.futures
import os
import pathlib
import subprocess
import time
import unittest

from authority import Authority
from cutting_proxy import CuttingProxy
from harness import scratch
from postgresql import PostgreSQL, programs
from wire import eventually


def run(database, url, program, *arguments, input=None):
    """A client of PostgreSQL's own, as Gatehouse's role: its result."""
    password = database.cluster.password_file.read_text().strip()
    return subprocess.run(
        [programs() / program, *arguments, url], input=input, capture_output=True, text=True,
        env=os.environ | {"PGPASSWORD": password}, timeout=60)


def psql(database, sql, via=None, **options):
    """Statements, each sent alone, over a connection of Gatehouse's role."""
    return run(database, database.cluster.url(database.name, via, **options), "psql",
               "--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1",
               input=sql)


class ClusterTest(unittest.TestCase):
    def write(self, text, database=None):
        done = psql(database or self.database,
                    f"CREATE TABLE IF NOT EXISTS t (v text); INSERT INTO t VALUES ('{text}');")
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def rows(self):
        return [row for [row] in self.database.psql("SELECT v FROM t ORDER BY v COLLATE \"C\"")]


class Running(ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.cluster = PostgreSQL(cls)
        cls.database = cls.cluster.create_database("store")

    def test_the_role_owns_its_database_and_has_no_other_power(self):
        self.write("one")
        self.assertEqual(self.database.psql("SELECT NULL, '', 'a,\"b\n', 1"),
                         [(None, "", 'a,"b\n', "1")])
        for sql in ["CREATE ROLE other", "CREATE DATABASE other",
                    "SELECT pg_read_file('PG_VERSION')"]:
            self.assertNotEqual(psql(self.database, sql + ";").returncode, 0, sql)
        other = self.cluster.create_database("copy", template="store")
        self.write("two", other)
        self.assertEqual(self.rows(), ["one"])
        self.assertEqual(other.psql("SELECT count(*) FROM t"), [("2",)])

    def test_the_default_order_is_not_that_of_bytes(self):
        self.assertEqual(self.database.psql("SELECT 'a' < 'B', 'a' < 'B' COLLATE \"C\""),
                         [("t", "f")])

    def test_only_the_password_lets_the_role_in(self):
        url = self.cluster.url("store")
        for password in ["", "wrong"]:
            done = subprocess.run(
                [programs() / "psql", "--no-psqlrc", "--no-password", "-c", "SELECT 1", url],
                env=os.environ | {"PGPASSWORD": password}, capture_output=True, text=True)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn("password", done.stderr)

    def test_a_paused_cluster_says_nothing_until_it_is_resumed(self):
        with concurrent.futures.ThreadPoolExecutor() as pool:
            self.cluster.pause()
            later = pool.submit(psql, self.database, "SELECT 1;")
            with self.assertRaises(concurrent.futures.TimeoutError):
                later.result(1)
            self.cluster.resume()
            self.assertEqual(later.result(10).stdout, "1\n")


class Ending(ClusterTest):
    def make(self, **options):
        self.cluster = PostgreSQL(self, **options)
        self.database = self.cluster.create_database("store")

    def test_what_is_acknowledged_survives_every_end(self):
        self.make(durable=True)
        ends = {"fast": lambda: self.cluster.restart(),
                "immediate": lambda: self.cluster.restart("immediate"),
                "kill": lambda: (self.cluster.kill(), self.cluster.start())}
        for name, end in ends.items():
            self.write(name)
            end()
            self.assertIn(name, self.rows())
        self.assertEqual(self.rows(), sorted(ends))

    def test_a_killed_cluster_leaves_nothing(self):
        self.make()
        self.cluster.kill()
        segment = (self.cluster.data / "postmaster.pid").read_text().splitlines()[6].split()[1]

        def segments():
            lines = pathlib.Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
            return [line.split()[1] for line in lines]
        self.assertIn(segment, segments())
        self.cluster.destroy()
        self.assertNotIn(segment, segments())

    def test_a_standby_has_what_is_acknowledged_and_takes_over(self):
        self.make()
        self.write("before")
        standby = self.cluster.standby()
        both = [self.cluster, standby]
        for number in range(20):
            self.write(f"after {number}")
        self.assertIn("read-only", psql(self.database, "CREATE TABLE u ();", [standby]).stderr)
        self.cluster.kill()
        standby.promote()
        done = psql(self.database, "INSERT INTO t VALUES ('new'); SELECT count(*) FROM t;", both,
                    target_session_attrs="read-write")
        self.assertEqual((done.stdout, done.stderr), ("22\n", ""))

    def test_a_primary_waits_for_its_standby(self):
        self.make()
        self.write("one")
        standby = self.cluster.standby()
        standby.pause()
        with concurrent.futures.ThreadPoolExecutor() as pool:
            later = pool.submit(self.write, "two")
            with self.assertRaises(concurrent.futures.TimeoutError):
                later.result(1)
            standby.resume()
            later.result(10)

    def test_a_server_that_is_away_ends_connections_through_the_proxy(self):
        self.make()
        proxy = CuttingProxy(self, self.cluster)
        self.cluster.stop()
        self.assertEqual(psql(self.database, "SELECT 1;", [proxy]).returncode, 2)
        self.cluster.start()
        self.assertEqual(psql(self.database, "SELECT 1;", [proxy]).stdout, "1\n")


class TLS(unittest.TestCase):
    def test_a_cluster_shows_the_certificate_that_it_was_given(self):
        authority = Authority(self)
        cluster = PostgreSQL(self, tls=authority.issue("database"))
        database = cluster.create_database("store")
        options = {"host": "localhost", "sslmode": "verify-full"}
        done = psql(database, "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid();",
                    sslrootcert=authority.certificate, **options)
        self.assertEqual((done.stdout, done.stderr), ("t\n", ""))
        done = psql(database, "SELECT 1;", sslrootcert=Authority(self).certificate, **options)
        self.assertIn("certificate verify failed", done.stderr)
        self.assertIn("no encryption", psql(
            database, "SELECT 1;", host="localhost", sslmode="disable").stderr)


class Proxy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = PostgreSQL(cls, tls=Authority(cls).issue("database"))

    def setUp(self):
        self.database = self.cluster.create_database(f"proxy_{self.id().rpartition('.')[2]}"[:63])
        self.assertEqual(psql(self.database, "CREATE TABLE t (v text);").stderr, "")
        self.proxy = CuttingProxy(self, self.cluster)
        self.pool = concurrent.futures.ThreadPoolExecutor()
        self.addCleanup(self.pool.shutdown)

    def psql(self, sql, via=None, **options):
        return psql(self.database, sql, [via or self.proxy], **options)

    def submit(self, sql):
        """Statements over a connection that is there, and busy, when this returns."""
        later = self.pool.submit(self.psql, "SELECT 1;\n" + sql)
        eventually(lambda: self.database.psql(
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'gatehouse'"), within=10)
        return later

    def rows(self):
        return [row for [row] in self.database.psql("SELECT v FROM t ORDER BY v")]

    def test_carries_everything(self):
        text = "x" * 1_000_000
        done = self.psql(f"INSERT INTO t VALUES ('{text}');\nSELECT * FROM t;")
        self.assertEqual((done.stderr, done.stdout), ("", text + "\n"))
        over_tcp = CuttingProxy(self, self.cluster, tcp=True)
        done = self.psql("SELECT length(v) FROM t;", over_tcp)
        self.assertEqual((done.stderr, done.stdout), ("", "1000000\n"))

    def test_refuses_and_accepts_again(self):
        for proxy in [self.proxy, CuttingProxy(self, self.cluster, tcp=True)]:
            proxy.refuse()
            done = self.psql("SELECT 1;", proxy)
            self.assertEqual(done.returncode, 2)
            self.assertIn("Connection refused", done.stderr)
            proxy.accept()
            self.assertEqual(self.psql("SELECT 1;", proxy).stdout, "1\n")

    def test_cuts_connections(self):
        later = self.submit("SELECT pg_sleep(60);")
        self.assertEqual(self.proxy.cut(), 1)
        self.assertIn("server closed the connection unexpectedly", later.result(10).stderr)
        self.assertEqual(self.psql("SELECT 1;").stdout, "1\n")

    def test_holds_and_releases(self):
        later = self.submit("SELECT pg_sleep(0.5);\nSELECT 2;")
        self.proxy.hold()
        new = self.pool.submit(self.psql, "SELECT 3;")
        for each in [later, new]:
            with self.assertRaises(concurrent.futures.TimeoutError):
                each.result(1)
        self.proxy.release()
        self.assertEqual(later.result(10).stdout, "1\n\n2\n")
        self.assertEqual(new.result(10).stdout, "3\n")

    def test_delays_each_way(self):
        self.proxy.delay(0.1)
        started = time.monotonic()
        # A start-up, at least one exchange of the password, and the statement.
        self.assertEqual(self.psql("SELECT 1;").stdout, "1\n")
        self.assertGreater(time.monotonic() - started, 0.6)

    def test_cuts_before_a_commit_of_simple_statements(self):
        cut = self.proxy.cut_commit(before=True)
        done = self.psql("BEGIN;\nINSERT INTO t VALUES ('one');\nCOMMIT;")
        cut.wait()
        self.assertIn("server closed the connection unexpectedly", done.stderr)
        self.assertEqual(self.rows(), [])

    def test_cuts_after_a_commit_of_simple_statements(self):
        cut = self.proxy.cut_commit(before=False)
        done = self.psql("BEGIN;\nINSERT INTO t VALUES ('one');\nCOMMIT;")
        cut.wait()
        self.assertIn("server closed the connection unexpectedly", done.stderr)
        self.assertEqual(self.rows(), ["one"])

    def test_cuts_the_commit_of_a_certain_transaction_only_and_only_once(self):
        sql = "BEGIN; INSERT INTO t VALUES ('{}'); COMMIT;"
        cut = self.proxy.cut_commit(False, r"insert into t values \('two'")
        for word in ["one", "two", "three"]:
            self.assertEqual(self.psql(sql.format(word)).returncode != 0, word == "two")
            if word == "two":
                cut.wait()  # psql may have noticed first
            self.assertEqual(cut.happened.is_set(), word != "one")
        self.assertEqual(self.psql("BEGIN;\nINSERT INTO t VALUES ('two');\nCOMMIT;").stderr, "")
        self.assertEqual(self.rows(), ["one", "three", "two", "two"])
        # A connection that has committed one such transaction isn't cut at the next, of another.
        cut = self.proxy.cut_commit(True, "four")
        done = self.psql("BEGIN;\nSELECT 'four';\nROLLBACK;\nBEGIN;\nSELECT 5;\nCOMMIT;\nSELECT 6;")
        self.assertEqual(done.stdout, "four\n5\n6\n")
        self.assertFalse(cut.happened.is_set())

    def test_a_commit_that_fails_is_not_the_one(self):
        self.assertEqual(psql(self.database, "ALTER TABLE t ADD UNIQUE (v) DEFERRABLE INITIALLY "
                              "DEFERRED;").stderr, "")
        cut = self.proxy.cut_commit(before=False)
        twice = "BEGIN;\nINSERT INTO t VALUES ('one'), ('one');\nCOMMIT;"
        self.assertIn("duplicate key", self.psql(twice).stderr)
        self.assertFalse(cut.happened.is_set())
        self.assertIn("closed the connection", self.psql(twice.replace("), ('one'", "")).stderr)
        cut.wait()
        self.assertEqual(self.rows(), ["one"])

    def pgbench(self, mode, script, *options):
        """One client that runs a script once, in one of pgbench's modes."""
        path = scratch(self) / "script"
        path.write_text(script)
        url = self.cluster.url(self.database.name, [self.proxy])
        return run(self.database, url, "pgbench", "--no-vacuum", "--client=1", "--transactions=1",
                   f"--protocol={mode}", f"--file={path}", *options)

    def test_cuts_commits_of_the_extended_protocol(self):
        scripts = {
            "plain": "BEGIN;\nINSERT INTO t VALUES ('{}');\nCOMMIT;\n",
            "pipelined": "\\startpipeline\nBEGIN;\nINSERT INTO t VALUES ('{}');\nCOMMIT;\n"
                         "\\endpipeline\n"}
        kept = []
        for mode in ["extended", "prepared"]:
            for name, script in scripts.items():
                for before in [True, False]:
                    word = f"{mode} {name} {'before' if before else 'after'}"
                    with self.subTest(word):
                        cut = self.proxy.cut_commit(before, "insert into t")
                        done = self.pgbench(mode, script.format(word))
                        self.assertNotEqual(done.returncode, 0)
                        cut.wait()
                        kept += [] if before else [word]
                        self.assertEqual(self.rows(), sorted(kept))
        self.assertEqual(self.pgbench("prepared", scripts["plain"].format("z")).returncode, 0)

    def test_says_when_no_commit_was_cut(self):
        cut = self.proxy.cut_commit(True, "insert into t")
        self.assertEqual(self.psql("BEGIN;\nSELECT 1;\nCOMMIT;").stderr, "")
        with self.assertRaisesRegex(AssertionError, "no commit was cut"):
            cut.wait(0.1)
