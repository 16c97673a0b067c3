# Coming by a code, through nginx and in Chromium; refusing cookies; whom to ask.

import datetime
import time
import unittest

from selenium.webdriver.common.by import By

from harness import Gatehouse
from test_browser import BrowserTest
from test_front_door import FrontDoorTest

PASSWORD = "a fine day for sailing"
COOKIE = "__Host-gatehouse-referral"
OTHERS = ["__Host-gatehouse-remember", "__Host-gatehouse-device", COOKIE]


class Commands(unittest.TestCase):
    def test_codes_are_added_listed_retired_and_counted(self):
        gatehouse = Gatehouse(self, front={}).make_store()
        self.assertTrue(gatehouse.ok("referrals", "add", "spring", "--label", "the Spring fair")
                        .endswith("/auth/r/spring\n"))
        later = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=1)
        added = gatehouse.json("referrals", "add", "Autumn.26_x-", "--label", "Autumn",
                               "--until", later.strftime("%Y-%m-%dT%H:%M:%SZ"))
        self.assertEqual(added["path"], "/auth/r/Autumn.26_x-")
        self.assertAlmostEqual(added["until"], later.timestamp(), delta=1)
        listed = gatehouse.json("referrals", "list")["referrals"]
        self.assertEqual([(one["code"], one["label"], one["open"]) for one in listed],
                         [("Autumn.26_x-", "Autumn", True), ("spring", "the Spring fair", True)])
        self.assertIn("now retired", gatehouse.ok("referrals", "retire", "spring"))
        self.assertIn("already retired", gatehouse.ok("referrals", "retire", "spring"))
        self.assertIn("retired", gatehouse.ok("referrals", "list"))
        self.assertEqual(gatehouse.json("referrals", "report"), {"referrals": []})
        for code, arguments, words in [
                (1, ["add", "spring", "--label", "x"], "is or was"),
                (1, ["retire", "nobody"], "there is no code"),
                (2, ["add", "a b", "--label", "x"], "is no code"),
                (2, ["add", "..", "--label", "x"], "is no code"),
                (2, ["add", "x" * 65, "--label", "x"], "is no code"),
                (2, ["add", "new", "--label", ""], "--label"),
                (2, ["add", "new", "--label", "a" * 121], "--label"),
                (2, ["add", "new", "--label", "a\nb"], "--label"),
                (2, ["add", "new", "--label", "x", "--until", "2020-01-01T00:00:00Z"], "--until"),
                (2, ["add", "new", "--label", "x", "--until", "soon"], "is no time"),
                (2, ["add", "new"], "--label"), (2, ["report", "--since", "soon"], "is no time")]:
            with self.subTest(arguments):
                exit_code, _, errors = gatehouse.command("referrals", *arguments)
                self.assertEqual(exit_code, code, errors)
                self.assertIn(words, errors)
        kinds = [event["kind"] for event in gatehouse.json("audit", "list")["entries"]]
        self.assertEqual(kinds.count("referral_added"), 2)
        self.assertEqual(kinds.count("referral_retired"), 1)

    # Promise: contact
    def test_doctor_says_when_nobody_can_be_asked(self):
        settings = {"public.origin": "https://app.example"}
        gatehouse = Gatehouse(self, settings=settings).make_store()

        def contact(gatehouse):
            _, output, _ = gatehouse.command("doctor")
            [line] = [one for one in output.splitlines() if ": contact: " in one]
            return line

        self.assertTrue(contact(gatehouse).startswith("warning:"))
        self.assertIn("contact.people and contact.security", contact(gatehouse))
        complete = Gatehouse(self, data=gatehouse.data, settings=settings | {
            "contact.people": "The office", "contact.security": ["mailto:s@app.example"]})
        self.assertTrue(contact(complete).startswith("ok:"))


