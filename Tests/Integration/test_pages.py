# Sessions as people have them, in a real browser: remembered over a restart, in two tabs at once,
# stolen, ended from elsewhere, confirmed. And every page, light and dark, on a phone and on a desk,
# with no violation that axe-core finds. GATEHOUSE_SCREENSHOTS=DIRECTORY keeps the pictures.

import base64
import importlib.util
import os
import pathlib
import time
import unittest

from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from harness import scratch
from test_browser import PASSWORD, BrowserTest

# The package is for another driver, whose module is not there; its file is all that is wanted.
AXE = (pathlib.Path(importlib.util.find_spec("axe_playwright_python").origin).parent
       / "axe.min.js").read_text()
SESSION = "__Host-gatehouse"
REMEMBER = "__Host-gatehouse-remember"
# Long enough to race in, short enough to wait for.
GRACE_SECONDS = 2


class SessionTest(BrowserTest):
    FRONT = {"remember.grace": f"{GRACE_SECONDS}s"}

    def sign_in(self, name, path="/", remember=False):
        self.open(path)
        self.fill(username=name, password=PASSWORD)
        if remember:
            self.driver.find_element(By.NAME, "remember").click()
        self.press("Sign in")

    def using(self, driver):
        self.driver = driver
        return driver

    def cookie(self, name):
        found = self.driver.get_cookie(name)
        return found and found["value"]

    def put_cookie(self, name, value):
        """As a thief would: any cookie, into another browser."""
        self.driver.execute_cdp_cmd("Network.setCookie", {
            "name": name, "value": value, "url": self.origin, "path": "/", "secure": True,
            "httpOnly": True, "sameSite": "Lax"})

    def close(self, profile):
        """As its owner does: cookies are on the disk then. It may be gone before it has answered."""
        try:
            self.driver.execute_cdp_cmd("Browser.close", {})
        except WebDriverException:
            pass
        lock = pathlib.Path(profile) / "SingletonLock"
        deadline = time.monotonic() + 20
        while lock.is_symlink() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertFalse(lock.is_symlink(), "the browser did not end")
        self.driver.quit()

    def leave_grace(self):
        time.sleep(GRACE_SECONDS + 0.5)

    def live(self, name):
        return [session for session in self.gatehouse.json("sessions", "list", name)["sessions"]
                if session["state"] == "live"]


class RememberMe(SessionTest):
    # Promise: persistent-on-request
    def test_it_outlives_the_browser_and_only_when_it_was_asked_for(self):
        profile = scratch(self)
        for remember in [False, True]:
            with self.subTest(remember=remember):
                self.browser(profile=profile)
                name = self.new_user()
                self.sign_in(name, "/auth/account", remember=remember)
                self.assertEqual(self.cookie(REMEMBER) is not None, remember)
                self.close(profile)
                self.browser(profile=profile)
                self.open("/tea?with=milk")
                if remember:
                    self.assertEqual(self.path, "/tea?with=milk")
                    self.assertIn(f"Hello, {name}.", self.text)
                    self.open("/auth/account")
                    self.picture("remembered")
                    self.press("Sign out")
                    self.assertIsNone(self.cookie(REMEMBER))
                else:
                    self.assertTrue(self.path.startswith("/auth/login"), self.path)
                self.driver.quit()

    def test_two_tabs_come_back_at_once(self):
        self.browser()
        name = self.new_user()
        self.sign_in(name, "/", remember=True)
        self.leave_grace()
        for round in range(3):
            self.driver.delete_cookie(SESSION)
            before = len(self.driver.window_handles)
            self.driver.execute_script("window.open('/one'); window.open('/two')")
            self.wait(lambda driver: len(driver.window_handles) == before + 2)
            for handle in self.driver.window_handles[before:]:
                self.driver.switch_to.window(handle)
                self.wait(lambda _: "Hello" in self.text or self.path.startswith("/auth"))
                self.assertIn(f"Hello, {name}.", self.text, (round, self.path))
            self.assertEqual(len(self.live(name)), 1)
            self.leave_grace()

    def test_a_stolen_cookie_is_found_out_and_its_owner_told(self):
        owner = self.browser()
        name = self.new_user()
        self.sign_in(name, "/", remember=True)
        stolen = self.cookie(REMEMBER)
        elsewhere = self.browser()
        self.sign_in(name, "/auth/account")
        self.leave_grace()

        thief = self.browser()
        self.open("/auth/login")
        self.put_cookie(REMEMBER, stolen)
        self.open("/diary")
        self.assertIn(f"Hello, {name}.", self.text, "nobody can tell yet")
        # That the thief's answer arrived is written every ten seconds; before that it might be lost.
        self.wait(lambda _: any(session["remembered"] and session.get("last_used")
                                for session in self.live(name)), every=0.5)
        self.leave_grace()

        self.using(owner)
        owner.delete_cookie(SESSION)
        self.open("/diary")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)
        self.assertIn("used in two places", self.text)
        self.picture("found-out")
        self.using(thief)
        self.open("/diary")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)
        self.using(elsewhere)
        self.open("/diary")
        self.assertIn(f"Hello, {name}.", self.text, "other devices are left alone")

        self.using(owner)
        self.sign_in(name, "/diary")
        self.assertTrue(self.path.startswith("/auth/account/warnings"), self.path)
        self.picture("told")
        self.press("I have read this")
        self.assertEqual(self.path, "/diary")
        self.open("/auth/account/warnings")
        self.assertEqual(self.path, "/auth/account", "once is enough")

    def test_it_is_withdrawn_on_the_account_page(self):
        self.browser()
        name = self.new_user()
        self.sign_in(name, "/auth/account", remember=True)
        kept = self.cookie(REMEMBER)
        self.press("No longer remember me here")
        self.assertIn("no longer remembered", self.text)
        self.assertIsNone(self.cookie(REMEMBER))
        self.picture("withdrawn")
        self.open("/tea")
        self.assertIn(f"Hello, {name}.", self.text, "still signed in")
        self.driver.delete_cookie(SESSION)
        self.put_cookie(REMEMBER, kept)
        self.open("/tea")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)


