# Three servers on one PostgreSQL database: what one of them does holds at all of them.

import concurrent.futures
import itertools
import json
import threading
import time
import unittest

from cutting_proxy import CuttingProxy
from harness import REVOCATION_SECONDS, SOAK, scratch
from nodes import at_once, make_nodes, start
from postgresql import PostgreSQL
from test_front_door import PASSWORD, register
from test_sessions import Browser
from visitor import call
from wire import COOKIE, Wire, eventually

REVOCATIONS = 1000 * SOAK
GRACE_SECONDS = 5  # as long as tabs may take to come back


class Dead:
    """A server of two is killed, and a command waits for it, as long as it might still say yes."""

    LEASE_SECONDS = 10  # the least that can be set
    # After the lease, and by clocks that may be this far apart; heartbeats are 5 s apart.
    GRACE_SECONDS, SKEW_SECONDS, HEARTBEAT_SECONDS = 5, 60, 5

    def __init__(self, owner, database):
        self.nodes = start(make_nodes(
            owner, database, 2, **{"revocation.max_staleness": f"{self.LEASE_SECONDS}s",
                                   "store.connect_timeout": "2s"}))
        self.nodes[0].add_user("ada")
        self.session = self.nodes[0].issue("ada")
        self.nodes[1].kill()
        self.waiting = concurrent.futures.ThreadPoolExecutor().submit(self.revoke, time.monotonic())

    def revoke(self, began):
        """What the command says, and how long it takes."""
        command = self.nodes[0].popen("sessions", "revoke", self.session["session"], "--wait")
        output, errors = command.communicate(timeout=120)
        assert command.returncode == 0, errors
        return output, time.monotonic() - began


