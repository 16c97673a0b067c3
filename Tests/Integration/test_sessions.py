# Sessions over their whole life, on real processes: remembered, resumed, confirmed, limited, ended.

import concurrent.futures
import json
import sqlite3
import time
import unittest

from harness import REVOCATION_SECONDS, Gatehouse, Nginx, after
from visitor import Cookie, Visitor, call, confirm, form_token
from wire import COOKIE, EchoSite, Wire, eventually

PASSWORD = "a fine day for sailing"
NEW_PASSWORD = "another day for sailing"
REMEMBER = "__Host-gatehouse-remember"


class Browser:
    """The cookies of one browser that asks front doors directly, as JSON."""

    def __init__(self, gatehouse):
        self.gatehouse = gatehouse
        self.jar = {}

    def ask(self, method, target, value=None, gatehouse=None):
        headers = ["X-Forwarded-For: 203.0.113.7", "Sec-Fetch-Site: same-origin"]
        if method != "GET":
            headers.append("Content-Type: application/json")
        if self.jar:
            headers.append("Cookie: " + "; ".join(f"{k}={v}" for k, v in self.jar.items()))
        response = call((gatehouse or self.gatehouse).front, method, "/auth/v1" + target,
                        value if value is not None else {}, *headers,
                        **({} if method == "POST" else {"body": b""}))
        for name, line in response.headers:
            if name == "set-cookie":
                cookie = Cookie(line)
                self.jar.pop(cookie.name, None)
                if not cookie.is_gone:
                    self.jar[cookie.name] = cookie.value
        return response

    def sign_in(self, name, password=PASSWORD, gatehouse=None, **more):
        response = self.ask("POST", "/login", {"username": name, "password": password, **more},
                            gatehouse)
        assert response.status == 200, response
        return json.loads(response.body)

    def resume(self, gatehouse=None):
        return self.ask("POST", "/resume", gatehouse=gatehouse)

    def copy(self):
        other = Browser(self.gatehouse)
        other.jar = dict(self.jar)
        return other

    def without_session(self):
        """The same browser after it was closed."""
        self.jar.pop(COOKIE, None)
        return self

    @property
    def token(self):
        return self.jar.get(COOKIE)


def add(gatehouse, name, password=PASSWORD):
    code, _, errors = gatehouse.command(
        "users", "add", name, "--password-stdin", input=password + "\n")
    assert code == 0, errors


def ask_check(gatehouse, token, options=""):
    with Wire(gatehouse.tcp) as wire:
        return wire.check(token, target="/check" + options)


class Sessions(unittest.TestCase):
    def assert_live(self, gatehouse, token, level=None):
        response = ask_check(gatehouse, token)
        self.assertEqual(response.status, 200, response)
        if level:
            self.assertEqual(response.header("x-auth-level"), level)
        return response

    def assert_ended_soon(self, gatehouse, token):
        """Refused as revoked, within what a revocation may take."""
        eventually(lambda: ask_check(gatehouse, token).header("x-auth-reason") == "revoked",
                   within=REVOCATION_SECONDS)

    def assert_gone(self, browser, gatehouse=None):
        self.assertEqual(browser.copy().without_session().resume(gatehouse).status, 401)

    def two_servers(self, **settings):
        first = Gatehouse(self, front=settings).start()
        second = Gatehouse(self, data=first.data, front=settings).start()
        add(first, "ada")
        return first, second


