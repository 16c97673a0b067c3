# One person's life with the service, in Chromium, with everything that is asked and promised at once: they
# arrive by a link, register, agree, correct, let support in, find out who looked, take their data, and go.

import pathlib
import time
import unittest

from selenium.webdriver.common.by import By

import test_pages
from harness import scratch
from test_browser import PASSWORD
from test_pages import SESSION

SCHEMA = """
purposes:
  newsletters: {title: Newsletters, text: A letter a month, default: opt-in, version: 1}
profile:
  name: {label: Your name, type: text, required: true, purposes: [Letters to you]}
  email: {label: E-mail, type: email, required: true, search: true, purposes: [Letters to you]}
"""


class Life(test_pages.SessionTest):
    @classmethod
    def setUpClass(cls):
        schema = pathlib.Path(scratch(cls)) / "people.yaml"
        schema.write_text(SCHEMA)
        cls.FRONT = {"people.schema": str(schema), "contact.people": "mailto:privacy@example.org",
                     "audit.addresses": "address"}
        super().setUpClass()
        # Commands look at people here, and need to be permitted.
        cls.gatehouse.marks_test_users = False
        terms = pathlib.Path(scratch(cls)) / "terms.txt"
        terms.write_text("Be kind.\n")
        today = time.strftime("%Y-%m-%d", time.gmtime())
        cls.gatehouse.ok("notices", "publish", str(terms), "--document", "terms", "--title",
                         "Terms", "--effective", today, "--required-from", today)
        cls.gatehouse.ok("referrals", "add", "spring", "--label", "the Spring fair")

    def type(self, field, value):
        self.fill(**{f"profile.{field}": value})

    def tick(self, name):
        self.driver.find_element(By.NAME, name).click()

    # Promise: see-and-correct
    # Promise: grant-revocable
    # Promise: looks-shown
    # Promise: break-glass
    # Promise: export
    # Promise: deletion
    def test_from_the_link_to_the_end(self):
        person = self.browser()
        self.open("/auth/r/spring?to=/auth/register")
        self.press("Yes")
        self.assertEqual(self.path, "/auth/register")
        self.picture("1-register")
        # The browser would ask for the box itself.
        self.driver.execute_script(
            "document.querySelectorAll('form').forEach(form => form.noValidate = true)")
        self.fill(username="grace", password=PASSWORD)
        self.type("name", "Grace Hopper")
        self.type("email", "grace@example.org")
        self.press("Make an account")
        self.assertIn("read and accept", self.text)
        self.assertEqual(self.driver.find_element(By.NAME, "profile.name").get_attribute("value"),
                         "Grace Hopper")
        self.fill(password=PASSWORD)
        self.tick("accept.terms")
        self.press("Make an account")
        self.sign_in("grace", "/auth/account")
        self.assertIn("the Spring fair", self.text)
        self.picture("2-account")

        self.follow("Your profile")
        self.type("name", "Grace Murray Hopper")
        self.press("Save")
        self.open("/auth/account/agreements")
        self.tick("choice.newsletters")
        self.press("Save choices")
        self.tick("choice.newsletters")
        self.press("Save choices")
        self.picture("3-agreements")

        # Support looks, corrects what it was asked to, and is shown the door.
        self.open("/auth/account/support")
        self.fill(reason="my e-mail is wrong")
        self.driver.find_element(By.CSS_SELECTOR, "label[for=scope-act]").click()
        self.press("Let them in")
        grant = self.driver.find_element(By.CSS_SELECTOR, "dd code").text
        support = self.using(self.browser())
        self.open("/auth/login")
        self.put_cookie(SESSION, self.gatehouse.ok("grants", "use", grant).strip())
        self.open("/auth/account/profile")
        self.type("email", "g.hopper@example.org")
        self.press("Save")
        self.picture("4-support")
        for page in ["/auth/account/leave", "/auth/account/agreements"]:
            self.open(page)
            self.assertIn("is acting for grace", self.text)
        self.using(person)
        self.open("/auth/account/support")
        self.press("Revoke")
        self.using(support)
        self.open("/auth/account/profile")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)
        self.using(person)
        self.open("/auth/account/profile")
        self.assertIn("g.hopper@example.org", self.text)
        self.picture("5-history")

        # Somebody looks without permission, and the person is told before anything else.
        code, _, errors = self.gatehouse.command("users", "show", "grace")
        self.assertEqual(code, 1, errors)
        self.gatehouse.ok("users", "show", "grace", "--break-glass", "a letter from a court")
        self.open("/auth/logout")
        self.press("Sign out")
        self.sign_in("grace", "/auth/account")
        self.assertIn("a letter from a court", self.text)
        self.picture("6-told")

        self.open("/auth/account/leave")
        self.press("Show as a page")
        for said in ["Grace Murray Hopper", "Grace Hopper", "g.hopper@example.org",
                     "my e-mail is wrong", "a letter from a court", "spring", "newsletters"]:
            self.assertIn(said, self.text)
        self.picture("7-export")
        self.open("/auth/account/leave")
        self.fill(password=PASSWORD)
        self.press("Delete my account")
        self.open("/auth/account")
        self.press("Keep my account")
        self.assertIn("Nothing was deleted", self.text)
        self.gatehouse.ok("users", "delete", "grace", "--yes", "--wait")
        self.open("/auth/account")
        self.assertTrue(self.path.startswith("/auth/login"), self.path)
        self.assertEqual(self.gatehouse.command("users", "show", "grace")[0], 1)
        for entry in self.gatehouse.data.iterdir():
            if entry.is_file() and entry.name != "root.key":
                for marker in [b"Murray", b"hopper@example", b"my e-mail is wrong", b"a court"]:
                    self.assertNotIn(marker, entry.read_bytes(), entry)


if __name__ == "__main__":
    unittest.main()