class OtherSessions(SessionTest):
    def test_one_that_is_ended_is_refused(self):
        name = self.new_user()
        other = self.browser()
        self.sign_in(name, "/tea", remember=True)
        self.browser()
        self.sign_in(name, "/auth/account")
        self.picture("two")
        self.press("End")
        self.assertIn("That sign-in has ended", self.text)
        self.using(other)
        self.open("/tea")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)

    def test_all_others_end_and_this_one_stays(self):
        name = self.new_user()
        others = [self.browser(), self.browser()]
        for other in others:
            self.using(other)
            self.sign_in(name, "/tea")
        self.browser()
        self.sign_in(name, "/auth/account")
        self.press("End all others")
        self.assertIn("All other sign-ins have ended", self.text)
        for other in others:
            self.using(other)
            self.open("/tea")
            self.assertTrue(self.path.startswith("/auth/login"), self.path)

    def test_what_is_sensitive_takes_the_password_again(self):
        self.browser()
        name = self.new_user()
        self.sign_in(name, "/", remember=True)
        self.leave_grace()
        self.driver.delete_cookie(SESSION)
        self.open("/tea")
        self.assertIn(f"Hello, {name}.", self.text)
        remembered = self.cookie(SESSION)

        self.open("/settings/address")
        self.assertTrue(self.path.startswith("/auth/confirm"), self.path)
        self.picture("confirm")
        self.fill(password="not the password")
        self.press("Continue")
        self.assertIn("wrong", self.alert)
        self.picture("confirm-wrong")
        self.fill(password=PASSWORD)
        self.press("Continue")
        self.assertEqual(self.path, "/settings/address")
        self.assertNotEqual(self.cookie(SESSION), remembered)
        self.assertEqual(len(self.live(name)), 1, "the remembered session has ended")

    def test_a_new_password_ends_all_but_this(self):
        name = self.new_user()
        other = self.browser()
        self.sign_in(name, "/tea", remember=True)
        self.browser()
        self.sign_in(name, "/.well-known/change-password")
        self.assertEqual(self.path, "/auth/account/password")
        self.picture("password")
        self.fill(current_password=PASSWORD, new_password="short")
        self.press("Change the password")
        self.assertIn("15", self.alert)
        self.picture("password-short")
        self.fill(current_password=PASSWORD, new_password="another fine day for sailing")
        self.press("Change the password")
        self.assertIn("Your password is changed", self.text)
        self.open("/tea")
        self.assertIn(f"Hello, {name}.", self.text)
        self.using(other)
        self.open("/tea")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)


class Throttled(SessionTest):
    FRONT = {"throttle.address_failures": "3"}

    def test_a_page_says_so_and_how_long(self):
        self.browser()
        self.open("/auth/login")
        for _ in range(4):
            self.fill(username="nobody", password="not the password")
            self.press("Sign in")
        self.assertIn("too many", self.alert.lower())
        self.picture("throttled")


