# Terms and choices over a running server: published by command, read and accepted in a real browser,
# asked for by a mailer. And their pages, light and dark, on a phone and on a desk, with no violation
# that axe-core finds.

import datetime
import json
import time
import unittest

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import test_pages
from harness import Gatehouse, scratch
from test_browser import PASSWORD

SCHEMA = """
purposes:
  newsletters: {title: Newsletters, text: "Once a month, what is new.", default: opt-in}
  announcements: {title: Announcements, text: Of works and outages., default: opt-out}
"""
DAY = datetime.timedelta(days=1)


def today():
    """The day in UTC; not in its last minute, so that a test ends on the day it began."""
    while (now := datetime.datetime.now(datetime.UTC)) + DAY / 1440 > midnight(now):
        time.sleep(1)
    return now.date()


def midnight(now):
    return datetime.datetime.combine(now.date() + DAY, datetime.time(), datetime.UTC)


def after_business_days(day, count, holidays=()):
    """The day after `count` whole business days that follow `day`."""
    while count:
        day += DAY
        count -= day.weekday() < 5 and str(day) not in holidays
    return day + DAY


def write(owner, text, name="terms.txt"):
    path = scratch(owner) / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


class NoticeCommands(unittest.TestCase):
    def setUp(self):
        self.schema = write(self, SCHEMA, "people.yaml")
        self.day = today()
        self.holidays = [str(self.day + number * DAY) for number in (3, 4)]
        self.gatehouse = Gatehouse(self, settings={
            "notices.wait": 5, "notices.holidays": self.holidays,
            "people.schema": self.schema}).make_store()

    def publish(self, text="Be kind.\n", document="terms", effective=None, *more):
        return self.gatehouse.command(
            "notices", "publish", write(self, text), "--document", document, "--effective",
            str(effective or self.day), "--title", "Terms of use", "--json", *more)

    # Promise: notice-period
    def test_a_change_waits_for_the_configured_business_days(self):
        code, output, errors = self.publish()
        self.assertEqual(code, 0, errors)
        first = json.loads(output)
        self.assertEqual((first["version"], first["document"]), (1, "terms"))
        self.assertEqual(first["effective"], first["published"])
        earliest = after_business_days(self.day, 5, self.holidays)
        for effective in [self.day, earliest - DAY]:
            code, _, errors = self.publish("Be kinder.\n", effective=effective)
            self.assertEqual(code, 1)
            self.assertIn(f"it can take effect on {earliest}", errors)
        code, _, errors = self.publish("Be kinder.\n", "terms", earliest, "--required-from",
                                       str(earliest - DAY))
        self.assertEqual((code, "required before" in errors), (1, True), errors)
        code, output, errors = self.publish("Be kinder.\n", "terms", earliest, "--required-from",
                                            str(earliest + DAY))
        self.assertEqual(code, 0, errors)
        second = json.loads(output)
        start = datetime.datetime.combine(earliest, datetime.time(), datetime.UTC)
        self.assertEqual(second["effective"], start.timestamp())
        self.assertEqual(second["required_from"], (start + DAY).timestamp())
        listed = self.gatehouse.json("notices", "list")["notices"]
        self.assertEqual(listed, [first, second])
        self.assertIn("Be kinder.", self.gatehouse.ok("notices", "show", "terms"))
        shown = self.gatehouse.json("notices", "show", "terms", "--version", 1)
        self.assertEqual(shown, {"notice": first, "text": "Be kind.\n"})

        self.assertEqual(self.gatehouse.command(
            "notices", "withdraw", "terms", "--version", "1")[0], 1)
        self.gatehouse.ok("notices", "withdraw", "terms", "--version", "2")
        self.assertEqual(self.gatehouse.command(
            "notices", "withdraw", "terms", "--version", "2")[0], 1)
        kinds = [entry["kind"] for entry in self.gatehouse.json("audit", "list")["entries"]]
        self.assertEqual(kinds.count("notice_published"), 2)
        self.assertEqual(kinds.count("notice_withdrawn"), 1)
        self.gatehouse.ok("audit", "verify")

    def test_what_can_not_be_published_is_refused_with_the_reason(self):
        yesterday = self.day - DAY
        for text, document, effective, code, reason in [
                ("", "terms", None, 1, "empty"), ("a\r\n", "terms", None, 1, "control"),
                (b"\xff", "terms", None, 1, "UTF-8"), ("a" * 65_537, "terms", None, 1, "65536"),
                ("a", "Terms", None, 2, "no name"), ("a", "terms", "tomorrow", 2, "no day"),
                ("a", "terms", yesterday, 1, "has passed")]:
            with self.subTest(reason):
                result = self.publish(text, document, effective)
                self.assertEqual(result[0], code, result)
                self.assertIn(reason, result[2])
        code, _, errors = self.gatehouse.command(
            "notices", "publish", write(self, "a"), "--document", "terms", "--effective",
            str(self.day))
        self.assertEqual((code, "takes a --title" in errors), (2, True), errors)
        self.assertEqual(self.gatehouse.json("notices", "list"), {"notices": []})
        self.assertEqual(self.publish("a" * 65_536)[0], 0)

    # Promise: choice
    def test_a_mailer_is_told_who_wants_it_now(self):
        self.gatehouse.start()
        ada, bob = (self.gatehouse.add_user(name) for name in ["ada", "bob"])

        def names(purpose):
            listed = self.gatehouse.json("choices", "list", purpose)["users"]
            return [(one["username"], one["user"]) for one in listed]

        everybody = [("ada", ada["id"]), ("bob", bob["id"])]
        self.assertEqual(names("newsletters"), [])
        self.assertEqual(names("announcements"), everybody)
        self.gatehouse.ok("users", "disable", "bob")
        self.assertEqual(names("announcements"), everybody[:1])
        code, _, errors = self.gatehouse.command("choices", "list", "sales")
        self.assertEqual(code, 1)
        self.assertIn("there are newsletters, announcements", errors)