class ThroughNginx(Sessions):
    """A person with a browser, before the shipped configuration."""

    def setUp(self):
        self.gatehouse = Gatehouse(self, front={"remember.grace": "2s"}).start()
        self.site = EchoSite()
        after(self, self.site.stop)
        self.nginx = Nginx(self, self.gatehouse.tcp, site=self.site.address,
                           front="http://%s:%d" % self.gatehouse.front)

    def remembered(self, name="grace"):
        visitor = Visitor(self.nginx.address[1])
        visitor.register(name, PASSWORD)
        visitor.open("/tea?a=1&b=%2F")
        form = {**visitor.page.forms[0].fields, "username": name, "password": PASSWORD,
                "remember": "on"}
        visitor.post("/auth/login", form)
        self.assertEqual((visitor.response.status, visitor.target), (200, "/tea?a=1&b=%2F"))
        self.assertIn(REMEMBER, visitor.jar)
        return visitor

    def seen(self, visitor):
        self.assertEqual(visitor.response.status, 200, visitor.response)
        return {k.lower(): v for k, v in json.loads(visitor.response.body)["headers"]}

    def test_from_the_first_visit_over_a_closed_browser_to_a_sensitive_page(self):
        self.story(lambda: None)

    def test_a_server_that_stops_between_any_two_steps_changes_nothing(self):
        def restart():
            self.assertEqual(self.gatehouse.stop(), 0)
            self.gatehouse.start()
        self.story(restart)

    def test_a_server_that_is_killed_between_any_two_steps_changes_nothing(self):
        def restart():
            self.gatehouse.kill()
            self.gatehouse.start()
        self.story(restart)

    def story(self, between):
        visitor = self.remembered()
        first = self.seen(visitor)
        self.assertEqual(first["x-auth-level"], "2")
        between()
        visitor.open("/tea")
        self.assertEqual(self.seen(visitor)["x-auth-session"], first["x-auth-session"])
        between()
        signed_in = ask_check(self.gatehouse, visitor.token).header("x-auth-time")
        # Past the grace: a new generation, and a new session.
        time.sleep(2.1)
        before, old = visitor.jar[REMEMBER], visitor.jar.pop(COOKIE)
        visitor.open("/tea?c=2&d=%26")
        self.assertEqual(visitor.target, "/tea?c=2&d=%26")
        back = self.seen(visitor)
        self.assertEqual(back["x-auth-level"], "1")
        self.assertEqual(back["x-auth-time"], signed_in)
        self.assertIn("remember", back["x-auth-methods"].split(","))
        self.assertNotEqual(back["x-auth-session"], first["x-auth-session"])
        self.assertNotEqual(visitor.jar[REMEMBER], before)
        self.assertEqual(ask_check(self.gatehouse, old).header("x-auth-reason"), "revoked")
        between()
        # Good, but not for everything.
        response = ask_check(self.gatehouse, visitor.token, ",fresh=300")
        self.assertEqual((response.status, response.header("x-auth-reason")), (403, "stale"))
        remembered = visitor.token
        visitor.open("/settings/mail?e=3&f=%26")
        self.assertTrue(visitor.target.startswith("/auth/confirm?"), visitor.target)
        between()
        confirm(visitor, "not her password", follow=False)
        self.assertEqual(visitor.response.status, 401)
        visitor.open("/settings/mail?e=3&f=%26")
        confirm(visitor, PASSWORD)
        self.assertEqual(visitor.target, "/settings/mail?e=3&f=%26")
        self.assertEqual(self.seen(visitor)["x-auth-level"], "2")
        between()
        self.assertEqual(
            ask_check(self.gatehouse, remembered).header("x-auth-reason"), "revoked")
        self.assertEqual(
            ask_check(self.gatehouse, visitor.token, ",fresh=300,level=2").status, 200)
        # The series goes on, and ends with the sign-out.
        last = dict(visitor.jar)
        visitor.sign_out(follow=False)
        self.assertEqual(visitor.response.status, 303)
        between()
        self.assertFalse({COOKIE, REMEMBER} & set(visitor.jar))
        visitor.jar = {REMEMBER: last[REMEMBER]}
        visitor.open("/tea")
        self.assertEqual(visitor.target, "/auth/login?return_to=/tea")

    def test_many_tabs_come_back_as_one(self):
        visitor = self.remembered()
        time.sleep(2.1)
        jar = {REMEMBER: visitor.jar[REMEMBER]}

        def tab(_):
            other = Visitor(self.nginx.address[1])
            other.jar = dict(jar)
            other.open("/tea")
            return self.seen(other)["x-auth-session"]
        with concurrent.futures.ThreadPoolExecutor(8) as tabs:
            sessions = set(tabs.map(tab, range(8)))
        self.assertEqual(len(sessions), 1, sessions)

    def test_a_stolen_remember_cookie_ends_what_came_of_it_and_nothing_else(self):
        visitor = self.remembered()
        elsewhere = Browser(self.gatehouse)
        elsewhere.sign_in("grace")
        stolen = {REMEMBER: visitor.jar[REMEMBER]}
        for _ in range(2):
            time.sleep(2.1)
            visitor.jar.pop(COOKIE)
            visitor.open("/tea")
            self.seen(visitor)
        victim = visitor.token
        thief = Visitor(self.nginx.address[1])
        thief.jar = dict(stolen)
        thief.open("/tea")
        self.assertTrue(thief.target.startswith("/auth/login?notice=stolen&return_to="),
                        thief.target)
        self.assertIsNone(thief.token)
        self.assertEqual(ask_check(self.gatehouse, victim).header("x-auth-reason"), "revoked")
        self.assert_live(self.gatehouse, elsewhere.token)
        visitor.open("/tea")
        self.assertTrue(visitor.target.startswith("/auth/login"))
        # Who signs in next is told, with a program too.
        self.assertEqual(Browser(self.gatehouse).sign_in("grace")["warnings"], 1)

    def test_two_session_cookies_lead_to_the_sign_in_page_and_in_no_circle(self):
        visitor = self.remembered()
        cookies = "; ".join([f"{COOKIE}=one", f"{COOKIE}=two",
                             f"{REMEMBER}={visitor.jar[REMEMBER]}"])
        other = Visitor(self.nginx.address[1])
        response = other.send("GET", "/auth/resume?return_to=/tea",
                              [*other.navigation("none"), ("Cookie", cookies)])
        self.assertEqual((response.status, response.header("location")),
                         (303, "/auth/login?return_to=/tea"))

    def test_the_account_page_waits_for_the_password_before_it_ends_another_session(self):
        visitor = self.remembered()
        other = Browser(self.gatehouse)
        ended = other.sign_in("grace")["session"]
        time.sleep(2.1)
        visitor.jar.pop(COOKIE)
        visitor.open("/tea")
        fields = {"session": ended}
        visitor.post("/auth/account/sessions/end", fields | {"form": form_token(visitor)},
                     follow=False)
        self.assertEqual(visitor.response.header("location"),
                         "/auth/confirm?return_to=/auth/account?notice=confirmed")
        self.assert_live(self.gatehouse, other.token)
        visitor.open(visitor.response.header("location"))
        confirm(visitor, PASSWORD)
        self.assertIn(b"press the button once more", visitor.response.body)
        visitor.post("/auth/account/sessions/end", fields | {"form": form_token(visitor)},
                     follow=False)
        self.assertEqual(visitor.response.header("location"), "/auth/account?notice=ended")
        self.assertEqual(ask_check(self.gatehouse, other.token).header("x-auth-reason"),
                         "revoked")