class Nodes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = PostgreSQL(cls)
        cls.dead = Dead(cls, cls.cluster.create_database("dead"))
        cls.database = cls.cluster.create_database("gatehouse")
        cls.nodes = start(make_nodes(cls, cls.database, **{
            "remember.grace": f"{GRACE_SECONDS}s", "session.max_per_user": 100}))
        cls.first = cls.nodes[0]
        cls.numbers = itertools.count()

    def tearDown(self):
        for node in self.nodes:
            self.assertTrue(node.is_alive(), node.logged())

    def new_user(self):
        """The name of a new user, who has PASSWORD."""
        name = f"user{next(self.numbers)}"
        self.assertEqual(register(self.first, name).status, 201)
        return name

    def answers(self, token):
        """What each node says of a token: (status, reason, session)."""
        responses = [node.check(token) for node in self.nodes]
        return [(response.status, response.header("x-auth-reason"),
                 response.header("x-auth-session")) for response in responses]

    def assert_good(self, token, session):
        self.assertEqual(self.answers(token), [(200, "", session)] * len(self.nodes))

    def assert_ended(self, token, within=REVOCATION_SECONDS):
        eventually(lambda: {answer[:2] for answer in self.answers(token)} == {(401, "revoked")},
                   within)

    def test_a_session_begins_at_one_is_good_at_all_and_ends_at_another(self):
        name = self.new_user()
        for here, there in itertools.permutations(self.nodes, 2):
            browser = Browser(here)
            session = browser.sign_in(name)["session"]
            token = browser.token
            self.assert_good(token, session)
            self.assertEqual(browser.ask("POST", "/logout", gatehouse=there).status, 204)
            # There at once, elsewhere soon.
            self.assertEqual(there.check(token).header("x-auth-reason"), "revoked")
            self.assert_ended(token)

    def test_what_a_command_ends_is_ended_at_all(self):
        self.first.add_user("ada")
        sessions = [node.issue("ada") for node in self.nodes]
        for session in sessions:
            self.assert_good(session["token"], session["session"])
        for node, session in zip(self.nodes, sessions):
            node.ok("sessions", "revoke", session["session"], "--wait")
            self.assert_ended(session["token"], within=0)
        session = self.first.issue("ada")
        self.nodes[1].ok("users", "disable", "ada")
        self.assert_ended(session["token"])

    def test_a_thousand_revocations_arrive_in_time(self):
        users = [self.new_user() for _ in range(10)]
        issued = [session for name in users for session in self.first.json(
            "sessions", "issue", name, "--count", "100")["sessions"]]
        tokens = [issued[number % len(issued)]["token"] for number in range(REVOCATIONS)]
        tokens = list(dict.fromkeys(tokens))
        delays = []

        def revoke(worker):
            here = self.nodes[worker % len(self.nodes)]
            others = [node for node in self.nodes if node is not here]
            wires = [Wire(node.tcp) for node in others]
            for number, token in enumerate(tokens[worker::6]):
                wire = wires[number % len(wires)]
                self.assertEqual(wire.check(token).status, 200)
                began = time.monotonic()
                response = call(here.front, "POST", "/auth/v1/logout", {},
                                f"Cookie: {COOKIE}={token}", "Origin: https://localhost")
                self.assertEqual(response.status, 204, response)
                eventually(lambda: wire.check(token).status == 401, within=10, every=0.002)
                delays.append(time.monotonic() - began)
            for wire in wires:
                wire.socket.close()

        at_once(6, revoke)
        self.assertEqual(len(delays), len(tokens))
        delays.sort()
        p50, p99 = (delays[int(len(delays) * part)] for part in [0.5, 0.99])
        print(f"{len(delays)} revocations seen by another node: p50 {p50 * 1000:.0f} ms, "
              f"p99 {p99 * 1000:.0f} ms, max {delays[-1] * 1000:.0f} ms")
        self.assertLess(p99, REVOCATION_SECONDS)
        # Nobody else was signed out, and nothing comes back.
        last = self.first.issue(users[0])
        self.assert_good(last["token"], last["session"])
        self.assert_ended(tokens[0], within=0)

    def keys(self, node):
        return {row["id"]: row["state"] for row in node.json("keys", "list")["keys"]}

    def test_a_rotation_that_waited_has_the_key_at_all(self):
        self.first.add_user("linus")
        old = self.first.issue("linus")
        for node in self.nodes:
            key = node.json("keys", "rotate", "--wait")["key"]
            for other in self.nodes:
                self.assertEqual(self.keys(other)[key], "active")
                session = other.issue("linus")
                self.assertEqual(other.explain(session["token"])["key"], key)
                self.assert_good(session["token"], session["session"])
        self.assert_good(old["token"], old["session"])

    def test_a_key_whose_revocation_waited_opens_nothing_anywhere(self):
        self.first.add_user("margaret")
        session = self.first.issue("margaret")
        key = self.nodes[1].explain(session["token"])["key"]
        # Its sessions end with it.
        self.nodes[2].ok("keys", "rotate", "--wait")
        kept = self.first.issue("margaret")
        self.nodes[1].ok("keys", "revoke", key, "--wait")
        self.assertEqual([answer[0] for answer in self.answers(session["token"])], [401] * 3)
        self.assertEqual(self.keys(self.first)[key], "revoked")
        self.assert_good(kept["token"], kept["session"])

    def test_of_racing_registrations_of_one_name_one_wins(self):
        for round in range(5 * SOAK):
            spellings = [f"racer-{round}-o", f"RACER-{round}-o", f"racer-{round}-0"]
            together = threading.Barrier(24)

            def race(number):
                together.wait()
                # Whoever comes while all are busy is told to come again, and does.
                for _ in range(10):
                    answer = register(self.nodes[number % 3], spellings[number // 3 % 3])
                    if answer.status != 503:
                        break
                    time.sleep(int(answer.header("retry-after")))
                return answer
            answers = at_once(24, race)
            self.assertEqual(sorted(answer.status for answer in answers), [201] + [409] * 23)
            [winner] = [answer for answer in answers if answer.status == 201]
            user = json.loads(winner.body)["user"]
            listed = [(each["id"], each["username"]) for node in self.nodes
                      for each in node.json("users", "list")["users"]
                      if each["username"].startswith(f"racer-{round}-")]
            self.assertEqual(listed, [(user["id"], user["username"])] * 3)

    def generations(self, name):
        """That of each browser which remembers somebody."""
        return [int(generation) for [generation] in self.database.psql(
            "SELECT generation FROM series JOIN names USING (user_id) "
            f"WHERE canonical = '{name}'")]

    def test_tabs_that_come_back_at_several_nodes_come_back_as_one(self):
        name = self.new_user()
        browser = Browser(self.first)
        browser.sign_in(name, remember=True)
        for round in range(2 * SOAK):
            time.sleep(GRACE_SECONDS + 0.1)
            browser.without_session()
            together = threading.Barrier(9)

            def come(number):
                tab = browser.copy()
                together.wait()
                response = tab.resume(self.nodes[number % 3])
                self.assertEqual(response.status, 200, response)
                return tab, json.loads(response.body)["session"]
            came = at_once(9, come)
            [session] = {session for _, session in came}
            self.assertEqual(self.generations(name), [round + 2])
            for tab, _ in came:
                self.assert_good(tab.token, session)
            browser = came[-1][0]
        live = [row for row in self.first.json("sessions", "list", name)["sessions"]
                if row["state"] == "live"]
        self.assertEqual([row["session"] for row in live], [session])
        # And nobody was called a thief.
        self.assertNotIn("warnings", Browser(self.nodes[1]).sign_in(name))

    def test_whoever_dies_is_waited_for_as_long_as_it_might_say_yes(self):
        dead = self.dead
        eventually(lambda: dead.nodes[0].check(dead.session["token"]).status == 401,
                   within=REVOCATION_SECONDS)
        output, took = dead.waiting.result()
        self.assertIn("silent", output)
        least = dead.LEASE_SECONDS + dead.GRACE_SECONDS + dead.SKEW_SECONDS
        self.assertGreater(took, least - dead.HEARTBEAT_SECONDS - 1)
        dead.nodes[1].start()
        self.assertEqual(dead.nodes[1].check(dead.session["token"]).status, 401)

    def test_wrong_passwords_are_counted_over_all_nodes(self):
        name = self.new_user()
        wrong = {"username": name, "password": "not the password", "transport": "bearer"}

        def sign_in(number, tries=wrong):
            return call(self.nodes[number % 3].front, "POST", "/auth/v1/login", tries).status
        self.assertEqual(set(at_once(30, sign_in)), {401})
        for node in self.nodes:
            self.assertEqual(node.json("users", "show", name)["failed_sign_ins"], 5)
        # The right one has to wait everywhere, until one node lets it in.
        right = wrong | {"password": PASSWORD}
        self.assertEqual([sign_in(number, right) for number in range(3)], [401] * 3)
        self.nodes[1].ok("users", "unlock", name)
        self.assertEqual([sign_in(number, right) for number in range(3)], [200] * 3)


class RoundTrips(unittest.TestCase):
    """How often the database is asked, which is what it costs where that is far away."""

    def exchanges(self, act):
        """The round trips of what is done: the fewest of several times, as a server does more than that."""
        seen = []
        for _ in range(5):
            self.proxy.exchanges = exchanges = []
            act()
            self.proxy.exchanges = None
            seen.append(exchanges)
        return min(seen, key=len)

    def test_a_sign_in_reads_charges_and_begins_a_session(self):
        self.proxy = CuttingProxy(self, PostgreSQL(self))
        [node] = start(make_nodes(
            self, self.proxy.cluster.create_database("gatehouse").through(self.proxy), 1,
            **{"session.max_per_user": 100, "password.argon2_memory": "12MiB"}))
        self.assertEqual(register(node, "ada").status, 201)

        def assert_cheap(sign_in):
            looked, charged, begun, done = self.exchanges(sign_in)
            self.assertTrue(looked)
            self.assertTrue(all(sql.startswith("SELECT") for sql in looked), looked)
            self.assertIn("COMMIT", charged)
            self.assertEqual([sql for sql in begun if sql.startswith(("INSERT", "COMMIT"))], [])
            self.assertIn("COMMIT", done)
            self.assertTrue(any("INSERT INTO sessions" in sql for sql in done), done)

        assert_cheap(lambda: Browser(node).sign_in("ada"))
        # A browser that is known, and is remembered; after it was closed it presents no session.
        browser = Browser(node)
        browser.sign_in("ada")
        ended = dict(browser.jar)
        self.assertEqual(browser.ask("POST", "/logout").status, 204)
        device = dict(browser.without_session().jar)

        def present():
            browser.jar = dict(ended)
            browser.sign_in("ada")
        self.assertEqual(len(self.exchanges(present)), 5, "one more tells whose the session is")

        def leave(browser):
            self.assertEqual(browser.ask("POST", "/logout").status, 204)

        def signed_in(**more):
            browser = Browser(node)
            browser.sign_in("ada", **more)
            return browser
        # What Scale.md says of the others.
        browsers = [signed_in() for _ in range(5)]
        self.assertLessEqual(len(self.exchanges(lambda: leave(browsers.pop()))), 5)
        browser_listing = signed_in()
        self.assertLessEqual(
            len(self.exchanges(lambda: browser_listing.ask("GET", "/sessions"))), 4)

        def come_back(**more):
            browser.jar = dict(device)
            browser.sign_in("ada", **more)
        assert_cheap(come_back)
        assert_cheap(lambda: come_back(remember=True))
        # Whoever must have accepted something, and has.
        text = scratch(self) / "terms"
        text.write_text("Be kind.")
        today = time.strftime("%Y-%m-%d", time.gmtime())
        node.ok("notices", "publish", text, "--document", "terms", "--title", "Terms",
                "--effective", today, "--required-from", today)
        terms = [{"document": "terms", "version": 1}]
        browser.jar = dict(device)
        browser.sign_in("ada", accept=terms)
        assert_cheap(come_back)


class Clients:
    """Checks, hundreds a second, over connections that are kept; whoever is told that an answer is the
    last on its connection, or finds nobody, asks the next node, as a proxy does.
    """

    def __init__(self, nodes, tokens, count=6):
        self.nodes, self.tokens = nodes, tokens
        self.checks, self.moves, self.problems = 0, 0, []
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,), daemon=True)
                        for number in range(count)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        at, wire = number, None
        try:
            for token in itertools.cycle(self.tokens):
                if self.stopping.wait(0.005):
                    break
                for _ in self.nodes:
                    try:
                        wire = wire or Wire(self.nodes[at % len(self.nodes)].tcp)
                        response = wire.check(token)
                        break
                    except ConnectionError:
                        if wire:
                            wire.socket.close()
                        at, wire, response = at + 1, None, None
                        self.moves += 1
                self.checks += 1
                if response is None or response.status != 200:
                    self.problems.append(response)
                elif response.header("connection") == "close":
                    wire.socket.close()
                    at, wire = at + 1, None
                    self.moves += 1
        except Exception as problem:
            self.problems.append(problem)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(10)


