# What hashing passwords may take of a server: threads, memory, the time that anyone waits.

import concurrent.futures
import itertools
import json
import sqlite3
import ssl
import subprocess
import time
import unittest

from harness import Gatehouse
from visitor import call
from wire import Wire, eventually, head

# Some passes over 64 MiB take a good part of a second: time enough to see who waits, and on a slow
# machine nobody is told that it would take longer than the deadline.
SLOW = {"password.threads": 1, "password.argon2_memory": "64MiB", "password.argon2_iterations": 6,
        "password.deadline": "15s"}
PASSWORD = "grey herons over marshes"
# Each with a name of its own: of one name only a few are tried.
names = itertools.count()


def credentials(name=None):
    return {"username": name or f"nobody{next(names)}", "password": PASSWORD}


def refused(gatehouse, reason):
    return gatehouse.metric('gatehouse_password_refused_total{reason="%s"}' % reason)


def hashing(gatehouse):
    return gatehouse.metric('gatehouse_password_threads{state="busy"}')


def queued(gatehouse):
    return gatehouse.metric("gatehouse_password_queue")


class GoneClients(unittest.TestCase):
    count = 8

    def leave(self, gatehouse, comers):
        """`comers` arrive, and one by one close what they came with."""
        def hashes():
            return gatehouse.metric("gatehouse_password_hashes_total")
        before = hashes()
        waiting = [comers() for _ in range(self.count)]
        # One is hashed, and a few may have been.
        eventually(lambda: queued(gatehouse) + hashing(gatehouse) + hashes() - before >= self.count,
                   within=15)
        hashed, left = hashes(), queued(gatehouse)
        self.assertGreater(left, 3)
        for leave in waiting:
            leave()
        # Not one by one, as threads become free.
        eventually(lambda: queued(gatehouse) == 0, within=2)
        self.assertGreaterEqual(refused(gatehouse, "cancelled"), left - 2)
        self.assertLessEqual(hashes() - hashed, 3)

    def come(self, address, tls=None):
        body = json.dumps(credentials()).encode()
        wire = Wire(address, tls=tls)
        wire.send(head("POST /auth/v1/login HTTP/1.1", "Host: localhost",
                       "Content-Type: application/json", f"Content-Length: {len(body)}") + body)
        return wire.socket.close

    def test_leave_the_queue_at_once_over_plain_http(self):
        gatehouse = Gatehouse(self, front=SLOW).start()
        self.leave(gatehouse, lambda: self.come(gatehouse.front))

    def test_leave_the_queue_at_once_over_tls(self):
        gatehouse = Gatehouse(self, front={**SLOW, "public.tls": "true"}).start()
        authority = ssl.create_default_context(cafile=gatehouse.data / "tls/ca.pem")
        self.leave(gatehouse, lambda: self.come(gatehouse.front, authority))

    def test_leave_the_queue_at_once_over_http_2(self):
        gatehouse = Gatehouse(self, front={**SLOW, "public.tls": "true"}).start()

        def come():
            curl = subprocess.Popen(
                ["curl", "--silent", "--http2", "--cacert", gatehouse.data / "tls/ca.pem",
                 "--json", json.dumps(credentials()), "https://localhost:%d/auth/v1/login"
                 % gatehouse.front[1]], stdout=subprocess.DEVNULL)
            self.addCleanup(curl.wait)
            return curl.kill
        self.leave(gatehouse, come)