class TwoServers(Sessions):
    def test_another_session_that_is_ended_is_refused_at_once_here_and_soon_there(self):
        first, second = self.two_servers()
        here, there = Browser(first), Browser(second)
        here.sign_in("ada")
        ended = there.sign_in("ada", remember=True)["session"]
        self.assert_live(first, there.token)
        self.assert_live(second, there.token)
        self.assertEqual(here.ask("DELETE", f"/account/sessions/{ended}").status, 204)
        self.assertEqual(ask_check(first, there.token).header("x-auth-reason"), "revoked")
        self.assert_ended_soon(second, there.token)
        self.assert_gone(there)
        self.assert_live(second, here.token)

    def test_a_remember_cookie_that_races_over_two_servers_gives_one_session(self):
        first, second = self.two_servers(**{"remember.grace": "2s"})
        browser = Browser(first)
        browser.sign_in("ada", remember=True)
        for _ in range(3):
            time.sleep(2.1)
            browser.without_session()

            def come(index):
                tab = browser.copy()
                response = tab.resume([first, second][index % 2])
                self.assertEqual(response.status, 200, response)
                return tab, json.loads(response.body)["session"]
            with concurrent.futures.ThreadPoolExecutor(8) as crowd:
                came = list(crowd.map(come, range(8)))
            self.assertEqual(len({session for _, session in came}), 1)
            # Whichever answer was kept, it is good on both.
            for tab, _ in came:
                self.assert_live(first, tab.token, "1")
                eventually(lambda: ask_check(second, tab.token).status == 200,
                           within=REVOCATION_SECONDS)
            browser = came[-1][0]
        # And nobody was called a thief.
        self.assertNotIn("warnings", Browser(first).sign_in("ada"))

    def test_a_password_changed_here_ends_everything_else_there(self):
        first, second = self.two_servers()
        changing, other, program = Browser(first), Browser(second), Browser(second)
        changing.sign_in("ada")
        other.sign_in("ada", remember=True)
        bearer = json.loads(program.ask("POST", "/login", {
            "username": "ada", "password": PASSWORD, "transport": "bearer"}).body)["token"]
        before = changing.token
        response = changing.ask("POST", "/account/password", {
            "current_password": PASSWORD, "new_password": NEW_PASSWORD})
        self.assertEqual(response.status, 200, response)
        for token in [before, other.token]:
            self.assertEqual(ask_check(first, token).header("x-auth-reason"), "revoked")
            self.assert_ended_soon(second, token)
        response = call(second.front, "GET", "/auth/v1/session", None,
                        f"Authorization: Bearer {bearer}")
        self.assertEqual(response.status, 401)
        self.assert_gone(other)
        self.assert_live(first, changing.token, "2")
        eventually(lambda: ask_check(second, changing.token).status == 200, within=1)
        self.assertEqual(Browser(second).ask(
            "POST", "/login", {"username": "ada", "password": PASSWORD}).status, 401)
        Browser(second).sign_in("ada", NEW_PASSWORD)