class Changing(unittest.TestCase):
    """Nodes that come and go."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = PostgreSQL(cls)

    def test_three_that_start_at_once_on_an_empty_database_make_one_store(self):
        for round in range(3 * SOAK):
            nodes = make_nodes(self, self.cluster.create_database(f"empty{round}"))
            start(nodes)
            keys = [[(row["id"], row["state"]) for row in node.json("keys", "list")["keys"]]
                    for node in nodes]
            self.assertEqual([state for _, state in keys[0]], ["active"])
            self.assertEqual(keys, [keys[0]] * 3)
            nodes[0].add_user("ada")
            for node in nodes:
                token = node.issue("ada")["token"]
                for other in nodes:
                    self.assertEqual(other.check(token).status, 200)
            for node in nodes:
                self.assertEqual(node.stop(), 0)

    def test_a_rolling_restart_refuses_nobody(self):
        nodes = start(make_nodes(self, self.cluster.create_database("rolling")))
        nodes[0].add_user("ada")
        tokens = [nodes[number % 3].issue("ada")["token"] for number in range(6)]
        clients = Clients(nodes, tokens)
        self.addCleanup(clients.stop)
        for round in range(2 * SOAK):
            for node in nodes:
                checks = clients.checks
                self.assertEqual(node.stop(), 0, node.logged())
                [other, another] = [each for each in nodes if each is not node]
                ended, new = other.issue("ada"), another.issue("ada")
                other.ok("sessions", "revoke", ended["session"], "--wait")
                node.start()
                # It knows what happened while it was away, from its first answer on.
                self.assertEqual(node.check(ended["token"]).status, 401)
                self.assertEqual(node.check(new["token"]).status, 200)
                eventually(lambda: clients.checks > checks + 100, within=10)
                self.assertEqual(clients.problems, [])
        clients.stop()
        self.assertEqual(clients.problems, [])
        self.assertGreater(clients.moves, 0)