class Support(SessionTest):
    """A person lets support in, support looks, and the person ends it while they do."""

    def let_in(self):
        self.open("/auth/account/support")
        self.fill(reason="the invoice is wrong")
        self.driver.find_element(By.CSS_SELECTOR, "label[for=scope-act]").click()
        self.press("Let them in")
        self.assertIn("Support is let in.", self.text)
        return self.driver.find_element(By.CSS_SELECTOR, "dd code").text

    # Promise: grant-revocable
    def test_a_grant_is_given_used_and_revoked_while_support_is_looking(self):
        person = self.browser()
        name = self.new_user()
        self.sign_in(name, "/auth/account")
        grant = self.let_in()
        support = self.using(self.browser())
        self.open("/auth/login")
        self.put_cookie(SESSION, self.gatehouse.ok("grants", "use", grant).strip())
        self.open("/auth/account")
        bar = self.driver.find_element(By.CSS_SELECTOR, "header .summary").text
        self.assertIn(f"of support is acting for {name}.", bar)
        self.assertIn("the invoice is wrong", bar)
        self.open("/auth/account/password")
        self.assertIn("only they themselves may do this", self.text)
        self.using(person)
        self.open("/auth/account/support")
        self.assertIn("Was signed in as you", self.text)
        self.press("Revoke")
        self.assertIn("That is over.", self.text)
        self.using(support)
        self.open("/auth/account")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)
        self.assertEqual(self.driver.find_elements(By.CSS_SELECTOR, "header .summary"), [])

    # Promise: permission
    def test_support_ends_it_with_the_button_of_the_bar(self):
        person = self.browser()
        self.sign_in(self.new_user(), "/auth/account")
        grant = self.let_in()
        self.browser()
        self.open("/auth/login")
        self.put_cookie(SESSION, self.gatehouse.ok("grants", "use", grant).strip())
        self.open("/auth/account")
        self.press("End this")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)
        self.using(person)
        self.open("/auth/account")
        self.assertEqual(self.path, "/auth/account")