class AgreementPages(test_pages.EveryPage):
    """In Chromium."""

    @classmethod
    def setUpClass(cls):
        cls.FRONT = test_pages.EveryPage.FRONT | {"people.schema": write(cls, SCHEMA, "people.yaml")}
        super().setUpClass()

    def publish(self, document, title, text, effective, *more):
        self.gatehouse.ok(
            "notices", "publish", write(self, text), "--document", document, "--effective",
            str(effective), "--title", title, *more)

    def tick(self, name):
        self.driver.find_element(By.NAME, name).click()

    def chosen(self, purpose):
        return [one["username"]
                for one in self.gatehouse.json("choices", "list", purpose)["users"]]

    # Promise: acceptance
    # Promise: notice-shown
    # Promise: choice
    def test_terms_are_read_and_accepted_and_choices_change(self):
        self.browser()
        name = self.new_user()
        day = today()
        self.publish("terms", "Terms of use", "Be kind.\n\nAnd brief.\n", day,
                     "--required-from", str(day))
        coming = after_business_days(day, 30)
        self.publish("terms", "Terms of use", "Be kinder.\n", coming)
        self.publish("privacy", "Privacy policy", "We keep little.\n", day)

        # The sign-in page says what is coming, and the text can be read without signing in.
        self.open("/auth/login")
        self.assertIn(f"Terms of use, version 2 takes effect on {coming}.", self.text)
        self.see("login-coming", lambda: self.open("/auth/login"))
        self.driver.find_element(By.PARTIAL_LINK_TEXT, "Terms of use, version 2").click()
        self.wait(lambda _: "Be kinder." in self.text)
        self.assertIn("not in force yet", self.text)
        self.see("document", lambda: self.open("/auth/notices/terms"))

        # Nobody gets in without the box.
        self.open("/auth/login")
        self.fill(username=name, password=PASSWORD)
        self.press("Sign in")
        self.assertIn("Please read and accept", self.text)
        self.assertFalse(self.driver.find_element(By.NAME, "accept.terms").is_selected())
        self.assertEqual(self.violations(), [])
        self.picture("asked")
        self.fill(password=PASSWORD)
        self.tick("accept.terms")
        self.press("Sign in")
        self.assertTrue(self.path.startswith("/auth/account"), self.path)
        self.see("account-coming", lambda: self.open("/auth/account"))

        self.open("/auth/account/agreements")
        self.see("agreements", lambda: self.open("/auth/account/agreements"))
        self.assertEqual((self.chosen("newsletters"), self.chosen("announcements")), ([], [name]))
        self.tick("choice.newsletters")
        self.tick("choice.announcements")
        self.press("Save choices")
        self.assertIn("Saved.", self.text)
        self.assertEqual((self.chosen("newsletters"), self.chosen("announcements")), ([name], []))
        self.tick("choice.newsletters")
        self.press("Save choices")
        self.assertEqual(self.chosen("newsletters"), [])
        self.see("agreements-said", lambda: self.open("/auth/account/agreements"))

        # With the keyboard alone: the box of the new terms' row, in advance.
        buttons = [one for one in self.driver.find_elements(By.TAG_NAME, "button")
                   if one.text == "Accept"]
        self.assertEqual(len(buttons), 2, "privacy, and the terms that are coming")
        page = self.driver.find_element(By.TAG_NAME, "html")
        buttons[-1].send_keys(Keys.ENTER)
        self.wait(lambda _: self.is_gone(page))
        self.assertRegex(self.text, r"Terms of use, version 2\s")
        self.assertIn("version 2", self.text.partition("Coming")[2].partition("Withdraw")[0])

        # Registering asks too.
        self.driver.delete_all_cookies()
        self.see("register", lambda: self.open("/auth/register"))
        self.fill(username="newcomer", password=PASSWORD)
        self.tick("accept.terms")
        self.press("Make an account")
        self.fill(username="newcomer", password=PASSWORD)
        self.press("Sign in")
        self.assertTrue(self.path.startswith("/auth/account"), self.path)


# What others test of their pages is not tested again.
for test in [test for test in dir(test_pages.EveryPage) if test.startswith("test_")]:
    setattr(AgreementPages, test, None)


if __name__ == "__main__":
    unittest.main()
