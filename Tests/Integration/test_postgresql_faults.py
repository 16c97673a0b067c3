# PostgreSQL stops, hangs, is cut off, dies, and is replaced by its standby: what was acknowledged
# holds, nothing is done twice, and whoever can't know says so.

import collections
import concurrent.futures
import functools
import json
import threading
import time
import unittest

import test_front_door
from cutting_proxy import CuttingProxy
from harness import SOAK, Nginx, seeded, tls
from nodes import at_once, make_nodes, start
from postgresql import Database, PostgreSQL
from test_front_door import PASSWORD, cookie_of, register
from visitor import call
from wire import COOKIE, Wire, eventually, head

LEASE_SECONDS = 10  # the least that can be set
# A sign-in that meets a database which doesn't answer: two timeouts, each with the two seconds after
# which Gatehouse waits no longer for the server to say so, and some for the rest.
ANSWER_SECONDS = 10
# How soon everything works again once the database does.
BACK_SECONDS = 5

SETTINGS = {"revocation.max_staleness": f"{LEASE_SECONDS}s", "session.max_per_user": 1000,
            "store.connect_timeout": "1s", "store.statement_timeout": "2s"}

Answer = collections.namedtuple("Answer", "kind sent answered status retry_after")


def sign_in(gatehouse, name):
    return test_front_door.sign_in(gatehouse, name, PASSWORD, "cookie")


def sign_out(gatehouse, token):
    return call(gatehouse.front, "POST", "/auth/v1/logout", {}, f"Cookie: {COOKIE}={token}",
                "Origin: https://localhost")


class Watch:
    """Asks a node over and over what it knows of a good session and of one that has ended, and
    signs in with the right password and as nobody.
    """

    def __init__(self, node):
        self.node = node
        for name in ["watched", "ended", "visitor"]:
            assert register(node, name).status == 201
        self.good, ended = (self.token(name) for name in ["watched", "ended"])
        assert sign_out(node, ended).status == 204
        self.answers, self.problems = [], []
        self.stopping = threading.Event()
        asks = {"good": lambda: node.check(self.good), "ended": lambda: node.check(ended),
                "right": lambda: sign_in(node, "visitor"),
                "nobody": lambda: sign_in(node, "nobody")}
        self.threads = [threading.Thread(target=self.run, args=each, daemon=True)
                        for each in asks.items()]
        for thread in self.threads:
            thread.start()

    def token(self, name):
        return cookie_of(sign_in(self.node, name))

    def run(self, kind, ask):
        try:
            while not self.stopping.wait(0.05 if kind in ("good", "ended") else 0.3):
                sent = time.monotonic()
                response = ask()
                self.answers.append(Answer(kind, sent, time.monotonic(), response.status,
                                           response.header("retry-after")))
        except Exception as problem:
            self.problems.append((kind, problem))

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(30)

    def between(self, began, ended, *kinds):
        """What was asked and answered in this time."""
        return [answer for answer in self.answers
                if answer.kind in kinds and began <= answer.sent and answer.answered <= ended]


class Outage:
    """One way for a database to be away from one node."""

    def __init__(self, test, name, database, begin, end):
        self.test, self.name, self.begin, self.end = test, name, begin, end
        [self.node] = start(make_nodes(test, database, 1, **SETTINGS))
        self.watch = Watch(self.node)
        test.addCleanup(self.watch.stop)
        # The processor is for those who wait.
        self.books = Books(test, [self.node], workers=1)

    def start(self):
        self.began = time.monotonic()
        self.begin()
        self.away = time.monotonic()

    def stop(self):
        self.ended = time.monotonic()
        self.end()

    def assert_kept(self):
        """What was acknowledged before, while the database went and after it had come back."""
        self.books.verify(self.node.database)
        self.test.assertGreater(self.books.unknown.total(), 0)

    def assert_back(self):
        back = time.monotonic()
        eventually(lambda: self.node.check(self.watch.good).status == 200, BACK_SECONDS)
        eventually(lambda: sign_in(self.node, "visitor").status == 200, BACK_SECONDS)
        eventually(self.node.is_ready, max(0, back + BACK_SECONDS - time.monotonic()))

    def assert_held(self):
        test, watch = self.test, self.watch
        test.assertEqual(watch.problems, [])
        # Never for want of a database: neither yes to whom it does not know, nor no.
        for kind, statuses in [("good", {200, 503}), ("ended", {401, 503}),
                               ("right", {200, 503}), ("nobody", {401, 503})]:
            seen = {answer.status for answer in watch.answers if answer.kind == kind}
            test.assertEqual(seen, statuses, kind)
        for answer in watch.answers:
            if answer.status == 503:
                test.assertGreaterEqual(int(answer.retry_after), 1, answer)
        # Checks go on while the lease lasts, and then say that they don't know.
        early = watch.between(self.began, self.began + LEASE_SECONDS - 3, "good", "ended")
        late = watch.between(self.away + LEASE_SECONDS + 1, self.ended, "good", "ended")
        test.assertEqual({answer.status for answer in early}, {200, 401})
        test.assertEqual({answer.status for answer in late}, {503})
        # Sign-ins can't, from the start, and say so soon.
        tried = watch.between(self.away, self.ended, "right", "nobody")
        test.assertEqual({answer.status for answer in tried}, {503})
        test.assertEqual({answer.kind for answer in tried}, {"right", "nobody"})
        for answer in watch.answers:
            test.assertLess(answer.answered - answer.sent, ANSWER_SECONDS, answer)
        test.assertTrue(self.node.is_alive(), self.node.logged())