class ThroughNginx(FrontDoorTest):
    settings = {"contact.security": ["mailto:security@example.org", "https://example.org/report"],
                "contact.policy": "https://example.org/policy",
                "contact.languages": ["en", "de"], "contact.people": "mailto:privacy@example.org"}

    def setUp(self):
        self.code = f"code{next(self.numbers)}"
        self.gatehouse.ok("referrals", "add", self.code, "--label", "the Spring fair")

    def row(self):
        """(arrivals, registrations) of this test's code."""
        rows = [row for row in self.gatehouse.json("referrals", "report")["referrals"]
                if row["code"] == self.code]
        return (sum(row["arrivals"] for row in rows), sum(row["registrations"] for row in rows))

    # Promise: referral-cookie
    def test_from_a_link_to_the_account_and_back(self):
        visitor = self.visitor()
        visitor.send("GET", f"/auth/r/{self.code}?to=/tea", visitor.navigation("cross-site"))
        self.assertEqual(visitor.response.status, 200)
        self.assertNotIn(COOKIE, visitor.jar)
        response = visitor.submit(follow=False)
        self.assertEqual((response.status, response.header("location")), (303, "/tea"))
        [line] = [value for name, value in response.headers
                  if name == "set-cookie" and value.startswith(COOKIE)]
        self.assertNotIn("max-age", line.lower())
        self.assertNotIn("expires", line.lower())
        self.assertEqual(self.row(), (1, 0))
        self.assertEqual(self.gatehouse.explain(visitor.jar[COOKIE])["purpose"], "referral")
        name = f"user{next(self.numbers)}"
        visitor.register(name, PASSWORD)
        self.assertNotIn(COOKIE, visitor.jar)
        self.assertEqual(self.row(), (1, 1))
        visitor.sign_in(name, PASSWORD, target="/auth/login?return_to=/auth/account")
        self.assertIn("the Spring fair", visitor.response.body.decode())
        visitor.submit(action="/account/referral/forget")
        self.assertNotIn("the Spring fair", visitor.response.body.decode())
        # What was counted stays when the person goes.
        self.gatehouse.ok("users", "delete", name, "--yes")
        self.assertEqual(self.row(), (1, 1))

    # Promise: referral-cookie
    def test_the_cookie_says_nothing_to_who_reads_it(self):
        visitor = self.visitor()
        visitor.open(f"/auth/r/{self.code}?to=/tea")
        visitor.submit(follow=False)
        self.assertNotIn(self.code, visitor.jar[COOKIE])
        # It opens as nothing else.
        token = visitor.jar[COOKIE]
        for name in ["__Host-gatehouse", *OTHERS[:2]]:
            visitor.jar = {name: token}
            self.assertEqual(visitor.call("GET", "/auth/v1/session").status, 401)

    # Promise: refuse-others
    def test_refusing_the_other_cookies_costs_nothing(self):
        visitor = self.visitor()
        offered = set()

        def keep(cookie, keep=visitor.keep):
            if cookie.name in OTHERS and not cookie.is_gone:
                offered.add(cookie.name)
            else:
                keep(cookie)
        visitor.keep = keep
        visitor.open(f"/auth/r/{self.code}?to=/tea")
        visitor.submit()
        name = f"user{next(self.numbers)}"
        visitor.register(name, PASSWORD)
        visitor.open("/auth/login?return_to=/tea")
        visitor.post("/auth/login", {**visitor.form("/login").fields, "username": name,
                                     "password": PASSWORD, "remember": "on"})
        self.assertEqual(offered, set(OTHERS))
        self.assertEqual(visitor.target, "/tea")
        visitor.open("/auth/account")
        self.assertEqual(visitor.response.status, 200)
        visitor.sign_out()
        self.assertIsNone(visitor.token)
        visitor.sign_in(name, PASSWORD)
        self.assertIsNotNone(visitor.token)

    # Promise: refuse-session-cookie
    def test_refusing_the_session_cookie_is_told_and_leads_nowhere(self):
        name = self.new_user()
        for page in ["/auth/login", "/auth/register"]:
            with self.subTest(page):
                visitor = self.visitor(takes_cookies=False)
                visitor.open(page)
                response = visitor.submit(username=name + "x" * ("reg" in page),
                                          password=PASSWORD)
                self.assertEqual(response.status, 403)
                self.assertIn("did not return our cookie", visitor.page.alert)
                self.assertIn("Allow cookies", response.body.decode())
                visitor.open("/tea")
                self.assertTrue(visitor.target.startswith("/auth/login"))
        self.assertEqual(self.gatehouse.json("sessions", "list", name)["sessions"], [])
        self.assertEqual(self.gatehouse.command("users", "show", name + "x")[0], 1)

    # Promise: contact
    def test_security_txt_is_where_it_is_looked_for(self):
        visitor = self.visitor()
        response = visitor.open("/.well-known/security.txt")
        self.assertEqual(response.status, 200)
        self.assertEqual(response.header("content-type"), "text/plain; charset=utf-8")
        lines = response.body.decode().splitlines()
        fields = [line.split(": ", 1) for line in lines]
        self.assertEqual([value for name, value in fields if name == "Contact"],
                         ["mailto:security@example.org", "https://example.org/report"])
        names = [name for name, _ in fields]
        self.assertEqual(names.count("Expires"), 1)
        self.assertEqual(names.count("Preferred-Languages"), 1)
        self.assertIn("Policy: https://example.org/policy", lines)
        self.assertIn("Preferred-Languages: en, de", lines)
        [expires] = [value for name, value in fields if name == "Expires"]
        ahead = datetime.datetime.fromisoformat(expires).timestamp() - time.time()
        self.assertGreater(ahead, 86_400)
        self.assertLess(ahead, 365 * 86_400)
        self.assertEqual(visitor.jar, {})
        for path in ["/auth/login", "/auth/cookies", "/auth/nothing"]:
            self.assertIn("mailto:privacy@example.org", visitor.open(path).body.decode())

    def test_the_audit_trail_names_no_code_of_a_person(self):
        visitor = self.visitor()
        visitor.open(f"/auth/r/{self.code}")
        visitor.submit(follow=False)
        name = f"user{next(self.numbers)}"
        visitor.register(name, PASSWORD)
        visitor.sign_in(name, PASSWORD)
        self.assertEqual(visitor.call("GET", "/auth/v1/account/referral").status, 200)
        events = self.gatehouse.json("audit", "list", "--user", name)["entries"]
        self.assertEqual([event["detail"] for event in events
                          if event["kind"] == "agreement_given"], ["purpose=referral"])
        self.assertFalse([event for event in events if self.code in str(event)])


