# Profiles with real servers and commands: nothing in the clear in any file, rotation beside writers and over
# kill -9, finding, pruning; and the pages in Chromium.

import base64
import json
import pathlib
import sqlite3
import threading
import unittest

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from harness import Gatehouse, scratch
from test_pages import AXE, SessionTest
from test_browser import PASSWORD
from visitor import call

PROFILE = {
    "name": {"label": "Your name", "type": "text", "required": True, "maximum": 60,
             "purposes": ["letters"]},
    "email": {"label": "E-mail", "type": "email", "required": True, "search": True,
              "purposes": ["messages about your account"]},
    "phone": {"label": "Phone", "type": "phone", "purposes": ["calls that you ask for"],
              "hint": "With the country's number"},
    "address": {"label": "Address", "type": "lines", "purposes": ["invoices"]},
    "born": {"label": "Date of birth", "type": "date", "purposes": ["proof of age"]},
    "size": {"label": "Plan", "type": "choice", "options": ["small", "large"],
             "purposes": ["offers"]},
}


def schema(owner, profile=None):
    """The path of a schema file; JSON is YAML."""
    path = scratch(owner) / "people.yaml"
    path.write_text(json.dumps({"profile": PROFILE if profile is None else profile}))
    return path


def forms(text):
    """How a text may lie in a file."""
    utf8 = text.encode()
    found = {utf8, text.encode("utf-16-le"), text.encode("utf-16-be"), utf8.hex().encode(),
             utf8.hex().upper().encode(), json.dumps(text)[1:-1].encode()}
    for shift in range(3):  # of three places within other bytes
        found.add(base64.b64encode(b"\0" * shift + utf8)[4:-4])
    return {form for form in found if form}