class Outages(unittest.TestCase):
    """All of them at once, as they take their time."""

    def outages(self):
        def made(cluster):
            return cluster.create_database("gatehouse")
        stopped, paused, behind = (PostgreSQL(self) for _ in range(3))
        yield Outage(self, "stopped", made(stopped), lambda: stopped.stop("immediate"),
                     stopped.start)
        yield Outage(self, "paused", made(paused), paused.pause, paused.resume)
        held, refusing = (CuttingProxy(self, behind, tcp=tcp) for tcp in [True, False])
        yield Outage(self, "held up on the way", made(behind).through(held), held.hold,
                     held.release)

        def refuse():
            refusing.refuse()
            refusing.cut()
        yield Outage(self, "refused", behind.create_database("other").through(refusing), refuse,
                     refusing.accept)

    def test_checks_go_on_for_the_lease_and_nothing_is_said_that_nobody_knows(self):
        outages = list(self.outages())
        whole = functools.partial(self.be_away, outages)
        for outage in outages[:2]:
            whole = functools.partial(outage.books.during, whole)
        whole()
        for outage in outages:
            outage.watch.stop()
            with self.subTest(outage.name):
                outage.assert_held()
        for outage in outages[:2]:
            with self.subTest(outage.name):
                outage.assert_kept()

    def be_away(self, outages):
        for outage in outages[:2]:
            books = outage.books
            eventually(lambda: len(books.registered) > 2 and books.live and books.ended, within=30)
        for outage in outages:
            outage.start()
        for outage in outages:
            with self.subTest(outage.name):
                code, output, errors = outage.node.command("users", "list")
                self.assertEqual((code, output), (3, ""), errors)
                self.assertRegex(errors, "^error: ")
                self.assertNotIn(
                    outage.node.database.cluster.password_file.read_text().strip(), errors)
        time.sleep(max(0, outages[-1].away + LEASE_SECONDS + 5 - time.monotonic()))
        for outage in outages:
            outage.stop()
        for outage in outages:
            with self.subTest(outage.name):
                outage.assert_back()


class ThroughNginx(unittest.TestCase):
    """With the timeouts that Gatehouse and its nginx configuration have if nobody sets any."""

    # Below nginx's proxy_read_timeout.
    ANSWER_SECONDS = 25

    def test_a_database_that_hangs_is_said_by_gatehouse_before_nginx_gives_up(self):
        cluster = PostgreSQL(self)
        [node] = start(make_nodes(self, cluster.create_database("gatehouse"), 1))
        nginx = Nginx(self, node.tcp, front="http://%s:%d" % node.front)

        def sign_in(_):
            began = time.monotonic()
            body = json.dumps({"username": "ada", "password": PASSWORD, "transport": "bearer"})
            with Wire(nginx.address, tls(), timeout=60) as wire:
                response = wire.request(head(
                    "POST /auth/v1/login HTTP/1.1", "Host: localhost",
                    "Content-Type: application/json", f"Content-Length: {len(body)}")
                    + body.encode())
            return response, time.monotonic() - began
        self.assertEqual(register(node, "ada").status, 201)
        self.assertIn(200, [response.status for response, _ in at_once(4, sign_in)])
        cluster.pause()
        # More than there are connections: some hang, some are made, and some wait for others.
        for response, seconds in at_once(24, sign_in):
            self.assertEqual(response.status, 503, response)
            self.assertGreaterEqual(int(response.header("retry-after")), 1)
            self.assertLess(seconds, self.ANSWER_SECONDS)


