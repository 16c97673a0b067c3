# Key rotation and key revocation under load: no valid cookie is ever refused.

import threading
import time
import unittest

from harness import REVOCATION_SECONDS, SOAK, Gatehouse
from wire import Wire, eventually

ROTATIONS = 5 * SOAK


class Load:
    """Keep-alive connections, over TCP and the Unix socket, that check every token in turn."""

    def __init__(self, gatehouse, tokens):
        self.tokens = list(tokens)
        self.refused = []  # every answer but 200, and every broken connection
        self.checks = 0
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(address,), daemon=True)
                        for address in [gatehouse.tcp, gatehouse.unix] * 3]
        for thread in self.threads:
            thread.start()

    def run(self, address):
        try:
            with Wire(address) as wire:
                while not self.stopping.is_set():
                    for token in list(self.tokens):
                        response = wire.check(token)
                        self.checks += 1  # near enough: only "many" is asked of it
                        if response.status != 200 and token in self.tokens:
                            self.refused.append((time.time(), response))
        except Exception as problem:
            self.refused.append((time.time(), problem))

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()


class Rotation(unittest.TestCase):
    def setUp(self):
        self.gatehouse = Gatehouse(self).start()
        for name in ["ada", "grace"]:
            self.gatehouse.add_user(name)
        self.first = [self.gatehouse.issue(name) for name in ["ada", "grace"]]
        self.load = Load(self.gatehouse, [session["token"] for session in self.first])
        self.addCleanup(self.load.stop)

    def state(self, key):
        keys = self.gatehouse.json("keys", "list")["keys"]
        return {row["id"]: row["state"] for row in keys}.get(key)

    def active(self):
        return [row["id"] for row in self.gatehouse.json("keys", "list")["keys"]
                if row["state"] == "active"]

    def assert_nothing_refused(self):
        self.assertEqual(self.load.refused, [])

    def test_rotation_refuses_nothing_and_revoking_a_key_refuses_its_cookies_only(self):
        [first_key] = self.active()
        for session in self.first:
            self.assertEqual(self.gatehouse.explain(session["token"])["key"], first_key)

        used = {first_key}
        for _ in range(ROTATIONS):
            checks = self.load.checks
            key = self.gatehouse.json("keys", "rotate")["key"]
            self.assertNotIn(key, used)
            used.add(key)
            eventually(lambda: self.state(key) == "active", REVOCATION_SECONDS)
            self.assertEqual(self.active(), [key])
            session = self.gatehouse.issue("ada")
            self.assertEqual(self.gatehouse.explain(session["token"])["key"], key)
            self.load.tokens.append(session["token"])
            eventually(lambda: self.load.checks > checks + 100, within=10)
            self.assert_nothing_refused()

        # Old cookies have lived through it all. From here on, the first two are not in the load.
        self.assertEqual(self.state(first_key), "retiring")
        for session in self.first:
            self.assertEqual(self.gatehouse.check(session["token"]).status, 200)
            self.load.tokens.remove(session["token"])

        self.gatehouse.ok("keys", "revoke", first_key)
        for session in self.first:
            eventually(lambda: self.gatehouse.check(session["token"]).status == 401,
                       REVOCATION_SECONDS)
            self.assertNotEqual(self.gatehouse.explain(session["token"])["verdict"], "good")
        self.assertEqual(self.state(first_key), "revoked")
        checks = self.load.checks
        eventually(lambda: self.load.checks > checks + 100, within=10)
        self.load.stop()
        self.assert_nothing_refused()

    def test_rotate_that_waits_has_the_key_active(self):
        key = self.gatehouse.json("keys", "rotate", "--wait")["key"]
        self.assertEqual(self.active(), [key])

    def test_rotation_without_a_server_activates_at_once(self):
        self.load.stop()
        self.gatehouse.stop()
        key = self.gatehouse.json("keys", "rotate")["key"]
        self.assertEqual(self.active(), [key])
        self.gatehouse.start()
        for session in [*self.first, self.gatehouse.issue("ada")]:
            self.assertEqual(self.gatehouse.check(session["token"]).status, 200)