class InChromium(BrowserTest):
    FRONT = {"contact.people": "mailto:privacy@example.org"}

    def come(self, code):
        self.open(f"/auth/r/{code}?to=/auth/register")

    def test_arriving_by_a_link_and_registering(self):
        self.gatehouse.ok("referrals", "add", "spring", "--label", "the Spring fair")
        self.browser()
        self.come("spring")
        self.assertIn("You came by the Spring fair", self.text)
        self.picture("1-asked")
        [yes, no] = self.driver.find_elements(By.CSS_SELECTOR, "main button")
        # Of equal weight: neither is smaller, or of another colour.
        for look in ["background-color", "color", "font-size", "font-weight", "border-color"]:
            self.assertEqual(yes.value_of_css_property(look), no.value_of_css_property(look), look)
        self.assertEqual(yes.size, no.size)
        self.press("No thanks")
        self.assertEqual(self.path, "/auth/register")
        self.assertIsNone(self.driver.get_cookie(COOKIE))
        self.come("spring")
        self.press("Yes")
        self.assertEqual(self.path, "/auth/register")
        self.assertNotIn("expiry", self.driver.get_cookie(COOKIE))
        self.follow("Cookies")
        self.assertIn("the Spring fair", self.text)
        self.picture("2-cookies")
        self.press("Forget how I came here")
        self.assertIn("has forgotten how you came here", self.text)
        self.assertIsNone(self.driver.get_cookie(COOKIE))
        self.come("spring")
        self.press("Yes")
        name = f"person{next(self.numbers)}"
        self.fill(username=name, password=PASSWORD)
        self.press("Make an account")
        self.assertIsNone(self.driver.get_cookie(COOKIE))
        self.sign_in(name, "/auth/account")
        self.assertIn("the Spring fair", self.text)
        self.picture("3-account")
        self.press("Forget it")
        self.assertIn("We have forgotten how you came here", self.text)
        self.assertNotIn("the Spring fair", self.text)
        [row] = [row for row in self.gatehouse.json("referrals", "report")["referrals"]
                 if row["code"] == "spring"]
        self.assertEqual((row["arrivals"], row["registrations"]), (2, 1))

    # Promise: refuse-others
    def test_a_browser_that_drops_the_other_cookies_loses_nothing(self):
        self.gatehouse.ok("referrals", "add", "autumn", "--label", "Autumn")
        self.browser()
        offered = set()

        def drop():
            for cookie in OTHERS:
                if self.driver.get_cookie(cookie):
                    offered.add(cookie)
                    self.driver.delete_cookie(cookie)
        self.come("autumn")
        self.press("Yes")
        drop()
        name = f"person{next(self.numbers)}"
        self.fill(username=name, password=PASSWORD)
        self.press("Make an account")
        drop()
        self.open("/tea")
        self.fill(username=name, password=PASSWORD)
        self.driver.find_element(By.NAME, "remember").click()
        self.press("Sign in")
        self.open("/auth/account")
        drop()
        self.assertEqual(offered, set(OTHERS))
        self.open("/tea")
        self.assertIn(f"Hello, {name}.", self.text)
        drop()
        self.open("/auth/account")
        self.press("Sign out")
        drop()
        self.sign_in(name, "/tea")
        self.assertIn(f"Hello, {name}.", self.text)

    # Promise: refuse-session-cookie
    def test_a_browser_that_blocks_cookies_is_told_when_it_registers(self):
        self.browser(preferences={"profile.default_content_setting_values.cookies": 2})
        self.open("/auth/register")
        name = f"person{next(self.numbers)}"
        self.fill(username=name, password=PASSWORD)
        self.press("Make an account")
        self.assertIn("cookies", self.alert)
        self.picture("told")
        self.assertEqual(self.driver.get_cookies(), [])
        self.assertEqual(self.gatehouse.command("users", "show", name)[0], 1)
        # Who came by a code goes on without.
        self.gatehouse.ok("referrals", "add", "blocked", "--label", "Blocked")
        self.open("/auth/r/blocked?to=/auth/login")
        self.press("Yes")
        self.assertIn("cookie", self.alert)
        self.press("No thanks")
        self.assertEqual(self.path, "/auth/login")


if __name__ == "__main__":
    unittest.main()
