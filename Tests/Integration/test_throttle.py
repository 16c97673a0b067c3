# How often passwords can be tried on a running server, and peppers that are rotated under it.

import concurrent.futures
import json
import sqlite3
import time
import unittest

from harness import Gatehouse
from visitor import call

PASSWORD = "seven grey herons wait"


def sign_in(gatehouse, name, password=PASSWORD, *headers):
    return call(gatehouse.front, "POST", "/auth/v1/login",
                {"username": name, "password": password}, *headers)


def add(gatehouse, name):
    code, _, errors = gatehouse.command(
        "users", "add", name, "--password-stdin", input=PASSWORD + "\n")
    assert code == 0, errors


class Names(unittest.TestCase):
    def test_guesses_are_stopped_outlast_a_restart_and_end_with_unlock(self):
        gatehouse = Gatehouse(self, front={}).start()
        add(gatehouse, "ada")
        with concurrent.futures.ThreadPoolExecutor(20) as crowd:
            statuses = list(crowd.map(
                lambda index: sign_in(
                    gatehouse, ["ada", "ADA", "Ada"][index % 3], f"guess {index}").status,
                range(40)))
        self.assertEqual(set(statuses), {401})
        self.assertEqual(gatehouse.json("users", "show", "ada")["failed_sign_ins"], 5)
        self.assertEqual(sign_in(gatehouse, "ada").status, 401)
        gatehouse.stop()
        gatehouse.start()
        self.assertEqual(sign_in(gatehouse, "ada").status, 401)
        self.assertIn("5 in a row", gatehouse.ok("users", "show", "ada"))
        self.assertIn("can sign in again", gatehouse.ok("users", "unlock", "ada"))
        self.assertEqual(sign_in(gatehouse, "ada").status, 200)
        self.assertEqual(gatehouse.json("users", "show", "ada")["failed_sign_ins"], 0)

    def test_neither_names_nor_what_was_typed_as_one_is_in_the_database(self):
        gatehouse = Gatehouse(self, front={}).start()
        self.assertEqual(sign_in(gatehouse, "hunter2-in-the-wrong-field").status, 401)
        gatehouse.stop()
        stored = b"".join(path.read_bytes() for path in gatehouse.data.glob("gatehouse.sqlite*"))
        self.assertNotIn(b"hunter2", stored)
        self.assertNotIn("hunter2", gatehouse.logged())


class Addresses(unittest.TestCase):
    def test_one_address_waits_and_another_does_not(self):
        gatehouse = Gatehouse(self, front={"throttle.address_failures": 3}).start()
        add(gatehouse, "ada")

        def tried(name, address):
            return sign_in(gatehouse, name, PASSWORD, f"X-Forwarded-For: {address}")
        for index in range(3):
            self.assertEqual(tried(f"user{index}", "198.51.100.1").status, 401)
        answer = tried("ada", "198.51.100.1")
        self.assertEqual(answer.status, 429, answer)
        self.assertEqual(json.loads(answer.body)["type"], "urn:gatehouse:problem:slow_down")
        self.assertTrue(1 <= int(answer.header("retry-after")) <= 20)
        # What the client wrote before its proxy did counts for nothing.
        self.assertEqual(tried("ada", "203.0.113.9, 198.51.100.1").status, 429)
        self.assertEqual(tried("ada", "198.51.100.1, 198.51.100.2").status, 200)
        for index in range(6):
            self.assertEqual(tried("ada", "198.51.100.3").status, 200, index)


class Peppers(unittest.TestCase):
    def hashes(self, gatehouse):
        with sqlite3.connect(gatehouse.data / "gatehouse.sqlite") as database:
            rows = dict(database.execute(
                "SELECT names.canonical, password_hash FROM users JOIN names ON user_id = id"
                " WHERE password_hash IS NOT NULL"))
        database.close()
        return rows

    def layers(self, text):
        parameters = text.split("$")[3]
        return len(parameters.partition("keyid=")[2]) * 3 // 4 // 4

    def test_a_pepper_is_laid_under_a_running_server_and_collapses_at_the_next_sign_in(self):
        gatehouse = Gatehouse(self, front={}).start()
        for name in ["ada", "bob"]:
            add(gatehouse, name)
        self.assertEqual({self.layers(text) for text in self.hashes(gatehouse).values()}, {1})
        first = gatehouse.json("passwords", "pepper", "list")
        self.assertEqual([pepper["users"] for pepper in first["peppers"]], [2])
        result = gatehouse.json("passwords", "pepper", "rotate")
        self.assertEqual((result["layered"], result["already"], result["full"]), (2, 0, 0))
        self.assertEqual({self.layers(text) for text in self.hashes(gatehouse).values()}, {2})
        self.assertEqual(sign_in(gatehouse, "ada").status, 200)
        self.assertEqual(sign_in(gatehouse, "bob", "not bob's password").status, 401)
        deadline = time.monotonic() + 10
        while self.layers(self.hashes(gatehouse)["ada"]) != 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertEqual(self.layers(self.hashes(gatehouse)["ada"]), 1)
        self.assertEqual(self.layers(self.hashes(gatehouse)["bob"]), 2)
        self.assertEqual(sign_in(gatehouse, "ada").status, 200)
        listed = gatehouse.json("passwords", "pepper", "list")["peppers"]
        self.assertEqual([pepper["users"] for pepper in listed], [1, 2])
        # Revoking every token key leaves peppers alone.
        gatehouse.ok("keys", "revoke", "--all", "--wait")
        self.assertEqual(sign_in(gatehouse, "ada").status, 200)

    def test_killed_at_any_time_it_goes_on_and_every_password_stays_good(self):
        gatehouse = Gatehouse(self, front={"password.argon2_memory": "12MiB"}).start()
        add(gatehouse, "ada")
        model = self.hashes(gatehouse)["ada"]
        # Thousands of users with one hash: what is at stake is the rows.
        with sqlite3.connect(gatehouse.data / "gatehouse.sqlite") as database:
            for index in range(3000):
                user = index.to_bytes(2, "big") + b"-fourteen-more"
                database.execute("INSERT INTO users (id, state, epoch, created, password_hash) "
                                 "VALUES (?, 'enabled', 0, 0, ?)", (user, model))
                database.execute(
                    "INSERT INTO names (canonical, skeleton, user_id, state, since)"
                    " VALUES (?, NULL, ?, 'live', 0)", (f"user{index}", user))
        database.close()
        for milliseconds in [60, 120, 200, 300]:
            process = gatehouse.popen("passwords", "pepper", "rotate")
            time.sleep(milliseconds / 1000)
            process.kill()
            process.communicate()
        result = gatehouse.json("passwords", "pepper", "rotate")
        self.assertEqual(result["layered"] + result["already"], 3001)
        layers = {self.layers(text) for text in self.hashes(gatehouse).values()}
        self.assertTrue(layers <= {1, 2, 3, 4, 5, 6}, layers)
        for name in ["ada", "user0", "user1499", "user2999"]:
            self.assertEqual(sign_in(gatehouse, name).status, 200, name)


if __name__ == "__main__":
    unittest.main()