class EveryPage(SessionTest):
    """Each page as axe-core, a phone, a desk, a bright and a dark room see it."""

    SIZES = [("phone", 375, 800), ("desk", 1280, 900)]

    def test_no_violation_and_a_picture_of_each(self):
        self.browser()
        name = self.new_user()
        self.gatehouse.ok("referrals", "add", "spring", "--label", "the Spring fair")
        self.open("/auth/login")
        looks = {
            "login": lambda: self.open("/auth/login?return_to=/tea"),
            "login-stolen": lambda: self.open("/auth/login?notice=stolen"),
            "login-wrong": lambda: (self.open("/auth/login"), self.fill(
                username="nobody", password="wrong"), self.press("Sign in")),
            "register": lambda: self.open("/auth/register"),
            "register-short": lambda: (self.open("/auth/register"), self.fill(
                username="somebody", password="short"), self.press("Make an account")),
            "not-found": lambda: self.open("/auth/nothing"),
            "signed-out": lambda: self.open("/auth/logout"),
            "referral": lambda: self.open("/auth/r/spring?to=/tea"),
            "cookies": lambda: self.open("/auth/cookies"),
        }
        for label, look in looks.items():
            self.see(label, look)
        # Two sign-ins, one of them remembered.
        self.sign_in(name, "/auth/account", remember=True)
        first = self.driver
        self.browser()
        self.sign_in(name, "/auth/account")
        self.driver.quit()
        self.using(first)
        self.fill(new_key="theme", new_value="dark")
        self.press("Save preferences")
        looks = {
            "account": lambda: self.open("/auth/account"),
            "confirm": lambda: self.open("/auth/confirm?return_to=/auth/account"),
            "confirm-wrong": lambda: (self.open("/auth/confirm"), self.fill(
                password="wrong"), self.press("Continue")),
            "password": lambda: self.open("/auth/account/password"),
            "password-short": lambda: (self.open("/auth/account/password"), self.fill(
                current_password=PASSWORD, new_password="short"),
                self.press("Change the password")),
            "logout": lambda: self.open("/auth/logout"),
            "support": lambda: self.open("/auth/account/support"),
        }
        for label, look in looks.items():
            self.see(label, look)
        self.steal(name)
        self.sign_in(name, "/auth/login?return_to=/tea")
        self.see("warnings", lambda: self.open("/auth/account/warnings"))
        # And what support is let do, sees, and did without being let.
        self.gatehouse.marks_test_users = False
        self.addCleanup(setattr, self.gatehouse, "marks_test_users", True)
        self.gatehouse.ok("users", "show", name, "--break-glass", "a court's order")
        self.see("warnings-looks", lambda: self.open("/auth/account/warnings"))
        grant = Support.let_in(self)
        token = self.gatehouse.ok("grants", "use", grant).strip()
        self.see("support-given", lambda: self.open("/auth/account/support"))
        self.put_cookie(SESSION, token)
        self.see("acting", lambda: self.open("/auth/account"))

    # Promise: deletion
    def test_leaving(self):
        self.browser()
        name = self.new_user()
        self.sign_in(name, "/auth/account")
        self.follow("Take your data with you, or leave")
        self.see("leave", lambda: self.open("/auth/account/leave"))
        self.see("export", lambda: (self.open("/auth/account/leave"), self.press("Show as a page")))
        self.open("/auth/account/leave")
        self.fill(password=PASSWORD)
        self.press("Delete my account")
        self.assertIn("you can change your mind here", self.text)
        self.see("leaving", lambda: self.open("/auth/account/leave"))
        self.see("account-leaving", lambda: self.open("/auth/account"))
        self.press("Keep my account")
        self.assertIn("Nothing was deleted", self.text)
        self.open("/auth/account")
        self.assertNotIn("Keep my account", self.text)
        self.see("leave-wrong", lambda: (self.open("/auth/account/leave"), self.fill(
            password="wrong"), self.press("Delete my account")))

    def steal(self, name):
        """Makes a warning for this user, by an old copy of a cookie."""
        self.leave_grace()
        old = self.cookie(REMEMBER)
        for _ in range(2):
            self.driver.delete_cookie(SESSION)
            self.open("/tea")
            self.assertIn(f"Hello, {name}.", self.text)
            self.leave_grace()
        self.driver.delete_cookie(SESSION)
        self.put_cookie(REMEMBER, old)
        self.open("/tea")
        self.assertIn("used in two places", self.text)

    def see(self, label, look):
        # Once: style sheets follow the screen without a new page.
        look()
        for scheme in ["light", "dark"]:
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {
                "features": [{"name": "prefers-color-scheme", "value": scheme}]})
            for size, width, height in self.SIZES:
                self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                    "width": width, "height": height, "deviceScaleFactor": 1,
                    "mobile": size == "phone"})
                with self.subTest(page=label, scheme=scheme, size=size):
                    violations = self.violations()
                    if violations or os.environ.get("GATEHOUSE_SCREENSHOTS"):
                        # Everything is in the picture.
                        whole = self.driver.execute_cdp_cmd("Page.captureScreenshot", {
                            "captureBeyondViewport": True, "format": "png"})
                        self.keep(f"{label}-{size}-{scheme}", whole["data"])
                    self.assertEqual(violations, [])
            # WCAG 2.2, 1.4.10: nothing is lost at 400 % zoom of a 1280 pixel window.
            self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
                "width": 320, "height": 256, "deviceScaleFactor": 4, "mobile": False})
            with self.subTest(page=label, zoom=400):
                self.assertLessEqual(self.driver.execute_script(
                    "return document.documentElement.scrollWidth"), 320)
        self.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

    def keep(self, name, data):
        (self.pictures / f"page-{name}.png").write_bytes(base64.b64decode(data))

    def violations(self):
        if self.driver.execute_script("return typeof axe === 'undefined'"):
            self.driver.execute_script(AXE)
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa',"
            " 'best-practice']}).then(result => done(result), error => done({error: `${error}`}))")
        self.assertNotIn("error", found)
        self.assertGreater(len(found["passes"]), 10, "axe has looked at something")
        return [(one["id"], [node["html"] for node in one["nodes"]])
                for one in found["violations"]]

    def test_axe_finds_what_is_wrong(self):
        """The check can fail: a page of bad habits has violations."""
        self.browser()
        self.open("/auth/login")
        self.driver.execute_script(
            "document.documentElement.removeAttribute('lang');"
            "document.querySelector('label').remove()")
        found = {rule for rule, _ in self.violations()}
        self.assertLessEqual({"html-has-lang", "label"}, found)

    def test_the_account_page_with_the_keyboard_alone(self):
        self.browser()
        name = self.new_user()
        self.sign_in(name, "/auth/account")
        # Tab reaches every control once, in the order of the page, and the focus can be seen.
        self.driver.execute_script("document.activeElement.blur(); window.scrollTo(0, 0)")
        reached = []
        for _ in range(60):
            self.driver.switch_to.active_element.send_keys(Keys.TAB)
            active = self.driver.switch_to.active_element
            if active.tag_name in ("body", "html"):
                break
            outline = active.value_of_css_property("outline-style")
            self.assertNotEqual(outline, "none", active.get_attribute("outerHTML"))
            reached.append(active.rect["y"])
        controls = [one for one in self.driver.find_elements(
            By.CSS_SELECTOR, "a[href], button, input:not([type=hidden]):not([tabindex='-1'])")]
        self.assertGreaterEqual(len(reached), len(controls) - 1)
        self.assertEqual(reached, sorted(reached))


if __name__ == "__main__":
    unittest.main()
