# kill -9 of the server and of commands, at random points: what was acknowledged holds.

import json
import threading
import time
import unittest

from harness import SOAK, Gatehouse, seeded
from wire import Wire, eventually

ROUNDS = 10 * SOAK
WORKERS = 4


class Ledger:
    """What was acknowledged, and so must hold whatever happens to the processes."""

    def __init__(self):
        self.lock = threading.Lock()
        self.users = set()
        # Sessions and their tokens: live; with a revocation that was acknowledged or seen; and with
        # one whose command was killed, which may show either way, and then for good.
        self.live = {}
        self.revoked = {}
        self.unsure = {}

    def draw(self, random, kind):
        with self.lock:
            names = sorted(getattr(self, kind))
            return random.choice(names) if names else None

    def take_live(self, random):
        """A live session that no other worker revokes."""
        with self.lock:
            if not self.live:
                return None, None
            session = random.choice(sorted(self.live))
            return session, self.live.pop(session)


class Crash(unittest.TestCase):
    def setUp(self):
        self.random = seeded(self)
        self.gatehouse = Gatehouse(self)
        self.ledger = Ledger()
        self.problems = []
        self.acknowledged = 0
        self.killed = 0

    def run_command(self, random, mortal, *arguments):
        """The output of an acknowledged command; None of one that was killed first."""
        process = self.gatehouse.popen(*arguments)
        if mortal and random.random() < 0.5:
            time.sleep(random.uniform(0, 0.08))
            process.kill()
        output, errors = process.communicate(timeout=60)
        if process.returncode == 0:
            self.acknowledged += 1
            return output
        if process.returncode == -9:
            self.killed += 1
            return None
        raise AssertionError(f"{arguments}: exit {process.returncode}: {errors}")

    def step(self, random, mortal, name):
        """One random command, and its entry in the ledger once it is acknowledged."""
        ledger = self.ledger
        user = ledger.draw(random, "users")
        choice = random.random()
        if user is None or choice < 0.3:
            if self.run_command(random, mortal, "users", "add", name) is not None:
                with ledger.lock:
                    ledger.users.add(name)
        elif choice < 0.7:
            output = self.run_command(random, mortal, "sessions", "issue", user, "--json")
            if output is not None:
                session = json.loads(output)["sessions"][0]
                with ledger.lock:
                    ledger.live[session["session"]] = session["token"]
        else:
            session, token = ledger.take_live(random)
            if session:
                done = self.run_command(random, mortal, "sessions", "revoke", session)
                with ledger.lock:
                    (ledger.unsure if done is None else ledger.revoked)[session] = token

    def work(self, worker, stop, mortal):
        random = seeded(self, worker)
        try:
            count = 0
            while not stop.is_set():
                count += 1
                self.step(random, mortal, f"user-{worker}-{count}")
        except Exception as problem:
            self.problems.append(problem)

    def churn(self, round, wait, mortal, kill_server):
        """Commands in parallel; after a while the server dies, or the commands do; all end."""
        stop = threading.Event()
        workers = [
            threading.Thread(target=self.work, args=(f"{round}-{number}", stop, mortal))
            for number in range(WORKERS)]
        for worker in workers:
            worker.start()
        wait()
        if kill_server:
            self.gatehouse.kill()
        stop.set()
        for worker in workers:
            worker.join()
        self.assertEqual(self.problems, [])

    def verify(self, round):
        """Everything acknowledged holds on the running server, at its first answers."""
        ledger = self.ledger
        listed = {user["username"] for user in self.gatehouse.json("users", "list")["users"]}
        self.assertLessEqual(ledger.users, listed, f"round {round}: users were lost")
        with Wire(self.gatehouse.tcp) as wire:
            for session, token in ledger.live.items():
                self.assertEqual(wire.check(token).status, 200, f"round {round}: lost {session}")
            for session, token in ledger.revoked.items():
                response = wire.check(token)
                self.assertEqual(response.status, 401, f"round {round}: revived {session}")
                self.assertEqual(response.header("x-auth-reason"), "revoked")
            for session, token in ledger.unsure.items():
                if wire.check(token).status == 200:
                    ledger.live[session] = token
                else:
                    ledger.revoked[session] = token
        ledger.unsure.clear()

    def test_nothing_acknowledged_is_lost_when_the_server_is_killed(self):
        for round in range(ROUNDS):
            self.gatehouse.start()
            self.verify(round)
            # At a random point.
            self.churn(round, lambda: time.sleep(self.random.uniform(0, 1)), mortal=False,
                       kill_server=True)
        self.gatehouse.start()
        self.verify(ROUNDS)
        self.assert_much_happened()

    def test_the_server_may_die_while_it_starts(self):
        self.gatehouse.start()
        self.gatehouse.add_user("ada")
        session = self.gatehouse.issue("ada")
        self.gatehouse.kill()
        for _ in range(ROUNDS):
            self.gatehouse.spawn()
            time.sleep(self.random.uniform(0, 0.3))
            self.gatehouse.kill()
        self.gatehouse.start()
        self.assertEqual(self.gatehouse.check(session["token"]).status, 200)

    def test_nothing_acknowledged_is_lost_when_commands_are_killed(self):
        self.gatehouse.start()
        for round in range(max(1, ROUNDS // 5)):
            goal = self.acknowledged + 20
            self.churn(round, lambda: eventually(
                lambda: self.problems or self.acknowledged > goal, within=30),
                mortal=True, kill_server=False)
            # What commands did reaches the server within a second; a restart is the harder case.
            self.gatehouse.kill()
            self.gatehouse.start()
            self.verify(round)
        self.assertGreater(self.killed, 0)
        self.assert_much_happened()
        self.assertEqual([finding for finding in self.gatehouse.json("doctor")["findings"]
                          if finding["level"] == "error"], [])

    def assert_much_happened(self):
        self.assertGreater(self.acknowledged, ROUNDS)
        self.assertGreater(len(self.ledger.live), 0)
        self.assertGreater(len(self.ledger.revoked), 0)