def leftovers(texts, *directories):
    found = []
    for directory in directories:
        for path in sorted(pathlib.Path(directory).rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                found += [f"{path.name}: {text}" for text in texts
                          if any(form in data for form in forms(text))]
    return found


class Person:
    """A program of somebody who has registered."""

    def __init__(self, gatehouse, name, profile):
        self.gatehouse = gatehouse
        answer = call(gatehouse.front, "POST", "/auth/v1/register",
                      {"username": name, "password": PASSWORD, "profile": profile})
        assert answer.status == 201, answer
        self.token = json.loads(call(
            gatehouse.front, "POST", "/auth/v1/login",
            {"username": name, "password": PASSWORD, "transport": "bearer"}).body)["token"]

    def ask(self, method, body=None):
        return call(self.gatehouse.front, method, "/auth/v1/account", body,
                    f"Authorization: Bearer {self.token}")

    @property
    def profile(self):
        return json.loads(self.ask("GET").body)["profile"]


class Profiles(unittest.TestCase):
    def setUp(self):
        self.schema = schema(self)
        self.front = {"people.schema": str(self.schema), "log.level": "trace"}
        self.gatehouse = Gatehouse(self, front=self.front).start()

    def person(self, name, mark):
        return Person(self.gatehouse, name, {
            "name": f"Zebra {mark}", "email": f"zebra.{mark}@zebra-{mark}.example",
            "phone": f"+4798{mark}", "address": f"Zebra Road {mark}\nZebratown {mark}"})

    def keys(self):
        return [key for key in self.gatehouse.json("keys", "data", "list")["keys"]
                if key["purpose"] == "profile"]

    # Promise: profile-sealed
    def test_no_value_is_in_the_clear_in_any_file(self):
        entered = []
        people = []
        for number in range(6):
            mark = f"77{number}131"
            people.append(self.person(f"user{number}", mark))
            entered += [f"Zebra {mark}", f"zebra.{mark}@zebra-{mark}.example", f"+4798{mark}",
                        f"Zebra Road {mark}"]
            for round_ in range(3):
                value = f"Okapi {number} {round_}"
                entered.append(value)
                answer = people[-1].ask("PATCH", {"profile": {"name": value}})
                self.assertEqual(answer.status, 200, answer)
        # What is refused stays nowhere either, and no log has it at any level.
        for body in [{"profile": {"email": "Refused-Okapi"}}, {"profile": {"Okapi-Field": "x"}},
                     {"profile": {"name": "Okapi" * 99}}]:
            self.assertEqual(people[0].ask("PATCH", body).status, 422)
        entered += ["Refused-Okapi", "Okapi-Field", "OkapiOkapi"]
        self.gatehouse.ok("keys", "data", "rotate", "profile")
        self.gatehouse.ok("users", "delete", "user5", "--yes")
        places = [self.gatehouse.data, self.gatehouse.directory]
        self.assertEqual(leftovers(entered, *places), [])
        with sqlite3.connect(self.gatehouse.data / "gatehouse.sqlite") as connection:
            backup = sqlite3.connect(self.gatehouse.directory / "backup.sqlite")
            connection.backup(backup)
            backup.close()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        self.assertEqual(self.gatehouse.stop(), 0)
        self.assertEqual(leftovers(entered, *places), [])
        # The search finds what is there.
        self.assertIn("gatehouse.sqlite: user0", leftovers(["user0"], self.gatehouse.data))

    def test_rotation_beside_servers_that_write(self):
        people = [self.person(f"user{number}", f"{number}000") for number in range(8)]
        [before] = self.keys()
        self.assertGreater(before["rows"], 0)
        stop = threading.Event()
        statuses = []

        def write(person, mark):
            count = 0
            while not stop.is_set():
                count += 1
                statuses.append(person.ask(
                    "PATCH", {"profile": {"name": f"{mark} {count}"}}).status)

        writers = [threading.Thread(target=write, args=(person, str(number)))
                   for number, person in enumerate(people[:3])]
        for writer in writers:
            writer.start()
        try:
            self.gatehouse.json("keys", "data", "rotate", "profile")
        finally:
            stop.set()
            for writer in writers:
                writer.join()
        self.assertEqual(set(statuses), {200})
        # Whatever a writer was faster with is done by another run, which takes no new key.
        keys = self.keys()
        self.assertEqual(keys[0]["id"], before["id"])
        if keys[0]["rows"]:
            self.assertFalse(self.gatehouse.json("keys", "data", "rotate", "profile")["new"])
        old, new = self.keys()
        self.assertEqual((old["rows"], old["state"], new["state"]), (0, "former", "newest"))
        for number, person in enumerate(people[3:], 3):
            self.assertEqual(person.profile["name"], f"Zebra {number}000")
        found = self.find("email", "zebra.4000@zebra-4000.example")
        self.assertEqual(found, ["user4"])
        # Not before two hours have passed is it sure that no server writes under it.
        pruning = self.gatehouse.json("keys", "data", "prune")
        self.assertIn((old["id"], "settling"),
                      [(key["key"], key["reason"]) for key in pruning["kept"]])

    def test_a_rotation_that_was_killed_goes_on(self):
        people = [self.person(f"user{number}", f"{number}000") for number in range(4)]
        self.assertEqual(self.gatehouse.stop(), 0)
        point = 0
        while True:
            point += 1
            self.assertLess(point, 100)
            before = {key["id"] for key in self.keys()}
            self.gatehouse.environment["GATEHOUSE_FAULT"] = f"kill:{point}"
            code, output, errors = self.gatehouse.command(
                "keys", "data", "rotate", "profile", "--json")
            del self.gatehouse.environment["GATEHOUSE_FAULT"]
            if code == 0:
                break
            self.assertEqual(code, -9, errors)
            self.gatehouse.json("keys", "data", "rotate", "profile")
            keys = self.keys()
            self.assertLessEqual(len({key["id"] for key in keys} - before), 2, "no more than asked")
            self.assertEqual([key["rows"] for key in keys[:-1]], [0] * (len(keys) - 1))
        self.assertGreater(point, 6, "it was killed at each write")
        self.gatehouse.start()
        for number, person in enumerate(people):
            self.assertEqual(person.profile["name"], f"Zebra {number}000")

    def find(self, field, value):
        code, output, errors = self.gatehouse.command(
            "profiles", "find", field, "--json", "--reason", "they rang up", input=value)
        self.assertIn(code, (0, 1), errors)
        return [user["username"] for user in json.loads(output)["users"]] if code == 0 else []

    def test_people_are_found_by_what_the_schema_says_and_by_nothing_else(self):
        self.person("ada", "1000")
        self.person("bob", "2000")
        self.assertEqual(self.find("email", "zebra.1000@ZEBRA-1000.example\n"), ["ada"])
        self.assertEqual(self.find("email", "zebra.1000@zebra-1000.exampl"), [])
        code, output, errors = self.gatehouse.command(
            "profiles", "find", "name", "--reason", "x", input="Zebra 1000")
        self.assertEqual(code, 2)
        self.assertIn("write email", errors)
        code, output, errors = self.gatehouse.command(
            "profiles", "find", "email", "--reason", "x", input="secret-x")
        self.assertEqual(code, 1)
        self.assertNotIn("secret-x", output + errors)
        code, output, _ = self.gatehouse.command(
            "profiles", "find", "email", "--reason", "x", input="zebra.2000@zebra-2000.example")
        self.assertIn("bob", output)
        self.assertNotIn("Zebra", output)

    def test_whom_a_search_finds_can_see_it_and_many_are_not_found(self):
        ada = self.person("ada", "1000")
        code, output, errors = self.gatehouse.command(
            "profiles", "find", "email", input="zebra.1000@zebra-1000.example")
        self.assertEqual((code, output), (2, ""))
        self.assertIn("--reason", errors)
        self.assertEqual(self.find("email", "zebra.1000@zebra-1000.example"), ["ada"])
        answer = call(self.gatehouse.front, "GET", "/auth/v1/account/looks", None,
                      f"Authorization: Bearer {ada.token}")
        self.assertEqual([(look["seen"], look["reason"]) for look in json.loads(answer.body)["looks"]],
                         [("found", "they rang up")])
        for number in range(1, 20):
            self.person(f"ada-{number}", "1000")
        self.assertEqual(len(self.find("email", "zebra.1000@zebra-1000.example")), 20)
        self.person("ada-20", "1000")
        code, output, errors = self.gatehouse.command(
            "profiles", "find", "email", "--reason", "x", input="zebra.1000@zebra-1000.example")
        self.assertEqual((code, output), (1, ""))
        self.assertIn("too many people have it", errors)

    # Promise: profile-minimal
    def test_a_field_that_left_the_schema_is_pruned(self):
        ada = self.person("ada", "1000")
        ada.ask("PATCH", {"profile": {"phone": "+47 1234"}})
        self.assertEqual(self.gatehouse.stop(), 0)
        self.schema.write_text(json.dumps(
            {"profile": {name: PROFILE[name] for name in PROFILE if name not in ("phone", "email")}}))
        self.gatehouse.start()
        self.assertEqual(ada.profile, {"name": "Zebra 1000",
                                       "address": "Zebra Road 1000\nZebratown 1000"})
        self.assertEqual(ada.ask("PATCH", {"profile": {"phone": "+47 1234"}}).status, 422)
        self.assertEqual(self.gatehouse.json("profiles", "prune"), {
            "rewritten": 1, "already": 0, "changed_meanwhile": 0, "damaged": 0})
        self.assertEqual(self.gatehouse.json("profiles", "prune")["rewritten"], 0)
        self.assertEqual(ada.ask("PATCH", {"profile": {"name": "Ada"}}).status, 200)
        # Without its schema the command would empty all profiles: it does nothing.
        self.schema.write_text("")
        for arguments in [("profiles", "prune"), ("keys", "data", "rotate", "profile")]:
            code, _, errors = self.gatehouse.command(*arguments)
            self.assertEqual(code, 3, errors)
            self.assertIn("people.schema has no fields", errors)


class ProfilePages(SessionTest):
    @classmethod
    def setUpClass(cls):
        cls.FRONT = {"people.schema": str(schema(cls))}
        super().setUpClass()

    def violations(self):
        self.driver.execute_script(AXE)
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa',"
            " 'best-practice']}).then(result => done(result), error => done({error: `${error}`}))")
        self.assertNotIn("error", found)
        return [(one["id"], [node["html"] for node in one["nodes"]])
                for one in found["violations"]]

    def field(self, name):
        return self.driver.find_element(By.NAME, f"profile.{name}")

    def type(self, name, value):
        self.field(name).clear()
        self.field(name).send_keys(value)

    def without_the_browser_s_own_checks(self):
        self.driver.execute_script(
            "document.querySelectorAll('form').forEach(form => form.noValidate = true)")

    def look(self, name):
        self.assertEqual(self.violations(), [], name)
        self.picture(name)

    # Promise: see-and-correct
    def test_registering_seeing_and_correcting(self):
        self.browser()
        name = f"person{next(self.numbers)}"
        self.open("/auth/register")
        self.look("1-register")
        self.fill(username=name, password=PASSWORD)
        self.type("name", "Ada Lovelace")
        self.type("email", "nobody")
        self.without_the_browser_s_own_checks()
        self.press("Make an account")
        self.assertIn("E-mail is no e-mail address", self.alert)
        self.assertEqual(self.field("name").get_attribute("value"), "Ada Lovelace")
        self.look("2-register-refused")
        self.driver.find_element(By.PARTIAL_LINK_TEXT, "E-mail is no").click()
        self.assertEqual(self.driver.switch_to.active_element, self.field("email"))

        self.fill(username=name, password=PASSWORD)
        self.type("email", "ada@example.org")
        self.press("Make an account")
        self.sign_in(name, "/auth/account/profile")
        self.assertTrue(self.path.endswith("/account/profile"), self.path)
        self.look("3-profile")
        self.type("name", "Ada King")
        self.type("address", "12 St James's Square")
        self.field("address").send_keys(Keys.ENTER, "London")
        Select(self.field("size")).select_by_value("large")
        self.press("Save")
        self.assertIn("Your profile is saved.", self.text)
        self.assertEqual(self.field("address").get_attribute("value"),
                         "12 St James's Square\nLondon")
        self.assertIn("Ada Lovelace", self.text, "as it was before")
        self.look("4-saved")

    def test_two_tabs(self):
        self.browser()
        name = f"person{next(self.numbers)}"
        Person(self.gatehouse, name, {"name": "Ada", "email": "ada@example.org"})
        self.sign_in(name, "/auth/account/profile")
        first = self.driver.current_window_handle
        self.driver.switch_to.new_window("tab")
        self.open("/auth/account/profile")
        self.type("name", "Grace")
        self.press("Save")
        self.driver.switch_to.window(first)
        self.type("name", "Hedy")
        self.press("Save")
        self.assertIn("changed meanwhile", self.alert)
        self.assertIn("Stored now: Grace", self.text)
        self.look("1-both")
        self.press("Save")
        self.assertIn("Your profile is saved.", self.text)
        self.assertEqual(self.field("name").get_attribute("value"), "Hedy")

    def test_who_lacks_something_is_asked(self):
        self.browser(width=360)
        name = f"person{next(self.numbers)}"
        code, _, errors = self.gatehouse.command(
            "users", "add", name, "--password-stdin", input=PASSWORD + "\n")
        self.assertEqual(code, 0, errors)
        self.sign_in(name, "/auth/account")
        self.assertIn("Your name, E-mail", self.text)
        self.look("1-asked")
        self.follow("Complete it")
        self.type("name", "Ada")
        self.type("email", "ada@example.org")
        self.press("Save")
        self.look("2-complete")
        self.open("/auth/account")
        self.assertNotIn("Complete it", self.text)