class Limits(Sessions):
    def test_use_at_the_front_door_and_at_the_check_carries_past_the_first_idle_deadline(self):
        gatehouse = Gatehouse(self, front={"session.idle": "30s"}).start()
        add(gatehouse, "ada")
        checked, at_front, idle, renewed = (Browser(gatehouse) for _ in range(4))
        for browser in [checked, at_front, idle, renewed]:
            browser.sign_in("ada")
        first = {browser: browser.token for browser in [checked, at_front, idle]}
        start = time.monotonic()
        while time.monotonic() - start < 26:
            self.assert_live(gatehouse, checked.token)
            self.assertEqual(at_front.ask("GET", "/account").status, 200)
            time.sleep(0.5)
        # Written every ten seconds, with the first use in them.
        time.sleep(max(0, 30.5 - (time.monotonic() - start)))
        for token in first.values():
            self.assertEqual(ask_check(gatehouse, token).header("x-auth-reason"), "expired")
        for browser in [checked, at_front]:
            self.assertEqual(browser.resume().status, 200)
            self.assertNotEqual(browser.token, first[browser])
            self.assert_live(gatehouse, browser.token, "2")
        self.assertEqual(idle.resume().status, 401)

    def test_renewal_never_moves_the_absolute_limit(self):
        gatehouse = Gatehouse(self, front={
            "session.idle": "3s", "session.absolute": "8s", "session.reseal": "1s"}).start()
        add(gatehouse, "ada")
        browser = Browser(gatehouse)
        browser.sign_in("ada")
        start = time.monotonic()
        session = browser.copy()
        renewals = 0
        while time.monotonic() - start < 4.1:
            response = ask_check(gatehouse, session.token, ",renew")
            self.assertEqual(response.status, 200, response)
            if response.header("set-cookie"):
                renewals += 1
                session.jar[COOKIE] = Cookie(response.header("set-cookie")).value
            time.sleep(0.2)
        self.assertGreaterEqual(renewals, 2)
        # Renewed past its first idle deadline; the first cookie is not.
        self.assert_live(gatehouse, session.token)
        self.assertEqual(ask_check(gatehouse, browser.token).status, 401)
        time.sleep(max(0, 9.1 - (time.monotonic() - start)))
        self.assertEqual(ask_check(gatehouse, session.token).header("x-auth-reason"), "expired")
        self.assertEqual(session.resume().status, 401)

    def racing(self, gatehouse, count=20):
        browsers = [Browser(gatehouse) for _ in range(count)]

        def sign_in(browser):
            # More tries at once than one may fail are refused until one of them was right, and more
            # than the queue of passwords holds are asked to come again.
            deadline = time.monotonic() + 60
            while True:
                status = browser.ask(
                    "POST", "/login", {"username": "ada", "password": PASSWORD}).status
                if status not in (401, 503) or time.monotonic() > deadline:
                    return status
                time.sleep(0.1)
        with concurrent.futures.ThreadPoolExecutor(count) as crowd:
            statuses = list(crowd.map(sign_in, browsers))
        good = sum(ask_check(gatehouse, browser.token).status == 200
                   for browser in browsers if browser.token)
        return statuses, good

    def test_twenty_racing_sign_ins_leave_as_many_sessions_as_one_may_have(self):
        gatehouse = Gatehouse(self, front={"session.max_per_user": 5}).start()
        add(gatehouse, "ada")
        statuses, good = self.racing(gatehouse)
        self.assertEqual((set(statuses), good), ({200}, 5))

    def test_or_refuse_what_is_too_much(self):
        gatehouse = Gatehouse(self, front={
            "session.max_per_user": 5, "session.at_limit": "refuse"}).start()
        add(gatehouse, "ada")
        statuses, good = self.racing(gatehouse)
        self.assertEqual((statuses.count(200), statuses.count(409), good), (5, 15, 5))


