# The device cookie and the preferences of a browser: through nginx, with cookies kept by the rules of
# browsers, over restarts and new keys.

import json
import sqlite3

from harness import seeded
from test_front_door import DEVICE_COOKIE as DEVICE, PASSWORD, FrontDoorTest, problem
from visitor import Cookie, call
from wire import COOKIE

DAY = 86_400
LIFETIME = 180 * DAY
THEME = {"preferences": {"theme": "dark"}}


class DeviceTest(FrontDoorTest):
    def put(self, visitor, value, status=204):
        visitor.call("PUT", "/auth/v1/device", value, [
            ("Origin", visitor.origin), ("Content-Type", "application/json")])
        self.assertEqual(visitor.response.status, status, visitor.response)
        return visitor.response

    def forget(self, visitor):
        visitor.call("DELETE", "/auth/v1/device", headers=[("Origin", visitor.origin)])
        self.assertEqual(visitor.response.status, 204, visitor.response)

    def preferences(self, visitor):
        response = visitor.call("GET", "/auth/v1/device")
        self.assertEqual(response.status, 200, response)
        return json.loads(response.body)["preferences"]

    @staticmethod
    def set_by(response):
        """The device cookie that an answer sets."""
        [cookie] = [cookie for cookie in (
            Cookie(value) for name, value in response.headers if name == "set-cookie")
            if cookie.name == DEVICE]
        return cookie

    @classmethod
    def rows(cls, table):
        """How many rows of a table the store has."""
        path = f"file:{cls.gatehouse.data}/gatehouse.sqlite?mode=ro"
        with sqlite3.connect(path, uri=True) as database:
            return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


class Story(DeviceTest):
    def test_preferences_survive_signing_out_and_are_withdrawn(self):
        visitor, name = self.visitor(), self.new_user()
        visitor.sign_in(name, PASSWORD, follow=False)
        cookie = self.set_by(visitor.response)
        self.assertTrue(cookie.is_acceptable)
        self.assertNotIn("max-age", cookie.attributes, "it ends with the browser's session")
        first = visitor.jar[DEVICE]

        visitor.open("/auth/account")
        self.assertIn(b"180 days", visitor.response.body)
        visitor.submit(action="/account/device", new_key="theme", new_value="dark & <quiet>", follow=False)
        self.assertEqual(visitor.response.status, 303, visitor.response)
        self.assertEqual(self.set_by(visitor.response).attributes["max-age"], str(LIFETIME))
        visitor.follow()
        self.assertEqual(
            visitor.form("/account/device").fields["preference.theme"], "dark & <quiet>")

        visitor.sign_out()
        self.assertEqual(visitor.call("GET", "/auth/v1/device").status, 401)
        self.assertIn(DEVICE, visitor.jar)
        visitor.sign_in(name, PASSWORD)
        self.assertEqual(self.preferences(visitor), {"theme": "dark & <quiet>"})

        visitor.open("/auth/account")
        visitor.submit(action="/device/forget")
        self.assertEqual(visitor.response.status, 200, visitor.response)
        self.assertNotIn(DEVICE, visitor.jar)
        self.assertEqual(self.check(visitor.token), 200, "the session goes on")
        self.assertEqual(self.preferences(visitor), {})
        # What was copied before is worth nothing.
        for old in [first, self.set_by(self.put(visitor, THEME)).value]:
            visitor.jar[DEVICE] = old
            self.forget(visitor)
            visitor.jar[DEVICE] = old
            self.assertEqual(self.preferences(visitor), {})

    def test_every_cookie_is_as_the_rules_of_browsers_demand(self):
        visitor = self.signed_in()
        visitor.sign_in(self.new_user(), PASSWORD, follow=False)
        cookies = [self.set_by(visitor.response), self.set_by(self.put(visitor, THEME)),
                   self.set_by(self.put(visitor, {"preferences": {}}))]
        self.forget(visitor)
        cookies.append(self.set_by(visitor.response))
        for cookie in cookies:
            with self.subTest(attributes=cookie.attributes):
                self.assertTrue(cookie.is_acceptable)
                self.assertEqual(cookie.attributes["samesite"], "Lax")
                self.assertIn("httponly", cookie.attributes)
                self.assertNotIn("domain", cookie.attributes)
                self.assertLessEqual(int(cookie.attributes.get("max-age", 0)), 34_560_000)
                self.assertLessEqual(len(cookie.value), 512)

    def test_many_people_on_one_browser(self):
        visitor = self.visitor()
        names = [self.new_user() for _ in range(9)]
        for number, name in enumerate(names):
            visitor.sign_in(name, PASSWORD)
            self.put(visitor, {"preferences": {"number": str(number)}})
        self.assertLessEqual(len(visitor.jar[DEVICE]), 512)
        for number, name in list(enumerate(names))[1:]:
            visitor.sign_in(name, PASSWORD)
            self.assertEqual(self.preferences(visitor), {"number": str(number)})
        visitor.sign_in(names[0], PASSWORD)
        self.assertEqual(self.preferences(visitor), {}, "the ninth took the first one's place")

    def test_the_cookie_does_not_disturb_checks(self):
        visitor = self.signed_in()
        visitor.open("/tea")
        self.assertEqual(visitor.response.status, 200)
        seen = json.loads(visitor.response.body)
        self.assertEqual(seen["target"], "/tea")

    def test_what_was_saved_is_there_after_a_crash_and_under_a_new_key(self):
        visitor, name = self.signed_in(user := self.new_user()), user
        self.put(visitor, THEME)
        self.gatehouse.ok("keys", "rotate", "--wait")
        self.assertEqual(self.preferences(visitor), THEME["preferences"])
        self.gatehouse.kill()
        self.gatehouse.start()
        self.assertEqual(self.preferences(visitor), THEME["preferences"])
        visitor.sign_out()
        visitor.sign_in(name, PASSWORD)
        self.assertEqual(self.preferences(visitor), THEME["preferences"])
        # Both keys are kept for as long as the cookies that they sealed.
        keys = self.gatehouse.json("keys", "list")["keys"]
        used = [key for key in keys if key["sealed"]]
        self.assertEqual(len(used), 2, keys)
        for key in used:
            self.assertGreater(key["last_deadline"] - key["activated"], LIFETIME - DAY)