class Books:
    """Workers that register people, sign them in and out, at all nodes; and what came of it."""

    def __init__(self, test, nodes, workers=4):
        self.test, self.nodes, self.workers = test, nodes, workers
        self.lock = threading.Lock()
        self.registered, self.tries = set(), collections.Counter()
        self.live, self.ended, self.unsure = {}, {}, {}  # session: token
        self.unknown = collections.Counter()  # requests that were answered 503
        self.problems = []
        self.rounds = 0

    def one(self, random, name):
        """One random request, and its entry when it was answered."""
        node = random.choice(self.nodes)
        choice = random.random()
        with self.lock:
            # Those that came to nothing stay charged; a few of them make a name wait.
            users = [each for each in sorted(self.registered) if self.tries[each] < 3]
            user = random.choice(users) if users else None
            session = random.choice(sorted(self.live)) if self.live else None
            if choice >= 0.7 and session:
                token = self.unsure[session] = self.live.pop(session)
        if user is None or choice < 0.35:
            if self.is_done("register", register(node, name), 201):
                with self.lock:
                    self.registered.add(name)
        elif choice < 0.7:
            response = sign_in(node, user)
            if self.is_done("sign in", response, 200):
                session = json.loads(response.body)["session"]
                with self.lock:
                    self.live[session] = cookie_of(response)
            else:
                self.tries[user] += 1
        elif session and self.is_done("sign out", sign_out(node, token), 204):
            with self.lock:
                self.ended[session] = self.unsure.pop(session)

    def is_done(self, what, response, status):
        """Whether a request was acknowledged; if not, nobody can know."""
        if response.status not in (status, 503):
            raise AssertionError(f"{what}: {response} {response.body}")
        self.unknown[what] += response.status == 503
        if response.status == 503:
            time.sleep(0.02)  # whoever brings the database back needs the processor too
        return response.status == status

    def work(self, worker, stop):
        random, count = seeded(self.test, f"{self.rounds} {worker}"), 0
        try:
            while not stop.is_set():
                count += 1
                self.one(random, f"user-{self.rounds}-{worker}-{count}")
        except Exception as problem:
            self.problems.append(problem)

    def during(self, happening):
        """Keeps them at work while something happens; everybody gets an answer all the same."""
        stop = threading.Event()
        self.rounds += 1
        with concurrent.futures.ThreadPoolExecutor(self.workers) as workers:
            for worker in range(self.workers):
                workers.submit(self.work, worker, stop)
            try:
                happening()
            finally:
                stop.set()
                self.test.assertEqual(self.problems, [])

    def said_of(self, token):
        """What the nodes say of a token: {(status, reason)}."""
        answers = [node.check(token) for node in self.nodes]
        return {(answer.status, answer.header("x-auth-reason")) for answer in answers}

    def verify(self, database):
        """What was acknowledged is there, and what is there was done once; both nodes agree."""
        test, first = self.test, self.nodes[0]
        for node in self.nodes:
            eventually(node.is_ready, BACK_SECONDS)
        names = [name for [name] in database.psql("SELECT canonical FROM names")]
        test.assertLessEqual(self.registered, set(names))
        for statuses, tokens in [([200], self.live), ([401], self.ended),
                                 ([200, 401], self.unsure)]:
            for session, token in tokens.items():
                eventually(lambda: len(self.said_of(token)) == 1, BACK_SECONDS)
                [(status, reason)] = self.said_of(token)
                test.assertIn(status, statuses, session)
                test.assertEqual(reason, "" if status == 200 else "revoked")
        for session, token in self.unsure.items():
            is_live = first.check(token).status == 200
            (self.live if is_live else self.ended)[session] = token
        self.unsure.clear()

        # Each thing that is there was noted when it was done, once.
        for table, kinds, column in [
                ("SELECT id FROM users", "'user_created'", "user_id"),
                ("SELECT id FROM sessions", "'signed_in'", "session_id"),
                ("SELECT id FROM sessions WHERE revoked IS NOT NULL", "'signed_out'", "session_id"),
                ("SELECT subject FROM feed WHERE kind = 1", "'signed_out'", "session_id")]:
            there = database.psql(table)
            noted = database.psql(f"SELECT {column} FROM audit WHERE kind IN ({kinds})")
            test.assertEqual(sorted(there), sorted(noted), table)
            test.assertEqual(len(set(there)), len(there), table)
        [(count, highest, head)] = database.psql(
            "SELECT count(*), coalesce(max(sequence), 0), (SELECT sequence FROM head) FROM feed")
        test.assertEqual((count, highest), (head, head), "the feed has gaps")
        code, output, errors = first.command("audit", "verify")
        test.assertEqual(code, 0, output + errors)

    def assert_much_happened(self):
        self.test.assertGreater(len(self.registered), 5)
        self.test.assertGreater(len(self.live), 0)
        self.test.assertGreater(len(self.ended), 0)