class Clocks(Sessions):
    """What a server does whose clock is behind the latest time that was written to the store."""

    def setUp(self):
        self.gatehouse = Gatehouse(self, front={"remember.grace": "20s"}).start()
        add(self.gatehouse, "ada")
        self.browser = Browser(self.gatehouse)
        self.session = self.browser.sign_in("ada", remember=True)["session"]

    def move_the_store(self, seconds):
        database = sqlite3.connect(self.gatehouse.data / "gatehouse.sqlite")
        with database:
            database.execute("UPDATE head SET latest_time = latest_time + ?", (seconds,))
        database.close()

    def test_far_behind_it_knows_nothing_and_refuses_nobody_for_good(self):
        self.move_the_store(90)
        eventually(lambda: ask_check(self.gatehouse, self.browser.token).status == 503, within=5)
        for browser in [self.browser.copy(), self.browser.copy().without_session()]:
            self.assertEqual(browser.resume().status, 503)
        self.assertEqual(self.browser.copy().ask("POST", "/login", {
            "username": "ada", "password": PASSWORD}).status, 503)
        self.move_the_store(-90)
        eventually(lambda: ask_check(self.gatehouse, self.browser.token).status == 200, within=5)
        self.assertEqual(self.browser.resume().status, 200)

    def test_a_little_behind_the_generations_go_by_the_stores_clock(self):
        same = json.loads(self.browser.copy().without_session().resume().body)
        self.assertEqual(same["session"], self.session)
        self.move_the_store(30)
        other = self.browser.copy().without_session()
        response = other.resume()
        self.assertEqual(response.status, 200, response)
        self.assertNotEqual(json.loads(response.body)["session"], self.session)
        self.assert_live(self.gatehouse, other.token, "1")