class Attacks(DeviceTest):
    def test_a_recovered_account_knows_no_browser(self):
        visitor, name = self.visitor(), self.new_user()
        visitor.sign_in(name, PASSWORD)
        self.put(visitor, THEME)
        recovery = self.gatehouse.json("users", "recover", name)
        other = self.visitor()
        other.open("/auth/recover?token=" + recovery["token"])
        other.submit(password=PASSWORD + " again")
        self.assertEqual(other.response.status, 200, other.response)
        visitor.sign_in(name, PASSWORD + " again", follow=False)
        self.assertNotIn("max-age", self.set_by(visitor.response).attributes)
        self.assertEqual(self.preferences(visitor), {})

    def test_a_disabled_user_has_no_devices(self):
        visitor, name = self.visitor(), self.new_user()
        visitor.sign_in(name, PASSWORD)
        self.put(visitor, THEME)
        before = self.rows("preferences")
        self.gatehouse.ok("users", "disable", name, "--wait")
        self.assertEqual(self.rows("preferences"), before - 1)
        self.gatehouse.ok("users", "enable", name)
        visitor.sign_in(name, PASSWORD)
        self.assertEqual(self.preferences(visitor), {})

    def test_two_cookies_are_none(self):
        """As a sibling host plants one beside ours, when the cookies are shared with a domain."""
        visitor, other = self.signed_in(), self.signed_in()
        self.put(visitor, THEME)
        ours, theirs = visitor.jar.pop(DEVICE), other.jar[DEVICE]
        session = f"{COOKIE}={visitor.token}"
        for cookies in [[f"{session}; {DEVICE}={ours}; {DEVICE}={theirs}"],
                        [f"{session}; {DEVICE}={theirs}; {DEVICE}={ours}"],
                        [f"{session}; {DEVICE}={ours}; {DEVICE}={ours}"],
                        [f"{session}; {DEVICE}={ours}", f"{DEVICE}={theirs}"]]:
            response = call(self.gatehouse.front, "GET", "/auth/v1/device", None,
                            *(f"Cookie: {line}" for line in cookies))
            self.assertEqual(response.status, 200, response)
            self.assertEqual(json.loads(response.body), {"preferences": {}}, cookies)
        for spelling in [DEVICE.lower(), "gatehouse-device", f"$Version=1; {DEVICE[2:]}"]:
            response = call(self.gatehouse.front, "GET", "/auth/v1/device", None,
                            f"Cookie: {session}; {spelling}={ours}")
            self.assertEqual(json.loads(response.body), {"preferences": {}}, spelling)
        response = call(self.gatehouse.front, "GET", "/auth/v1/device", None,
                        f"Cookie: {session}; {DEVICE}={ours}")
        self.assertEqual(json.loads(response.body)["preferences"], THEME["preferences"])

    def test_a_planted_cookie_of_somebody_else_gives_nothing_away(self):
        """A tossed cookie, where a browser keeps no __Host- promise, opens and names its owner."""
        owner, visitor = self.signed_in(), self.visitor()
        self.put(owner, THEME)
        # With the promise it is not even kept.
        visitor.keep(Cookie(
            f"{DEVICE}={owner.jar[DEVICE]}; Secure; Path=/; Domain=localhost"))
        self.assertNotIn(DEVICE, visitor.jar)
        visitor.jar[DEVICE] = owner.jar[DEVICE]
        visitor.sign_in(self.new_user(), PASSWORD)
        self.assertEqual(self.preferences(visitor), {})
        self.put(visitor, {"preferences": {"theme": "light"}})
        self.assertEqual(self.preferences(owner), THEME["preferences"])
        self.forget(visitor)
        self.assertEqual(self.preferences(owner), THEME["preferences"])

    def test_a_changed_or_exchanged_cookie_is_none(self):
        visitor = self.signed_in()
        self.put(visitor, THEME)
        good = visitor.jar[DEVICE]
        random = seeded(self)
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        changed = [good[:-1], good + "A", good + "=", "", "A" * 512, "A" * 4000, visitor.token]
        for _ in range(40):
            at = random.randrange(len(good))
            changed.append(good[:at] + random.choice(letters.replace(good[at], "")) + good[at + 1:])
        for value in changed:
            with self.subTest(value=value):
                visitor.jar[DEVICE] = value
                self.assertEqual(self.preferences(visitor), {})
        # As a session it is none either.
        self.assertEqual(self.check(good), 401)
        # The next sign-in replaces what is no cookie of ours.
        visitor.jar[DEVICE] = "nonsense"
        visitor.sign_in(self.new_user(), PASSWORD)
        self.put(visitor, THEME)
        self.assertEqual(self.preferences(visitor), THEME["preferences"])
        visitor.jar[DEVICE] = good
        self.assertEqual(self.preferences(visitor), {}, "another person's")

    def test_other_sites_change_nothing(self):
        visitor = self.signed_in()
        self.put(visitor, THEME)
        device = visitor.jar[DEVICE]
        for headers in [[("Origin", "https://evil.example")], [("Origin", "null")],
                        [("Sec-Fetch-Site", "cross-site")], [("Sec-Fetch-Site", "same-site")], []]:
            for method in ["PUT", "DELETE"]:
                with self.subTest(method, headers=headers):
                    visitor.call(method, "/auth/v1/device", {"preferences": {}}, [
                        *headers, ("Content-Type", "application/json")])
                    self.assertEqual(problem(visitor.response), "urn:gatehouse:problem:cross_site")
        visitor.open("/auth/account")
        fields = visitor.form("/account/device").fields | {"preference.theme": "light"}
        for form in [{**fields, "form": ""}, {k: v for k, v in fields.items() if k != "form"}]:
            for target in ["/auth/account/device", "/auth/account/device/forget"]:
                visitor.post(target, form)
                self.assert_refused(visitor.response, 403)
        self.assertEqual(self.preferences(visitor), THEME["preferences"])
        self.assertEqual(visitor.jar[DEVICE], device)

    def test_programs_that_keep_no_cookies_fill_nothing(self):
        visitor, name = self.visitor(), self.new_user()
        visitor.sign_in(name, PASSWORD)
        self.put(visitor, THEME)
        before = self.rows("devices")
        for _ in range(40):
            response = call(self.gatehouse.front, "POST", "/auth/v1/login",
                            {"username": name, "password": PASSWORD, "transport": "cookie"})
            self.assertEqual(response.status, 200, response)
        self.assertEqual(self.rows("devices"), before + 31)
        # So many sign-ins have taken the place of the first session; the device is there.
        visitor.sign_in(name, PASSWORD)
        self.assertEqual(self.preferences(visitor), THEME["preferences"])

    def test_what_is_too_much_is_refused_in_words(self):
        visitor = self.signed_in()
        for value in [{}, {"preferences": {}, "more": {}}, {"preferences": {"A": "1"}},
                      {"preferences": {"a": "x" * 257}}, {"preferences": {"a": ""}},
                      {"preferences": {"a": "1\n2"}},
                      {"preferences": {f"k{n}": "v" for n in range(17)}}]:
            with self.subTest(value=value):
                response = self.put(visitor, value, status=422)
                self.assertEqual(problem(response), "urn:gatehouse:problem:preferences")
        full = {f"{n:032}": "é" * 128 for n in range(16)}
        self.put(visitor, {"preferences": full})
        self.assertEqual(self.preferences(visitor), full)
        visitor.open("/auth/account")
        visitor.submit(action="/account/device", **{f"preference.{key}": "ü" * 128 for key in full})
        self.assertEqual(visitor.response.status, 200, visitor.response)
        self.assertEqual(self.preferences(visitor), {key: "ü" * 128 for key in full})


class SharedDomain(DeviceTest):
    settings = {"cookie.domain": "localhost.example"}

    def test_the_name_says_that_other_hosts_may_have_set_it(self):
        name = self.new_user()
        response = call(self.gatehouse.front, "POST", "/auth/v1/login",
                        {"username": name, "password": PASSWORD, "transport": "cookie"})
        cookies = [Cookie(value) for key, value in response.headers if key == "set-cookie"]
        [device] = [c for c in cookies if c.name == "__Secure-gatehouse-device"]
        self.assertEqual(device.attributes["domain"], "localhost.example")
        self.assertIn("secure", device.attributes)