class Cuts(unittest.TestCase):
    """Connections break, and the database stays."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = PostgreSQL(cls)

    def setUp(self):
        self.proxy = CuttingProxy(self, self.cluster)
        self.database = self.cluster.create_database(f"cuts_{id(self)}")
        self.nodes = start(make_nodes(self, self.database.through(self.proxy), 2, **SETTINGS))
        self.random = seeded(self)

    def test_at_random(self):
        books = Books(self, self.nodes)

        def cut():
            for _ in range(15 * SOAK):
                time.sleep(self.random.uniform(0, 0.6))  # the random point
                self.assertGreater(self.proxy.cut(), 0)
                for before in [True, False]:
                    self.proxy.cut_commit(before, "INSERT INTO (users|sessions|feed)").wait()
        books.during(cut)
        books.verify(self.database)
        self.assertGreater(books.unknown.total(), 0)
        books.assert_much_happened()

    def after_cut(self, statement, before, act):
        """What an act gives whose commit is cut."""
        cut = self.proxy.cut_commit(before, rf"INSERT INTO {statement}\b")
        result = act()
        cut.wait()
        return result

    def test_requests_in_the_middle_of_a_commit(self):
        books = Books(self, self.nodes)
        first, second = self.nodes
        for before in [True, False]:
            name = f"ada-{before}".lower()
            response = self.after_cut("users", before, lambda: register(first, name))
            self.assertIn(response.status, [201, 503])
            count = len(self.database.psql(f"SELECT 1 FROM names WHERE canonical = '{name}'"))
            self.assertEqual(count, int(response.status == 201 or not before), response)
            if not count:
                self.assertEqual(register(second, name).status, 201)
            self.assertEqual(sign_in(second, name).status, 200)

            response = self.after_cut("sessions", before, lambda: sign_in(first, name))
            self.assertIn(response.status, [200, 503])
            token = cookie_of(response if response.status == 200 else sign_in(first, name))

            response = self.after_cut("feed", before, lambda: sign_out(first, token))
            self.assertIn(response.status, [204, 503])
            is_ended = response.status == 204 or not before
            eventually(lambda: {node.check(token).status for node in self.nodes}
                       == {401 if is_ended else 200}, within=BACK_SECONDS)
            if not is_ended:
                self.assertEqual(sign_out(second, token).status, 204)
            books.verify(self.database)

    def test_commands_in_the_middle_of_a_commit(self):
        first, second = self.nodes

        def run(statement, before, *arguments):
            """Whether a command was done that says 3, or 0 if it tried again."""
            code, _, errors = self.after_cut(
                statement, before, lambda: first.command(*arguments))
            self.assertIn(code, [0, 3], errors)
            if code == 3:
                self.assertRegex(errors, "^error: ")
            return code == 0 or not before

        for before in [True, False]:
            with self.subTest(before=before):
                name = f"grace-{before}".lower()
                is_there = run("users", before, "users", "add", name)
                names = {user["username"] for user in second.json("users", "list")["users"]}
                self.assertEqual(name in names, is_there)
                if not is_there:
                    first.add_user(name)
                session = first.issue(name)
                is_ended = run("feed", before, "sessions", "revoke", session["session"])
                eventually(lambda: second.check(session["token"]).status
                           == (401 if is_ended else 200), within=BACK_SECONDS)
                keys = len(first.json("keys", "list")["keys"])
                code, _, errors = self.after_cut("audit", before, lambda: first.command(
                    "keys", "rotate"))
                self.assertIn(code, [0, 3], errors)
                made = len(first.json("keys", "list")["keys"]) - keys
                self.assertEqual(made, int(code == 0 or not before), errors)
                self.assertEqual(second.check(first.issue(name)["token"]).status, 200)


class Crashes(unittest.TestCase):
    """The database dies, as by a power cut."""

    def test_nothing_acknowledged_is_lost_when_it_comes_back(self):
        cluster = PostgreSQL(self, durable=True)
        database = cluster.create_database("gatehouse")
        books = Books(self, start(make_nodes(self, database, 2, **SETTINGS)))
        random = seeded(self)

        def crash():
            time.sleep(random.uniform(0.5, 2))  # the random point
            cluster.kill()
            time.sleep(random.uniform(0, 0.5))
            cluster.start()
            time.sleep(1)
        for _ in range(4 * SOAK):
            books.during(crash)
            books.verify(database)
        self.assertGreater(books.unknown.total(), 0)
        books.assert_much_happened()


class Failover(unittest.TestCase):
    """A primary with a standby that has everything which was acknowledged."""

    # Longer than it takes, on a busy machine too.
    LEASE_SECONDS = 30

    # Until a sign-in is answered 200 again: a statement that hangs is given up after the two seconds that
    # it may take and two more, and who connects then asks the silent one first.
    SILENT_SECONDS = 10

    def test_a_promoted_standby_takes_over_within_the_lease(self):
        self.fail_over(PostgreSQL.kill, BACK_SECONDS)

    def test_a_primary_that_goes_silent_is_left_within_the_lease(self):
        self.fail_over(PostgreSQL.pause, self.SILENT_SECONDS)

    def fail_over(self, end, within):
        primary = PostgreSQL(self)
        database = primary.create_database("gatehouse")
        standby = primary.standby()
        nodes = start(make_nodes(
            self, database.through(primary, standby, target_session_attrs="read-write"), 2,
            **SETTINGS | {"revocation.max_staleness": f"{self.LEASE_SECONDS}s"}))
        watches = []
        books = Books(self, nodes)

        def fail_over():
            watches.append(Watch(nodes[0]))
            self.addCleanup(watches[0].stop)
            ending = watches[0].token("watched")
            time.sleep(seeded(self).uniform(1, 3))  # the random point
            end(primary)
            time.sleep(1)
            standby.promote()
            back = time.monotonic() + within
            for node in nodes:
                eventually(lambda: sign_in(node, "visitor").status == 200,
                           max(0, back - time.monotonic()))
            # Servers follow the new one as well.
            eventually(lambda: sign_out(nodes[0], ending).status == 204, BACK_SECONDS)
            eventually(lambda: nodes[1].check(ending).status == 401, BACK_SECONDS)
            time.sleep(2)
        books.during(fail_over)
        [watch] = watches
        watch.stop()
        self.assertEqual(watch.problems, [])
        for kind, statuses in [("good", {200}), ("ended", {401}), ("right", {200, 503}),
                               ("nobody", {401, 503})]:
            seen = {answer.status for answer in watch.answers if answer.kind == kind}
            self.assertLessEqual(seen, statuses, kind)
            self.assertGreater(len(seen - {503}), 0, kind)
        books.verify(Database(standby, database.name))
        books.assert_much_happened()

    def test_many_connections_that_stood_idle_cost_one_silence(self):
        primary = PostgreSQL(self)
        database = primary.create_database("gatehouse")
        standby = primary.standby()
        [node] = start(make_nodes(
            self, database.through(primary, standby, target_session_attrs="read-write"), 1,
            **SETTINGS))
        self.assertEqual(register(node, "ada").status, 201)
        at_once(16, lambda _: sign_in(node, "ada"))
        self.assertGreater(len(database.psql(
            "SELECT 1 FROM pg_stat_activity WHERE usename = 'gatehouse'")), 5)
        primary.pause()
        ended = time.monotonic()
        standby.promote()
        # Nobody but the server itself asks.
        eventually(lambda: node.metric("gatehouse_refresh_age_seconds") < time.monotonic() - ended - 1,
                   LEASE_SECONDS)
        self.assertTrue(node.is_ready())
        self.assertEqual(sign_in(node, "ada").status, 200)

    def test_a_standby_alone_is_no_store(self):
        primary = PostgreSQL(self)
        database = primary.create_database("gatehouse")
        standby = primary.standby()
        [node] = make_nodes(self, database, 1)
        node.start()
        node.stop()
        [other] = make_nodes(self, database.through(standby), 1, **SETTINGS)
        code, _, errors = other.command("users", "add", "ada")
        self.assertEqual(code, 3, errors)
        self.assertIn("read", errors)  # that it is read-only