class Commands(Sessions):
    """What operators end ends remember cookies too, on a running server."""

    def setUp(self):
        self.gatehouse = Gatehouse(self, front={}).start()
        add(self.gatehouse, "ada")
        self.browser = Browser(self.gatehouse)
        self.session = self.browser.sign_in("ada", remember=True)["session"]

    def ended_by(self, *command):
        self.assert_live(self.gatehouse, self.browser.token)
        self.gatehouse.ok(*command)
        self.assertEqual(ask_check(self.gatehouse, self.browser.token).status, 401)
        self.assert_gone(self.browser)

    def test_sessions_revoke_ends_the_series_of_a_session(self):
        self.ended_by("sessions", "revoke", self.session, "--wait")

    def test_sessions_revoke_for_a_user_ends_their_series(self):
        self.ended_by("sessions", "revoke", "--user", "ada", "--wait")

    def test_sessions_revoke_all_ends_every_series(self):
        self.ended_by("sessions", "revoke", "--all", "--wait")

    def test_users_disable_ends_series_and_enable_brings_none_back(self):
        self.ended_by("users", "disable", "ada", "--wait")
        self.gatehouse.ok("users", "enable", "ada")
        self.assert_gone(self.browser)

    def test_users_rename_ends_series(self):
        self.ended_by("users", "rename", "ada", "lovelace", "--wait")

    def test_users_delete_ends_series(self):
        self.ended_by("users", "delete", "ada", "--yes", "--wait")

    def test_revoked_keys_end_series(self):
        self.ended_by("keys", "revoke", "--all", "--wait")

    def test_sessions_list_shows_remembered_browsers_also_without_a_session(self):
        listed = self.gatehouse.json("sessions", "list", "ada")
        [session], [remembered] = listed["sessions"], listed["remembered"]
        self.assertEqual(session["session"], self.session)
        self.assertEqual(remembered["session"], self.session)
        self.assertEqual((session["place"], remembered["place"]), ("203.0.113.0/24",) * 2)
        self.assertEqual(len(session["series"]), 32)
        # As after its limits: no live session, and still a browser that comes back.
        gatehouse = Gatehouse(self, front={"session.idle": "1s", "session.absolute": "1s"}).start()
        add(gatehouse, "ada")
        browser = Browser(gatehouse)
        session = browser.sign_in("ada", remember=True)["session"]
        Browser(gatehouse).sign_in("ada")
        eventually(lambda: {one["state"] for one in gatehouse.json(
            "sessions", "list", "ada")["sessions"]} == {"expired"}, within=5)
        [remembered] = gatehouse.json("sessions", "list", "ada")["remembered"]
        self.assertEqual(remembered["session"], session)
        self.assertIn("come back without a password", gatehouse.ok("sessions", "list", "ada"))
        gatehouse.ok("sessions", "revoke", session, "--wait")
        self.assert_gone(browser)
        self.assertEqual(gatehouse.json("sessions", "list", "ada")["remembered"], [])
        self.assertNotIn("come back", gatehouse.ok("sessions", "list", "ada"))

    def test_explain_says_what_a_remember_cookie_would_bring_and_changes_nothing(self):
        gatehouse = Gatehouse(self, front={"remember.grace": "2s"}).start()
        add(gatehouse, "ada")
        browser = Browser(gatehouse)
        session = browser.sign_in("ada", remember=True)["session"]
        first = browser.jar[REMEMBER]

        def explained(token, *wanted):
            for _ in range(2):
                said = gatehouse.explain(token)
                self.assertEqual((said["verdict"], said["presenting"]), wanted, said)
            self.assertEqual((said["purpose"], said["username"] if "username" in said else "ada"),
                             ("remember", "ada"))
            return said
        said = explained(first, "good", "same_session")
        self.assertEqual((said["session"], said["generation"]), (session, 1))
        self.assertEqual(said["deadline"] - said["issued"], 30 * 86400)
        # With the cookie's name before it, and in words.
        self.assertIn("same_session", gatehouse.ok("explain", f"{REMEMBER}={first}"))
        time.sleep(2.1)
        explained(first, "good", "new_session")
        self.assertEqual(browser.without_session().resume().status, 200)
        second = browser.jar[REMEMBER]
        self.assertEqual(explained(second, "good", "same_session")["generation"], 2)
        explained(first, "good", "same_session")
        time.sleep(2.1)
        explained(first, "revoked", "series_ends")
        self.assert_live(gatehouse, browser.token, "1")
        # Its session was used, so somebody has it: once that is written.
        eventually(lambda: gatehouse.explain(first)["presenting"] == "theft", within=20)
        explained(second, "good", "new_session")
        gatehouse.ok("sessions", "revoke", "--user", "ada")
        self.assertEqual(explained(second, "revoked", "sign_in")["reason"], "series")
        device = gatehouse.explain(browser.jar["__Host-gatehouse-device"])
        self.assertEqual((device["verdict"], device["purpose"]), ("good", "device"))
        self.assertEqual(device["users"], 1)

    def test_a_session_from_before_the_browser_was_closed_names_the_series_too(self):
        gatehouse = Gatehouse(self, front={"remember.grace": "1s"}).start()
        add(gatehouse, "ada")
        browser = Browser(gatehouse)
        session = browser.sign_in("ada", remember=True)["session"]
        time.sleep(1.1)
        browser.without_session()
        self.assertEqual(browser.resume().status, 200)
        gatehouse.ok("sessions", "revoke", session, "--wait")
        self.assertEqual(ask_check(gatehouse, browser.token).header("x-auth-reason"), "revoked")
        self.assert_gone(browser)


if __name__ == "__main__":
    unittest.main()
