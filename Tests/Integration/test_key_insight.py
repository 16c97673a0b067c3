# What keys do, as commands and metrics tell it; data keys; and what follows when a pepper has leaked.

import contextlib
import json
import sqlite3
import time
import unittest

from harness import Gatehouse, Nginx
from visitor import Visitor, call
from wire import Wire, eventually

PASSWORD = "seven grey herons wait"


def sign_in(gatehouse, name, password=PASSWORD):
    return call(gatehouse.front, "POST", "/auth/v1/login",
                {"username": name, "password": password, "transport": "bearer"})


def add(gatehouse, name):
    code, _, errors = gatehouse.command(
        "users", "add", name, "--password-stdin", input=PASSWORD + "\n")
    assert code == 0, errors


@contextlib.contextmanager
def database(gatehouse):
    connection = sqlite3.connect(gatehouse.data / "gatehouse.sqlite")
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


class TokenKeys(unittest.TestCase):
    def setUp(self):
        self.gatehouse = Gatehouse(self, front={}).start()

    def keys(self):
        return self.gatehouse.json("keys", "list")["keys"]

    def test_openings_of_all_servers_are_summed_when_they_have_ended(self):
        other = Gatehouse(self, data=self.gatehouse.data, front={}).start()
        self.gatehouse.add_user("ada")
        token = self.gatehouse.issue("ada")["token"]
        for server, count in [(self.gatehouse, 3), (other, 4)]:
            for _ in range(count):
                self.assertEqual(server.check(token).status, 200)
                self.assertEqual(server.check(token[:-4] + "AAAA").status, 401)
                self.gatehouse.explain(token)
        self.assertEqual(other.stop(), 0)
        self.assertEqual([key["opened_last_hour"] for key in self.keys()], [4])
        self.assertEqual(self.gatehouse.stop(), 0)
        [key] = self.keys()
        self.assertEqual(key["opened_last_hour"], 7, "explaining is not using")
        self.assertEqual((key["alive"], key["sealed"]), (1, 1))
        self.assertNotIn("destroyed_after", key, "it has not been rotated")

    def test_the_front_door_s_openings_and_a_loop_s_renewals_are_counted(self):
        self.gatehouse.stop()
        self.gatehouse = Gatehouse(
            self, data=self.gatehouse.data, front={"session.reseal": "1s"}).start()
        add(self.gatehouse, "ada")
        before = self.keys()[0]
        token = json.loads(sign_in(self.gatehouse, "ada").body)["token"]
        answer = call(self.gatehouse.front, "GET", "/auth/v1/session", None,
                      f"Authorization: Bearer {token}")
        self.assertEqual(answer.status, 200, answer)
        cookie = self.gatehouse.issue("ada")["token"]
        time.sleep(2.1)
        with Wire(self.gatehouse.tcp) as wire:
            answer = wire.request(
                f"GET /check,renew HTTP/1.1\r\nHost: a\r\nCookie: __Host-gatehouse={cookie}\r\n\r\n"
                .encode())
        self.assertIn("__Host-gatehouse=", answer.header("set-cookie"))
        self.assertEqual(self.keys()[0]["sealed"], before["sealed"] + 2, "not written yet")
        self.gatehouse.stop()
        key = self.keys()[0]
        self.assertEqual(key["sealed"], before["sealed"] + 3)
        self.assertEqual(key["alive"], before["alive"] + 3)
        self.assertGreaterEqual(key["opened_last_hour"], 2)

    def test_a_server_that_is_killed_loses_counts_and_no_deadline(self):
        self.gatehouse.add_user("ada")
        session = self.gatehouse.issue("ada")
        for _ in range(5):
            self.gatehouse.check(session["token"])
        self.gatehouse.kill()
        self.gatehouse.start()
        self.gatehouse.ok("keys", "rotate", "--wait")
        old = next(key for key in self.keys() if key["id"] == session["key"])
        self.assertEqual(old["opened_last_hour"], 0)
        self.assertEqual(old["alive"], 1)
        deadline = self.gatehouse.explain(session["token"])["absolute_deadline"]
        self.assertEqual(old["last_deadline"], deadline)
        # The lease of 2 minutes, and the clocks' skew.
        self.assertEqual(old["destroyed_after"], deadline + 180)

    def test_the_table_fits_a_hundred_columns_and_says_when_a_key_goes(self):
        self.gatehouse.ok("keys", "rotate", "--wait")
        with database(self.gatehouse) as rows:
            # Millions, and a year.
            for key in self.keys():
                number = int(key["id"], 16)
                rows.execute("INSERT INTO key_deadlines VALUES (?, 4102444800, 123456789)",
                             (number,))
                rows.execute("INSERT INTO key_opens VALUES (?, ?, zeroblob(16), 123456789)",
                             (int(time.time()) // 60, number))
        lines = self.gatehouse.ok("keys", "list").splitlines()
        self.assertLessEqual(max(map(len, lines)), 100, "\n".join(lines))
        self.assertRegex(lines[1], "^key +state +age +created +activated +ended +alive +opens/h +"
                                   "destroyed after$")
        self.assertRegex(lines[2], r"retiring +\d+s .*123456789  123456789  \d{4}-\d\d-\d\d \d\d:\d\d$")
        self.assertRegex(lines[3], r"active +\d+s .* -  +123456789  123456789  its rotation$")

    def test_metrics_name_each_key_and_are_refreshed_from_the_store_now_and_then(self):
        [key] = self.keys()
        name = key["id"]

        def value(metric):
            return self.gatehouse.metric(metric)
        self.assertEqual(value(f'gatehouse_key_state{{key="{name}",state="active"}}'), 1)
        self.assertEqual(value(f'gatehouse_key_opens_total{{key="{name}"}}'), 0)
        self.assertEqual(value(f'gatehouse_key_tokens_alive{{key="{name}"}}'), 0)
        self.assertLess(value(f'gatehouse_key_age_seconds{{key="{name}"}}'), 60)
        self.gatehouse.add_user("ada")
        token = self.gatehouse.issue("ada")["token"]
        for _ in range(5):
            self.gatehouse.check(token)
        # A scrape reads nothing and takes nothing.
        self.assertEqual(value(f'gatehouse_key_opens_total{{key="{name}"}}'), 0)
        eventually(lambda: value(f'gatehouse_key_opens_total{{key="{name}"}}') == 5, within=80,
                   every=0.2)
        self.assertEqual(value(f'gatehouse_key_tokens_alive{{key="{name}"}}'), 1)
        self.assertEqual(self.keys()[0]["opened_last_hour"], 5)

    def test_explain_tells_about_the_key_and_writes_nothing(self):
        self.gatehouse.add_user("ada")
        session = self.gatehouse.issue("ada")
        self.gatehouse.ok("keys", "rotate", "--wait")
        self.gatehouse.stop()
        with contextlib.closing(
                sqlite3.connect(self.gatehouse.data / "gatehouse.sqlite")) as watch:
            def commits():
                return watch.execute("PRAGMA data_version").fetchone()[0]
            # Whoever is the first to open a store that was closed makes its write-ahead log.
            self.gatehouse.ok("keys", "list")
            before, rows = commits(), list(watch.iterdump())
            said = self.gatehouse.explain(session["token"])
            text = self.gatehouse.ok("explain", session["token"])
            self.gatehouse.explain(session["token"][:-4] + "AAAA")
            self.assertEqual(commits(), before)
            self.assertEqual(list(watch.iterdump()), rows)
            # The witness sees what is written.
            self.gatehouse.add_user("bob")
            self.assertNotEqual(commits(), before)
        key = next(key for key in self.keys() if key["id"] == session["key"])
        for field in ["created", "activated", "ended", "destroyed_after"]:
            self.assertEqual(said["key_" + field], key[field], field)
        self.assertEqual((said["verdict"], said["key_state"]), ("good", "retiring"))
        self.assertLess(said["key_age_seconds"], 120)
        self.assertRegex(text, r"key destroyed +after 20")
        new = self.gatehouse.issue("ada")["token"]
        self.assertNotIn("key_destroyed_after", self.gatehouse.explain(new))
        self.assertRegex(self.gatehouse.ok("explain", new), r"key destroyed +after its rotation")


class DataKeys(unittest.TestCase):
    def listed(self, gatehouse):
        return [(key["purpose"], key["state"], key.get("rows"))
                for key in gatehouse.json("keys", "data", "list")["keys"]
                # The trail grows with everything that is done: test_audit.py counts it.
                if key["purpose"] != "audit"]

    def test_they_are_listed_rotated_and_destroyed_when_nothing_depends_on_them(self):
        gatehouse = Gatehouse(self, front={}).start()
        add(gatehouse, "ada")
        for _ in range(6):
            sign_in(gatehouse, "ada", "a wrong password, again")
        self.assertEqual(gatehouse.json("users", "show", "ada")["failed_sign_ins"], 5)
        self.assertEqual(self.listed(gatehouse),
                         [("pepper", "newest", 1), ("look-up", "newest", None),
                          ("profile", "newest", 0)])
        self.assertEqual(gatehouse.json("keys", "data", "list")["look_up_rows"], 1)
        self.assertIn("don't say under which key", gatehouse.ok("keys", "data", "list"))
        self.assertEqual(gatehouse.json("keys", "data", "prune"), {"destroyed": [], "kept": []})

        result = gatehouse.json("keys", "data", "rotate", "look-up")
        self.assertEqual(result["purpose"], "look-up")
        self.assertEqual(self.listed(gatehouse)[1:3],
                         [("look-up", "former", None), ("look-up", "newest", None)])
        # The counters begin anew: nobody waits any more.
        self.assertEqual(gatehouse.json("users", "show", "ada")["failed_sign_ins"], 0)
        self.assertEqual(sign_in(gatehouse, "ada").status, 200)
        kept = gatehouse.json("keys", "data", "prune")["kept"]
        self.assertEqual([key["reason"] for key in kept], ["settling"])
        self.assertAlmostEqual(kept[0]["until"], time.time() + 7260, delta=60)
        self.assertIn("not before", gatehouse.ok("keys", "data", "prune"))

        audit = [("key_added", "command"), ("key_activated", "server")]
        with database(gatehouse) as rows:
            self.assertEqual(rows.execute(
                "SELECT kind, actor FROM audit WHERE key_id = ? ORDER BY sequence",
                (int(result["key"], 16),)).fetchall(), audit)

    def test_what_is_no_purpose_or_has_a_command_of_its_own_is_refused(self):
        gatehouse = Gatehouse(self).make_store()
        for purpose, reason in [("session", "is no purpose"), ("pepper", "passwords pepper rotate")]:
            code, output, errors = gatehouse.command("keys", "data", "rotate", purpose)
            self.assertEqual((code, output), (2, ""))
            self.assertIn(reason, errors)
        self.assertEqual(len(gatehouse.json("keys", "data", "list")["keys"]), 4)

    def test_without_a_server_the_command_takes_the_key_into_use(self):
        gatehouse = Gatehouse(self).make_store()
        gatehouse.ok("keys", "data", "rotate", "look-up")
        self.assertEqual([state for purpose, state, _ in self.listed(gatehouse)
                          if purpose == "look-up"], ["former", "newest"])


class LeakedPepper(unittest.TestCase):
    def setUp(self):
        self.gatehouse = Gatehouse(self, front={"password.argon2_memory": "12MiB"}).start()
        for name in ["ada", "bob", "eve"]:
            add(self.gatehouse, name)
        self.gatehouse.ok("users", "disable", "eve")
        [pepper] = self.gatehouse.json("passwords", "pepper", "list")["peppers"]
        self.leaked = pepper["key"]

    def rotate(self):
        """bob has not signed in since, ada has."""
        result = self.gatehouse.json("passwords", "pepper", "rotate")
        self.assertEqual(sign_in(self.gatehouse, "ada").status, 200)
        eventually(lambda: self.peppers()[1]["only"] == 1, within=15)
        return result["pepper"]

    def peppers(self):
        return self.gatehouse.json("passwords", "pepper", "list")["peppers"]

    def states(self):
        return {user["username"]: user["state"]
                for user in self.gatehouse.json("users", "list")["users"]}

    def test_the_list_tells_who_has_not_signed_in_since(self):
        def figures():
            return [(pepper["users"], pepper["innermost"], pepper["only"],
                     pepper["not_signed_in_since"]) for pepper in self.peppers()]
        self.assertEqual(figures(), [(3, 3, 3, 0)])
        self.rotate()
        self.assertEqual(figures(), [(2, 2, 0, 0), (3, 1, 1, 2)])
        lines = self.gatehouse.ok("passwords", "pepper", "list").splitlines()
        self.assertRegex(lines[2], " 3 +1 +1 +2$")

    def test_users_who_depend_on_it_are_disabled_and_come_back_by_a_link(self):
        bob = json.loads(sign_in(self.gatehouse, "bob").body)["token"]
        self.rotate()
        command = ["passwords", "pepper", "disable-users", self.leaked]
        dry = self.gatehouse.json(*command, "--dry-run")
        self.assertEqual((dry["disabled"], dry["already_disabled"], dry["dry_run"]), (1, 1, True))
        self.assertIn("would disable 1", self.gatehouse.ok(*command, "--dry-run"))
        self.assertEqual(self.states(), {"ada": "enabled", "bob": "enabled", "eve": "disabled"})

        done = self.gatehouse.json(*command, "--wait")
        self.assertEqual((done["disabled"], done["already_disabled"], done["changed_meanwhile"]),
                         (1, 1, 0))
        self.assertEqual(self.states(), {"ada": "enabled", "bob": "disabled", "eve": "disabled"})
        with Wire(self.gatehouse.tcp) as wire:
            answer = wire.request(f"GET /check,bearer HTTP/1.1\r\nHost: a\r\n"
                                  f"Authorization: Bearer {bob}\r\n\r\n".encode())
        self.assertEqual((answer.status, answer.header("x-auth-reason")), (401, "revoked"))
        self.assertEqual(sign_in(self.gatehouse, "bob").status, 401)
        self.assertEqual(sign_in(self.gatehouse, "ada").status, 200)
        again = self.gatehouse.json(*command)
        self.assertEqual((again["disabled"], again["already_disabled"]), (0, 2))
        self.assertIn("`users enable NAME`, then `users recover NAME`", self.gatehouse.ok(*command))
        with database(self.gatehouse) as rows:
            self.assertEqual(rows.execute(
                "SELECT canonical, key_id FROM audit JOIN names USING (user_id)"
                " WHERE kind = 'user_disabled' AND detail = 'reason=pepper_leaked'").fetchall(),
                [("bob", int(self.leaked, 16))])

        self.gatehouse.ok("users", "enable", "bob")
        token = self.gatehouse.json("users", "recover", "bob")["token"]
        nginx = Nginx(self, self.gatehouse.unix, front="http://%s:%d" % self.gatehouse.front)
        visitor = Visitor(nginx.address[1])
        visitor.open("/auth/recover?token=" + token)
        visitor.submit(password="nine new herons fly")
        self.assertEqual(visitor.response.status, 200, visitor.response)
        self.assertEqual(sign_in(self.gatehouse, "bob", "nine new herons fly").status, 200)
        self.assertEqual([pepper["users"] for pepper in self.peppers()], [1, 3])

    def test_it_is_refused_for_the_newest_pepper_and_for_what_is_none(self):
        newest = self.rotate()
        look_up = next(key["id"] for key in self.gatehouse.json("keys", "data", "list")["keys"]
                       if key["purpose"] == "look-up")
        for pepper, code, reason in [(newest, 1, "pepper rotate"), (look_up, 1, "there is no pepper"),
                                     ("0" * 8, 2, "is no key"), ("ffffffff", 1, "there is no pepper")]:
            with self.subTest(pepper):
                result = self.gatehouse.command("passwords", "pepper", "disable-users", pepper)
                self.assertEqual((result[0], result[1]), (code, ""))
                self.assertIn(reason, result[2])
        self.assertEqual(self.states()["bob"], "enabled")

    def test_killed_at_any_time_it_goes_on(self):
        self.gatehouse.ok("passwords", "pepper", "rotate")
        with database(self.gatehouse) as rows:
            [(model,)] = rows.execute("SELECT password_hash FROM users JOIN names ON user_id = id"
                                      " WHERE canonical = 'bob'").fetchall()
            for index in range(3000):
                user = index.to_bytes(2, "big") + b"-fourteen-more"
                rows.execute("INSERT INTO users (id, state, epoch, created, password_hash) "
                             "VALUES (?, 'enabled', 0, 0, ?)", (user, model))
                rows.execute("INSERT INTO names (canonical, skeleton, user_id, state, since)"
                             " VALUES (?, NULL, ?, 'live', 0)", (f"user{index}", user))
        command = ["passwords", "pepper", "disable-users", self.leaked]

        def disabled():
            with database(self.gatehouse) as rows:
                return rows.execute(
                    "SELECT count(*) FROM users WHERE state = 'disabled'").fetchone()[0]
        for milliseconds in [0, 5, 20]:
            before = disabled()
            process = self.gatehouse.popen(*command)
            eventually(lambda: disabled() > before or process.poll() is not None, within=30,
                       every=0.001)
            time.sleep(milliseconds / 1000)
            process.kill()
            process.communicate()
        done = self.gatehouse.json(*command)
        self.assertEqual(done["disabled"] + done["already_disabled"], 3003)
        self.assertGreater(done["already_disabled"], 1, "the kills came too early")
        with database(self.gatehouse) as rows:
            self.assertEqual(rows.execute(
                "SELECT count(*), count(DISTINCT user_id) FROM audit"
                " WHERE detail = 'reason=pepper_leaked'").fetchone(), (3002, 3002))


if __name__ == "__main__":
    unittest.main()