class Deadline(unittest.TestCase):
    def test_who_waits_longer_is_told_to_come_back(self):
        # One hash takes longer than anyone may wait.
        gatehouse = Gatehouse(self, front={
            **SLOW, "password.argon2_memory": "96MiB", "password.argon2_iterations": 16,
            "password.deadline": "1s"}).start()

        def sign_in():
            start = time.monotonic()
            answer = call(gatehouse.front, "POST", "/auth/v1/login", credentials())
            return answer, time.monotonic() - start

        with concurrent.futures.ThreadPoolExecutor(10) as crowd:
            answers = [one.result() for one in [crowd.submit(sign_in) for _ in range(10)]]
        self.assertEqual({answer.status for answer, _ in answers}, {401, 503})
        times = []
        for answer, seconds in answers:
            if answer.status == 503:
                times.append(seconds)
                self.assertGreaterEqual(int(answer.header("retry-after")), 1)
                self.assertEqual(json.loads(answer.body)["type"], "urn:gatehouse:problem:busy")
        self.assertLess(max(times), 3)
        # Who comes second waits for a turn that never comes; the others see at once that they would wait
        # for too long.
        late = refused(gatehouse, "deadline")
        self.assertGreaterEqual(late, 1)
        self.assertGreaterEqual(len([seconds for seconds in times if seconds > 0.95]), late)
        self.assertEqual(refused(gatehouse, "full"), len(times) - late)


class Settings(unittest.TestCase):
    def test_new_hashes_cost_what_is_configured_whoever_makes_them(self):
        gatehouse = Gatehouse(self, front={
            "password.argon2_memory": "12MiB", "password.argon2_iterations": 4}).start()
        ada = credentials("ada")
        answer = call(gatehouse.front, "POST", "/auth/v1/register", ada)
        self.assertEqual(answer.status, 201, answer)
        code, _, errors = gatehouse.command(
            "users", "add", "bob", "--password-stdin", input=PASSWORD + "\n")
        self.assertEqual(code, 0, errors)
        with sqlite3.connect(gatehouse.data / "gatehouse.sqlite") as database:
            hashes = [row[0] for row in database.execute("SELECT password_hash FROM users")]
        database.close()
        self.assertEqual(len(hashes), 2)
        for text in hashes:
            self.assertIn("$m=12288,t=4,p=1,keyid=", text)
        self.assertEqual(
            call(gatehouse.front, "POST", "/auth/v1/login", ada).status, 200)

    def test_the_admin_endpoint_says_what_hashing_has_and_may_have(self):
        gatehouse = Gatehouse(self, front={
            "password.memory": "300MiB", "password.argon2_memory": "64MiB"}).start()
        self.assertEqual(
            gatehouse.metric("gatehouse_password_memory_budget_bytes"), 300 * 1024 * 1024)
        # One hash is made at the start and verified, and its memory is kept for a while.
        self.assertEqual(
            gatehouse.metric('gatehouse_password_memory_bytes{state="kept"}'), 64 * 1024 * 1024)
        self.assertEqual(gatehouse.metric('gatehouse_password_memory_bytes{state="used"}'), 0)
        self.assertEqual(gatehouse.metric("gatehouse_password_hashes_total"), 2)
        for reason in ["full", "deadline", "cancelled"]:
            self.assertEqual(refused(gatehouse, reason), 0)
        self.assertEqual((queued(gatehouse), hashing(gatehouse)), (0, 0))


class Tune(unittest.TestCase):
    def test_parameters_that_this_machine_meets_the_target_with(self):
        gatehouse = Gatehouse(self)
        tuned = gatehouse.json("passwords", "tune", "--target", "1s", "--memory", "256MiB")
        self.assertTrue(tuned["meets_target"], tuned)
        self.assertLessEqual(tuned["milliseconds"], 1000)
        self.assertGreaterEqual(tuned["argon2_iterations"], 3)
        self.assertLessEqual(tuned["threads"] * tuned["argon2_memory_kib"], 256 * 1024)
        self.assertAlmostEqual(
            tuned["sign_ins_per_second"] * tuned["milliseconds"] / 1000, tuned["threads"], delta=0.5)

    def test_what_is_no_target_or_no_memory_is_refused(self):
        gatehouse = Gatehouse(self)
        for target in ["9ms", "11s", "fast"]:
            self.assertEqual(gatehouse.command("passwords", "tune", "--target", target)[0], 2)
        self.assertEqual(gatehouse.command("passwords", "tune", "--memory", "255MiB")[0], 3)


if __name__ == "__main__":
    unittest.main()
