# The front door as people and programs meet it: through nginx with TLS, with cookies kept by the
# rules of browsers; and straight, where only the proxy should be.

import concurrent.futures
import json
import re
import socket
import sqlite3
import struct
import subprocess
import threading
import time
import unittest
import urllib.parse

from harness import BINARY, SOAK, Gatehouse, Nginx, after, free_port, seeded
from visitor import FORM, Cookie, Page, Visitor, call
from wire import COOKIE, EchoSite, Wire, eventually, head

PASSWORD = "a fine day for sailing"
FORM_COOKIE = "__Host-gatehouse-form"
DEVICE_COOKIE = "__Host-gatehouse-device"
PAGES = ["/auth/login", "/auth/register", "/auth/logout", "/auth/account"]


def problem(response):
    """The type of a refusal's problem details (RFC 9457)."""
    assert response.header("content-type").startswith("application/problem+json"), response
    details = json.loads(response.body)
    assert details["status"] == response.status, details
    assert details["title"] and details["type"], details
    return details["type"]


def sign_in(gatehouse, name, password=PASSWORD, transport="bearer", *headers):
    return call(gatehouse.front, "POST", "/auth/v1/login",
                {"username": name, "password": password, "transport": transport}, *headers)


def register(gatehouse, name, password=PASSWORD, **more):
    return call(gatehouse.front, "POST", "/auth/v1/register",
                {"username": name, "password": password, **more})


def session_of(gatehouse, token):
    """What the front door says of a bearer token."""
    return call(gatehouse.front, "GET", "/auth/v1/session", None, f"Authorization: Bearer {token}")


def cookie_of(response):
    """The session cookie's value that an answer sets."""
    for name, value in response.headers:
        if name == "set-cookie" and Cookie(value).name == COOKIE and not Cookie(value).is_gone:
            return Cookie(value).value
    raise AssertionError(f"no session cookie in {response}")


class FrontDoorTest(unittest.TestCase):
    """One server, nginx before it, and a site behind that says what it was asked."""

    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls, front=cls.settings).start()
        cls.site = EchoSite()
        after(cls, cls.site.stop)
        cls.nginx = Nginx(cls, cls.gatehouse.tcp, site=cls.site.address,
                          front="http://%s:%d" % cls.gatehouse.front)
        cls.numbers = iter(range(1_000_000))

    def visitor(self, **options):
        return Visitor(self.nginx.address[1], **options)

    def new_user(self, password=PASSWORD):
        """The name of a user who was just registered."""
        name = f"user{next(self.numbers)}"
        response = register(self.gatehouse, name, password)
        self.assertEqual(response.status, 201, response)
        return name

    def signed_in(self, name=None):
        visitor = self.visitor()
        visitor.sign_in(name or self.new_user(), PASSWORD)
        self.assertIsNotNone(visitor.token, visitor.response)
        return visitor

    def seen(self, visitor):
        """What the site saw of the request that ended there."""
        self.assertEqual(visitor.response.status, 200, visitor.response)
        seen = json.loads(visitor.response.body)
        return seen["target"], dict((k.lower(), v) for k, v in seen["headers"])

    def assert_refused(self, response, status, *words):
        """A page with this status that gives its reason in these words."""
        self.assertEqual(response.status, status, response)
        alert = Page(response.body.decode()).alert
        self.assertIsNotNone(alert, response)
        for word in words:
            self.assertIn(word, alert.lower())

    def check(self, token):
        return self.gatehouse.check(token).status

    def states(self, name):
        """The states of all sessions of a user that the store knows, sorted."""
        return sorted(
            one["state"] for one in self.gatehouse.json("sessions", "list", name)["sessions"])


class Story(FrontDoorTest):
    def test_from_the_first_visit_to_the_last(self):
        visitor, name = self.visitor(), f"grace{next(self.numbers)}"
        visitor.open("/tea?with=milk&sugar=2")
        self.assertEqual(visitor.target, "/auth/login?return_to=/tea?with=milk&sugar=2")
        self.assertEqual(visitor.response.status, 200)

        visitor.register(name, PASSWORD)
        self.assertEqual(visitor.response.status, 200, visitor.response)
        self.assertIsNone(visitor.token, "registering signs nobody in")

        visitor.open("/tea?with=milk&sugar=2")
        self.assertTrue(visitor.target.startswith("/auth/login"))
        visitor.submit(username=name, password="not her password")
        self.assert_refused(visitor.response, 401, "wrong")
        self.assertIsNone(visitor.token)
        # The refusal is the form again, and still knows where she was.
        visitor.submit(username=name, password=PASSWORD)
        target, headers = self.seen(visitor)
        self.assertEqual(target, "/tea?with=milk&sugar=2")
        self.assertEqual(headers["x-auth-username"], name)

        visitor.open("/auth/account")
        self.assertEqual(visitor.page.strong, [name])
        token = visitor.token
        visitor.submit()
        self.assertEqual(visitor.response.status, 200, visitor.response)
        self.assertIsNone(visitor.token)
        self.assertEqual(self.check(token), 401)
        visitor.open("/tea")
        self.assertEqual(visitor.target, "/auth/login?return_to=/tea")

    def test_sign_out_ends_the_session_before_it_answers(self):
        visitor = self.signed_in()
        token = visitor.token
        visitor.sign_out(follow=False)
        self.assertEqual(visitor.response.status, 303)
        self.assertEqual(visitor.response.header("clear-site-data"), '"cache", "storage"')
        with Wire(self.gatehouse.tcp) as wire:
            response = wire.check(token)
        self.assertEqual((response.status, response.header("x-auth-reason")), (401, "revoked"))
        thief = self.visitor()
        thief.jar[COOKIE] = token
        thief.open("/")
        self.assertTrue(thief.target.startswith("/auth/login"), "a copied cookie opens nothing")

    def test_signing_out_twice_and_with_an_ended_session_still_clears_the_cookie(self):
        visitor = self.signed_in()
        stale = visitor.token
        for _ in range(2):
            visitor.jar[COOKIE] = stale
            visitor.sign_out(follow=False)
            self.assertEqual(visitor.response.status, 303)
            self.assertIsNone(visitor.token)

    def test_opening_the_sign_out_page_signs_nobody_out(self):
        visitor = self.signed_in()
        visitor.open("/auth/logout")
        self.assertEqual([form.buttons for form in visitor.page.forms], [1])
        self.assertEqual(self.check(visitor.token), 200)

    def test_the_account_page_is_for_people_who_are_signed_in(self):
        visitor = self.visitor()
        visitor.open("/auth/account")
        self.assertTrue(visitor.target.startswith("/auth/login"), visitor.target)
        name = self.new_user()
        visitor.submit(username=name, password=PASSWORD)
        self.assertEqual(visitor.target, "/auth/account")
        self.assertEqual(visitor.page.strong, [name])

    # Promise: session-cookie
    def test_the_cookies_are_what_the_rules_of_browsers_demand(self):
        visitor = self.visitor()
        visitor.open("/auth/login")
        set_before = [v for k, v in visitor.response.headers if k == "set-cookie"]
        visitor.submit(username=self.new_user(), password=PASSWORD, follow=False)
        set_after = [v for k, v in visitor.response.headers if k == "set-cookie"]
        names = {Cookie(line).name for line in set_before + set_after}
        # The remember cookie, which nobody asked for, is deleted in any case.
        self.assertEqual(names, {COOKIE, FORM_COOKIE, DEVICE_COOKIE, COOKIE + "-remember"})
        self.assertEqual({Cookie(line).name for line in set_after if Cookie(line).is_gone},
                         {FORM_COOKIE, COOKIE + "-remember"})
        for line in set_before + set_after:
            with self.subTest(line):
                cookie = Cookie(line)
                self.assertTrue(cookie.is_acceptable)
                self.assertIn("httponly", cookie.attributes)
                self.assertEqual(cookie.attributes["samesite"], "Lax")
                if not cookie.is_gone:
                    self.assertNotIn("max-age", cookie.attributes)
                    self.assertNotIn("expires", cookie.attributes)

    def test_a_browser_without_cookies_is_told_so_and_not_let_in(self):
        name = self.new_user()
        visitor = self.visitor(takes_cookies=False)
        visitor.open("/auth/login")
        visitor.submit(username=name, password=PASSWORD)
        self.assert_refused(visitor.response, 403, "cookies")
        self.assertFalse([v for k, v in visitor.response.headers
                          if k == "set-cookie" and Cookie(v).name == COOKIE])
        visitor.open("/auth/register")
        visitor.submit(username="nobody-new", password=PASSWORD)
        self.assert_refused(visitor.response, 403, "cookies")

    def test_a_browser_that_drops_only_the_session_cookie_ends_in_no_loop(self):
        visitor = self.visitor()
        visitor.open("/tea")
        visitor.submit(username=self.new_user(), password=PASSWORD, follow=False)
        visitor.jar.pop(COOKIE)
        visitor.follow()
        self.assertTrue(visitor.target.startswith("/auth/login"))

    def test_two_people_on_one_browser(self):
        first, second = self.new_user(), self.new_user()
        visitor = self.signed_in(first)
        before = visitor.token
        visitor.sign_in(second, PASSWORD)
        self.assertNotEqual(visitor.token, before)
        visitor.open("/auth/account")
        self.assertEqual(visitor.page.strong, [second])
        self.assertEqual(self.check(before), 401)
        self.assertEqual(self.states(first), ["revoked"])

    def test_signing_in_again_is_a_new_session_and_ends_the_presented_one(self):
        visitor = self.signed_in(name := self.new_user())
        before = visitor.token
        visitor.sign_in(name, PASSWORD)
        self.assertEqual((self.check(before), self.check(visitor.token)), (401, 200))
        self.assertEqual(self.states(name), ["live", "revoked"])

    def test_a_refused_sign_in_leaves_the_session_alone(self):
        visitor = self.signed_in(name := self.new_user())
        visitor.sign_in(name, "not the password")
        self.assertEqual(visitor.response.status, 401)
        self.assertEqual(self.check(visitor.token), 200)

    def test_other_browsers_keep_their_sessions(self):
        name = self.new_user()
        here, there = self.signed_in(name), self.signed_in(name)
        here.sign_out()
        self.assertEqual(self.check(there.token), 200)

    def test_a_planted_session_cookie_is_never_adopted(self):
        stranger = self.signed_in()
        visitor = self.visitor()
        visitor.jar[COOKIE] = stranger.token
        visitor.sign_in(self.new_user(), PASSWORD)
        self.assertNotEqual(visitor.token, stranger.token)
        visitor = self.visitor()
        visitor.jar[COOKIE] = "chosen-by-somebody-else"
        visitor.sign_in(self.new_user(), PASSWORD)
        self.assertEqual(self.check(visitor.token), 200)

    def test_names_are_shown_as_text(self):
        visitor = self.visitor()
        for name in ["<script>alert(1)</script>", '"><img src=x>', "{{username}}"]:
            with self.subTest(name):
                visitor.sign_in(name, PASSWORD)
                self.assertEqual(visitor.response.status, 401)
                self.assertNotIn(("script", {}), visitor.page.tags)
                self.assertNotIn("img", [tag for tag, _ in visitor.page.tags])
                self.assertEqual(visitor.page.forms[0].fields["username"], name)
                self.assertEqual(visitor.page.forms[0].fields["password"], "")

    def test_pages_are_accessible(self):
        visitor = self.signed_in()
        for target in PAGES:
            with self.subTest(target):
                visitor.open(target)
                tags = visitor.page.tags
                self.assertEqual([a.get("lang") for tag, a in tags if tag == "html"], ["en"])
                self.assertEqual([tag for tag, _ in tags].count("h1"), 1)
                self.assertEqual([tag for tag, _ in tags].count("title"), 1)
                self.assertIn("main", [tag for tag, _ in tags])
                labelled = {a.get("for") for tag, a in tags if tag == "label"}
                for tag, attributes in tags:
                    self.assertNotIn(tag, ["script", "style"])
                    self.assertFalse([name for name in attributes if name.startswith("on")])
                    if tag == "input" and attributes.get("type") != "hidden":
                        self.assertIn(attributes["id"], labelled)
                        if attributes.get("type") != "checkbox":
                            self.assertIn(attributes.get("autocomplete"),
                                          ["username", "current-password", "new-password", "off"])
                forms = visitor.page.forms
                self.assertEqual(len(forms), 3 if target == "/auth/account" else 1)
                self.assertEqual({form.buttons for form in forms}, {1})

    def test_a_disabled_user_is_out_and_stays_out(self):
        name = self.new_user()
        visitor = self.signed_in(name)
        self.gatehouse.ok("users", "disable", name, "--wait")
        visitor.open("/")
        self.assertTrue(visitor.target.startswith("/auth/login"))
        visitor.submit(username=name, password=PASSWORD)
        self.assert_refused(visitor.response, 401, "wrong")


class WayBack(FrontDoorTest):
    """Where a person ends up after signing in."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        register(cls.gatehouse, "ada")

    def test_the_way_back_is_the_address_that_was_asked_for(self):
        for target in ["/", "/tea", "/tea/", "/tea?a=1&b=2&b=3", "/tea?q=a%20b+c%2Fd%26e",
                       "/tea?return_to=/coffee&form=x", "/t%C3%A9a?%C3%A9", "/a/b;c=d/e,f",
                       "/tea?user=a@b.example", "/tea?next=https://elsewhere.example/",
                       "/tea?a=b#c"]:
            with self.subTest(target):
                visitor = self.visitor()
                visitor.send("GET", target, visitor.navigation("none"))
                self.assertEqual(visitor.response.status, 302, visitor.response)
                visitor.follow()
                visitor.submit(username="ada", password=PASSWORD)
                self.assertEqual(self.seen(visitor)[0], target.split("#")[0])

    def test_no_refusal_forgets_the_way_back_and_the_name(self):
        for case, status in [("wrong password", 401), ("no cookie", 403), ("stale form", 403),
                             ("no password", 400)]:
            with self.subTest(case):
                visitor = self.visitor()
                visitor.open("/tea?with=milk")
                fields = {**visitor.page.forms[0].fields, "username": "ada", "password": PASSWORD}
                if case == "wrong password":
                    fields["password"] = "wrong"
                if case == "no cookie":
                    visitor.jar.clear()
                if case == "stale form":
                    fields["form"] = "x"
                if case == "no password":
                    del fields["password"]
                visitor.post("/auth/login", fields)
                self.assert_refused(visitor.response, status)
                shown = visitor.page.forms[0].fields
                self.assertEqual(shown["username"], "ada")
                self.assertEqual(shown.get("return_to"), "/tea?with=milk")

    def test_a_posted_form_a_script_and_a_picture_are_told_401_without_a_redirect(self):
        before = self.site.requests
        for method, headers in [
                ("POST", Visitor.navigation("same-origin")),
                ("GET", [("Sec-Fetch-Mode", "cors"), ("Sec-Fetch-Site", "same-origin")]),
                ("GET", [("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", "image")])]:
            with self.subTest(method=method, headers=headers):
                visitor = self.visitor()
                response = visitor.send(method, "/tea", headers)
                self.assertEqual(response.status, 401, response)
                self.assertIsNone(response.header("location"))
        self.assertEqual(self.site.requests, before)

    def test_browsers_without_fetch_metadata_are_sent_to_the_sign_in_page_too(self):
        visitor = self.visitor()
        for method in ["GET", "HEAD"]:
            response = visitor.send(method, "/tea", [])
            self.assertEqual(response.status, 302)
            self.assertEqual(response.header("location"), "/auth/resume?return_to=/tea")
            self.assertEqual(response.header("cache-control"), "no-store")

    # REQUIREMENTS section 10, 41. Written into the query encoded, as an attacker's link would be.
    EVIL = ["//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example",
            "/%2f/evil.example", "/%2Fevil.example", "/%5cevil.example", "https:evil.example",
            "https://evil.example", "http://evil.example/", "HTTPS://evil.example",
            "//evil%2eexample",
            "https:///evil.example", "https:/evil.example", "/\t/evil.example", "\t//evil.example",
            " //evil.example", "/\r\nSet-Cookie: a=b", "/%0d%0aSet-Cookie:%20a=b", "/\0evil",
            "https://localhost@evil.example/", "https://evil.example#localhost",
            "https://localhost.evil.example/", "https://еvil.example/", "javascript:alert(1)",
            "JaVaScRiPt:alert(1)", "data:text/html,x", "/%252f%252fevil.example",
            "/..//evil.example",
            "/.//evil.example", "/a/../..//evil.example", "/%2e%2e//evil.example", "evil.example",
            "", "/" + "a" * 5000, "/@evil.example", "/\\/evil.example", "\\/evil.example",
            "/;@evil.example", "//localhost:1@evil.example", "/\x7f/evil.example",
            "?//evil.example"]

    def test_an_attackers_way_back_leads_nowhere(self):
        for evil in self.EVIL:
            for name in ["query", "form"]:
                with self.subTest(evil=evil[:60], name=name):
                    visitor = self.visitor()
                    query = "?return_to=" + urllib.parse.quote(evil, safe="")
                    visitor.open("/auth/login" + (query if name == "query" else ""))
                    if name == "form" or visitor.response.status == 200:
                        fields = {**visitor.page.forms[0].fields, "username": "ada",
                                  "password": PASSWORD}
                        if name == "form":
                            fields["return_to"] = evil
                        visitor.post("/auth/login", fields, follow=False)
                        self.assertIn(visitor.response.status, [303, 400], visitor.response)
                    else:
                        self.assertIn(visitor.response.status, [400, 414], visitor.response)
                    location = visitor.response.header("location") or ""
                    self.assertNotIn("evil", location)
                    self.assertRegex(location, r"^(/[!-.0-\[\]-~][!-\[\]-~]*|/)?$")
                    self.assertNotIn("a", [Cookie(v).name for k, v in visitor.response.headers
                                           if k == "set-cookie"])

    def test_an_unencoded_attackers_way_back_leads_nowhere(self):
        # What nginx itself would write for these targets.
        for evil in ["//evil.example/", "/%09/evil.example", "/%5c/evil.example",
                     "///evil.example"]:
            with self.subTest(evil):
                visitor = self.visitor()
                visitor.send("GET", evil, visitor.navigation("none"))
                visitor.follow()
                if visitor.response.status == 200:
                    visitor.submit(username="ada", password=PASSWORD, follow=False)
                    self.assertEqual(visitor.response.header("location"), "/auth/account")


class Programs(FrontDoorTest):
    """JSON, as applications use it."""

    def test_register_sign_in_ask_and_sign_out_with_a_bearer_token(self):
        name = f"program{next(self.numbers)}"
        response = register(self.gatehouse, name.upper())
        self.assertEqual(response.status, 201, response)
        self.assertNotIn("set-cookie", dict(response.headers))
        response = sign_in(self.gatehouse, name)
        self.assertEqual(response.status, 200, response)
        self.assertNotIn("set-cookie", dict(response.headers))
        body = json.loads(response.body)
        self.assertEqual(body["user"]["username"], name)
        self.assertEqual(body["user"]["id"], self.gatehouse.json("users", "show", name)["id"])
        token = body.pop("token")
        self.assertEqual(self.check(token), 401, "a bearer token is no cookie")
        response = session_of(self.gatehouse, token)
        self.assertEqual(response.status, 200)
        self.assertEqual(json.loads(response.body), body)
        response = call(self.gatehouse.front, "GET", "/auth/v1/session", None,
                        f"Cookie: {COOKIE}={token}")
        self.assertEqual(response.status, 401, response)
        response = call(self.gatehouse.front, "POST", "/auth/v1/logout", {},
                        f"Authorization: Bearer {token}")
        self.assertIn(response.status, [200, 204], response)
        response = session_of(self.gatehouse, token)
        self.assertEqual(response.status, 401)
        problem(response)

    def test_sign_in_with_a_cookie(self):
        name = self.new_user()
        visitor = self.visitor()
        own = [("Origin", visitor.origin), ("Sec-Fetch-Site", "same-origin")]
        response = visitor.call("POST", "/auth/v1/login", {
            "username": name, "password": PASSWORD, "transport": "cookie"}, own)
        self.assertEqual(response.status, 200, response)
        self.assertNotIn("token", json.loads(response.body))
        self.assertEqual(self.check(visitor.token), 200)
        response = visitor.call("GET", "/auth/v1/session")
        self.assertEqual(json.loads(response.body)["user"]["username"], name)
        token = visitor.token
        response = visitor.call("POST", "/auth/v1/logout", {}, own)
        self.assertIn(response.status, [200, 204], response)
        self.assertEqual(response.header("clear-site-data"), '"cache", "storage"')
        self.assertIsNone(visitor.token)
        self.assertEqual(self.check(token), 401)

    def test_an_empty_body_signs_out_too(self):
        token = json.loads(sign_in(self.gatehouse, self.new_user()).body)["token"]
        response = call(self.gatehouse.front, "POST", "/auth/v1/logout", None,
                        f"Authorization: Bearer {token}")
        self.assertIn(response.status, [200, 204], response)
        self.assertEqual(session_of(self.gatehouse, token).status, 401)

    def test_refusals_have_stable_types_of_their_own(self):
        name = self.new_user()
        types = {}
        for case, response, status in [
                ("taken", register(self.gatehouse, name), 409),
                ("short", register(self.gatehouse, "short-password", "fourteen chars"), 422),
                ("name", register(self.gatehouse, "two words"), 422),
                ("wrong", sign_in(self.gatehouse, name, "wrong"), 401),
                ("none", call(self.gatehouse.front, "GET", "/auth/v1/session"), 401),
                ("missing", call(self.gatehouse.front, "GET", "/auth/v1/nothing"), 404),
                ("method", call(self.gatehouse.front, "GET", "/auth/v1/login"), 405),
                ("type", call(self.gatehouse.front, "POST", "/auth/v1/login", {},
                              "Content-Type: text/plain"), 415)]:
            with self.subTest(case):
                self.assertEqual(response.status, status, response)
                types[case] = problem(response)
        self.assertEqual(len(set(types.values())), len(types), types)

    def test_passwords_of_fifteen_characters_are_taken_and_kept_whole(self):
        for password in ["exactly15chars!", "é" * 15 + "ü", " " * 15 + "x", "ab c" * 255 + "abcd", "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 " * 3 + "!",
                         "line\r\nline\n and \0 NUL"]:
            with self.subTest(password[:20]):
                name = self.new_user(password)
                self.assertEqual(sign_in(self.gatehouse, name, password).status, 200)
                self.assertEqual(sign_in(self.gatehouse, name, password[:-1]).status, 401)
        name = self.new_user("decomposed cafe\u0301s")
        self.assertEqual(sign_in(self.gatehouse, name, "decomposed caf\u00e9s").status, 200)


class RacingRegistrations(FrontDoorTest):
    settings = {"password.queue": 256}
    RACERS = 64

    # Promise: unique-names
    def test_one_of_sixty_four_gets_the_name(self):
        for round in range(SOAK):
            base = f"racer{round}"
            wide = "".join(chr(ord(c) + 0xFEE0) for c in base)
            spellings = [base, base.upper(), base.title(), wide, wide.upper(),
                         base[:3].upper() + wide[3:]]
            start = threading.Barrier(self.RACERS)

            def race(number):
                start.wait()
                while True:
                    response = register(self.gatehouse, spellings[number % len(spellings)])
                    if response.status != 503:
                        return response
                    # Too many at once: a program comes again when it is told to.
                    time.sleep(int(response.header("retry-after")))

            with concurrent.futures.ThreadPoolExecutor(self.RACERS) as racers:
                answers = list(racers.map(race, range(self.RACERS)))
            statuses = sorted(answer.status for answer in answers)
            self.assertEqual(statuses, [201] + [409] * (self.RACERS - 1))
            [winner] = [answer for answer in answers if answer.status == 201]
            listed = [user for user in self.gatehouse.json("users", "list")["users"]
                      if user["username"].lower().startswith(base)]
            self.assertEqual([(user["username"], user["id"]) for user in listed],
                             [(base, json.loads(winner.body)["user"]["id"])])
            self.assertEqual(sign_in(self.gatehouse, wide.upper()).status, 200)


class KilledServer(unittest.TestCase):
    """kill -9 at random points while people register, sign in and out."""

    ROUNDS = 10 * SOAK
    WORKERS = 4

    def setUp(self):
        self.random = seeded(self)
        self.gatehouse = Gatehouse(self, front={})
        self.lock = threading.Lock()
        self.registered, self.live, self.ended, self.unsure = set(), {}, {}, {}
        self.problems, self.signed_in = [], 0

    def one(self, random, name):
        """One random request, and its entry in the books when it was acknowledged."""
        with self.lock:
            user = random.choice(sorted(self.registered)) if self.registered else None
        choice = random.random()
        if user is None or choice < 0.3:
            response = register(self.gatehouse, name)
            self.expect(response, 201)
            with self.lock:
                self.registered.add(name)
        elif choice < 0.7:
            response = sign_in(self.gatehouse, user, PASSWORD, "cookie")
            self.expect(response, 200)
            with self.lock:
                self.live[json.loads(response.body)["session"]] = cookie_of(response)
                self.signed_in += 1
        else:
            with self.lock:
                if not self.live:
                    return
                session = random.choice(sorted(self.live))
                token = self.unsure[session] = self.live.pop(session)
            self.expect(call(self.gatehouse.front, "POST", "/auth/v1/logout", {},
                             f"Cookie: {COOKIE}={token}", "Origin: https://localhost"), 200, 204)
            with self.lock:
                self.ended[session] = self.unsure.pop(session)

    @staticmethod
    def expect(response, *statuses):
        if response.status not in statuses:
            raise AssertionError(f"expected {statuses}: {response}")

    def work(self, worker, stop):
        random, count = seeded(self, worker), 0
        while not stop.is_set():
            count += 1
            try:
                self.one(random, f"user-{worker}-{count}")
            except OSError:
                # No whole answer: nothing was acknowledged. Only death may do that.
                if not stop.wait(5):
                    self.problems.append("a connection broke while the server lived")
                return
            except Exception as problem:
                self.problems.append(problem)
                return

    def forget_charges(self):
        """Tries that were killed stay charged, on the safe side; a few on one name make it wait."""
        with sqlite3.connect(self.gatehouse.data / "gatehouse.sqlite", timeout=10) as database:
            database.execute("DELETE FROM attempts")
        database.close()

    def verify(self, round, new):
        self.forget_charges()
        listed = {user["username"] for user in self.gatehouse.json("users", "list")["users"]}
        self.assertLessEqual(self.registered, listed, f"round {round}: users were lost")
        for name in new:
            response = sign_in(self.gatehouse, name)
            self.assertEqual(response.status, 200, f"round {round}: {name} can't sign in")
        with Wire(self.gatehouse.tcp) as wire:
            for session, token in self.live.items():
                self.assertEqual(wire.check(token).status, 200, f"round {round}: lost {session}")
            for session, token in self.ended.items():
                response = wire.check(token)
                self.assertEqual(response.status, 401, f"round {round}: revived {session}")
                self.assertEqual(response.header("x-auth-reason"), "revoked")
            # Sign-outs without an answer may show either way, and then for good.
            for session, token in self.unsure.items():
                (self.live if wire.check(token).status == 200 else self.ended)[session] = token
        self.unsure.clear()

    def test_nothing_acknowledged_is_lost(self):
        self.gatehouse.start()
        for round in range(self.ROUNDS):
            known = set(self.registered)
            stop = threading.Event()
            workers = [threading.Thread(target=self.work, args=(f"{round}-{number}", stop))
                       for number in range(self.WORKERS)]
            for worker in workers:
                worker.start()
            time.sleep(self.random.uniform(0.05, 1.5))  # the random point
            stop.set()
            self.gatehouse.kill()
            for worker in workers:
                worker.join()
            self.assertEqual(self.problems, [])
            self.gatehouse.start()
            self.verify(round, self.registered - known)
        self.gatehouse.kill()
        self.gatehouse.start()
        self.verify("last", self.registered)
        self.assertGreater(len(self.registered), self.ROUNDS / 4)
        # Some of each kind were acknowledged, or the test has shown nothing.
        self.assertGreater(self.signed_in, 0)
        self.assertGreater(len(self.ended), 0)


class BadInput(FrontDoorTest):
    """Each gets a clear answer, and the server goes on."""

    def tearDown(self):
        self.assertTrue(self.gatehouse.is_alive(), self.gatehouse.logged())
        self.assertEqual(call(self.gatehouse.front, "GET", "/auth/login").status, 200)

    def posted(self, body, target="/auth/login", content_type=FORM, *headers):
        """A body with a good form token before it, straight to the front door."""
        visitor = self.visitor()
        visitor.open("/auth/login")
        token = visitor.page.forms[0].fields["form"]
        if content_type == FORM and body is not None:
            body = f"form={token}&".encode() + body
        return call(self.gatehouse.front, "POST", target, None, f"Content-Type: {content_type}",
                    f"Cookie: {FORM_COOKIE}={visitor.jar[FORM_COOKIE]}",
                    "Origin: https://localhost", *headers, body=body)

    def test_a_good_form_is_taken(self):
        # So that the refusals below are for what they break.
        name = self.new_user()
        response = self.posted(urllib.parse.urlencode(
            {"username": name, "password": PASSWORD}).encode())
        self.assertEqual(response.status, 303, response)

    def test_forms(self):
        big = b"password=" + b"x" * (1 << 20)
        marks = "e" + "\u0301" * 1_000_000
        for name, body, statuses in [
                ("1 MiB password", b"username=ada&" + big, [413]),
                ("10^6 combining marks", b"username=ada&password=" + marks.encode(), [413]),
                ("16 KiB + 1", b"username=ada&password=" + b"x" * (16 * 1024), [413]),
                ("1 KiB + 1", b"username=ada&password=" + b"x" * 1025, [401]),
                ("5000 combining marks", b"username=ada&password=e" + b"\xcc\x81" * 5000, [401]),
                ("two usernames", b"username=ada&username=eve&password=x", [400]),
                ("two passwords", b"username=ada&password=x&password=y", [400]),
                ("two form tokens", b"username=ada&password=x&form=y", [400]),
                ("the same name, encoded", b"username=ada&%75sername=eve&password=x", [400]),
                ("broken UTF-8", b"username=ada&password=%ff%fe", [400]),
                ("broken UTF-8, raw", b"username=ada&password=\xff\xfe", [400]),
                ("overlong UTF-8", b"username=ada&password=%c0%af", [400]),
                ("a surrogate", b"username=ada&password=%ed%a0%80", [400]),
                ("broken encoding", b"username=ada&password=%zz", [400]),
                ("half an encoding", b"username=ada&password=%4", [400]),
                ("NUL in the username", b"username=a%00da&password=x", [400, 401, 422]),
                ("NUL in the password", b"username=ada&password=a%00b", [401]),
                ("NUL in a name", b"user%00name=ada&password=x", [400]),
                ("no equals sign", b"username", [400]),
                ("no name", b"=ada", [400]),
                ("nothing between", b"username=ada&&password=x", [400]),
                ("no password", b"username=ada", [400]),
                ("no username", b"password=x", [400]),
                ("empty password", b"username=ada&password=", [400, 401]),
                ("empty username", b"username=&password=x", [400, 401]),
                ("10^5 fields", b"&".join(b"f%d=x" % i for i in range(1000)), [400]),
                ("a long username", b"username=" + b"a" * 10_000 + b"&password=x",
                 [400, 401, 422])]:
            for target in ["/auth/login", "/auth/register"]:
                with self.subTest(name, target=target):
                    response = self.posted(body, target)
                    wanted = statuses if target == "/auth/login" else [
                        422 if status == 401 else status for status in statuses]
                    self.assertIn(response.status, wanted, response)
                    self.assert_refused(response, response.status)

    def test_json(self):
        def json_body(**fields):
            return json.dumps({"username": "ada", "password": "x", **fields}).encode()
        for name, body, statuses in [
                ("1 MiB password", json_body(password="x" * (1 << 20)), [413]),
                ("10^6 combining marks", ('{"username":"ada","password":"e%s"}' % (
                    "\u0301" * 1_000_000)).encode(), [413]),
                ("1 KiB + 1", json_body(password="x" * 1025), [401]),
                ("5000 combining marks", ('{"username":"ada","password":"e%s"}' % (
                    "\u0301" * 5000)).encode(), [401]),
                ("duplicate field", b'{"username":"ada","username":"eve","password":"x"}', [400]),
                ("duplicate field, escaped",
                 b'{"username":"ada","\\u0075sername":"eve","password":"x"}', [400]),
                ("broken UTF-8", b'{"username":"ada","password":"\xff"}', [400]),
                ("a lone surrogate", b'{"username":"ada","password":"\\ud800"}', [400, 401]),
                ("NUL in the username", json_body(username="a\0da"), [400, 401, 422]),
                ("NUL in the password", json_body(password="a\0b"), [401]),
                ("no JSON", b"username=ada", [400]),
                ("half of it", json_body()[:-1], [400]),
                ("two values", json_body() * 2, [400]),
                ("UTF-16", json_body().decode().encode("utf-16"), [400]),
                ("a byte order mark", b"\xef\xbb\xbf" + json_body(), [400, 401]),
                ("an array", b"[]", [400]), ("null", b"null", [400]), ("nothing", b"", [400]),
                ("a number", json_body(password=1), [400, 422]),
                ("no password", b'{"username":"ada"}', [400, 422]),
                ("a deep nest", b"[" * 8000, [400]),
                ("a deep nest in a field", b'{"x":' * 3000, [400]),
                ("an unknown transport", json_body(transport="pigeon"), [400, 422])]:
            with self.subTest(name):
                response = call(self.gatehouse.front, "POST", "/auth/v1/login", body=body)
                self.assertIn(response.status, statuses, response)
                problem(response)

    def test_a_chunked_body_that_grows_too_large_is_refused(self):
        chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
        with Wire(self.gatehouse.front) as wire:
            wire.send(head("POST /auth/v1/login HTTP/1.1", "Host: localhost",
                           "Content-Type: application/json", "Transfer-Encoding: chunked"))
            for _ in range(64):
                wire.send(chunk)
            self.assertEqual(wire.send(b"0\r\n\r\n").receive().status, 413)

    def test_through_nginx_large_bodies_are_413_too(self):
        visitor = self.visitor()
        visitor.open("/auth/login")
        form = visitor.page.forms[0].fields["form"]
        for size in [17 * 1024, 1 << 20]:
            with self.subTest(size):
                visitor.post("/auth/login", {"form": form, "username": "ada",
                                             "password": "x" * size}, follow=False)
                self.assertEqual(visitor.response.status, 413)

    def test_content_types(self):
        form, body = b"username=ada&password=x", b'{"username":"ada","password":"x"}'
        for target, content_type, body in [
                *[("/auth/login", one, form) for one in [
                    "text/plain", "multipart/form-data; boundary=x", "application/json", "",
                    "application/x-www-form-urlencoded; charset=latin1", "application/xml",
                    "application/x-www-form-urlencoded, text/plain"]],
                *[("/auth/v1/login", one, body) for one in [
                    "text/plain", FORM, "multipart/form-data; boundary=x", "", "text/json",
                    "application/json; charset=utf-16", "application/jsonp"]]]:
            with self.subTest(target=target, content_type=content_type):
                response = self.posted(body, target, content_type)
                self.assertEqual(response.status, 415, response)
                if target == "/auth/v1/login":
                    problem(response)
        response = call(self.gatehouse.front, "POST", "/auth/login", None, "Content-Type: " + FORM,
                        "Content-Type: text/plain", "Origin: https://localhost", body=form)
        self.assertIn(response.status, [400, 415], response)

    def test_methods(self):
        for target, allowed in [
                ("/auth/login", "GET, HEAD, POST"), ("/auth/register", "GET, HEAD, POST"),
                ("/auth/logout", "GET, HEAD, POST"), ("/auth/account", "GET, HEAD"),
                ("/auth/v1/login", "POST"), ("/auth/v1/register", "POST"),
                ("/auth/v1/logout", "POST"), ("/auth/v1/session", "GET, HEAD")]:
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
                           "PROPFIND"]:
                with self.subTest(method=method, target=target):
                    response = call(self.gatehouse.front, method, target)
                    if method in allowed.split(", "):
                        self.assertNotEqual(response.status, 405)
                    else:
                        self.assertEqual(response.status, 405, response)
                        self.assertEqual(sorted(response.header("allow").split(", ")),
                                         sorted(allowed.split(", ")))
        # Nobody turns one method into another.
        response = call(self.gatehouse.front, "GET", "/auth/v1/logout", None,
                        "X-HTTP-Method-Override: POST", "X-Method-Override: POST")
        self.assertEqual(response.status, 405)

    def test_passwords_are_not_taken_from_the_query(self):
        name = self.new_user()
        query = urllib.parse.urlencode({"username": name, "password": PASSWORD})
        self.assertEqual(self.posted(b"x=1", "/auth/login?" + query).status, 400)

    def test_hosts(self):
        for host, status in [
                ("localhost", 200), ("localhost:9443", 200), ("127.0.0.1:1", 200), ("[::1]", 200),
                ("LOCALHOST", 200), ("evil.example", 421), ("localhost.evil.example", 421),
                ("sub.localhost", 421), ("localhost.", 400), ("localhost:", 400), ("", 400),
                ("localhost:99999", 400), ("local_host", 400), ("a@localhost", 400),
                ("localhost/x", 400), ("[::1", 400), ("127.1", 400), ("0x7f.0.0.1", 400)]:
            for target in ["/auth/login", "/auth/v1/session"]:
                with self.subTest(host=host, target=target):
                    response = call(self.gatehouse.front, "GET", target, host=host)
                    if status == 200:
                        self.assertIn(response.status, [200, 401], response)
                    else:
                        self.assertEqual(response.status, status, response)
                    self.assertNotIn(b"evil", response.body)
        response = call(self.gatehouse.front, "GET", "/auth/login", None, "Host: evil.example")
        self.assertEqual(response.status, 400, response)
        response = call(self.gatehouse.front, "GET", "/auth/login", None,
                        "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example")
        self.assertEqual(response.status, 200)
        self.assertNotIn(b"evil", response.body)
        with Wire(self.gatehouse.front) as wire:
            response = wire.request(head("GET /auth/login HTTP/1.1"))
        self.assertEqual(response.status, 400, response)
        # A whole URL as the target reaches the router as its path; nothing is made of its host.
        response = call(self.gatehouse.front, "GET", "https://evil.example/auth/login")
        self.assertNotIn(b"evil", response.body)

    def test_through_nginx_another_host_is_refused_too(self):
        for host, status in [("evil.example", 421), ("localhost.", 400)]:
            response = self.visitor(host=host).open("/auth/login")
            self.assertEqual(response.status, status)

    def test_unknown_pages_and_odd_targets(self):
        for target in ["/auth/", "/auth", "/auth/nothing", "/authlogin", "/login", "/",
                       "/auth//login", "/auth/login/", "/auth/%6cogin", "/auth/../auth/login",
                       "/auth/login%00",
                       "/auth/v1/", "/auth/v1/login/", "/auth/account/style.css", "/auth/LOGIN",
                       "/auth/login;x", "/check", "/metrics"]:
            with self.subTest(target):
                response = call(self.gatehouse.front, "GET", target)
                self.assertIn(response.status, [400, 404], response)

    def test_heads_that_are_too_large(self):
        for headers in [["X: " + "x" * 70_000], [f"X-{i}: x" for i in range(1000)],
                        ["Cookie: " + "; ".join(f"c{i}=x" for i in range(10_000))]]:
            with self.subTest(headers[0][:20]):
                response = call(self.gatehouse.front, "GET", "/auth/login", None, *headers)
                self.assertIn(response.status, [400, 431], response)

    def test_a_body_that_never_comes_is_not_waited_for(self):
        start = time.monotonic()
        with Wire(self.gatehouse.front, timeout=40) as wire:
            response = wire.request(head(
                "POST /auth/v1/login HTTP/1.1", "Host: localhost",
                "Content-Type: application/json", "Content-Length: 100"))
        self.assertEqual(response.status, 408, response)
        self.assertLess(time.monotonic() - start, 30)


class CrossSite(FrontDoorTest):
    """Requests that change something, from somewhere else (REQUIREMENTS section 10, 39)."""

    SITE, ORIGIN = "Sec-Fetch-Site", "Origin"

    def matrix(self, own):
        """(headers, whether a request with our cookies is taken)."""
        port = own.rsplit(":", 1)[1]
        yield [(self.SITE, "same-origin"), (self.ORIGIN, own)], True
        yield [(self.SITE, "same-origin")], True
        yield [(self.ORIGIN, own)], True
        # Development takes localhost at any port, so other ports are in WithAnOrigin.
        yield [], False
        for site in ["cross-site", "same-site", "none", "", "SAME-ORIGIN",
                     "same-origin, cross-site"]:
            yield [(self.SITE, site)], False
            yield [(self.SITE, site), (self.ORIGIN, own)], False
        yield [(self.SITE, "same-origin"), (self.SITE, "cross-site")], False
        yield [(self.ORIGIN, own), (self.ORIGIN, own)], False
        for origin in ["null", "https://evil.example", f"http://localhost:{port}",
                       f"https://localhost.:{port}", f"https://evil.localhost:{port}",
                       f"https://localhost.evil.example:{port}", f"https://evil.example@localhost",
                       own + "/", own + ", https://evil.example", own.upper(), "localhost", ""]:
            yield [(self.ORIGIN, origin)], False

    def test_sign_in(self):
        name = self.new_user()
        for headers, taken in self.matrix(self.visitor().origin):
            with self.subTest(headers):
                visitor = self.visitor()
                visitor.open("/auth/login")
                fields = {**visitor.page.forms[0].fields, "username": name, "password": PASSWORD}
                visitor.post("/auth/login", fields, headers, follow=False)
                self.assertEqual(visitor.response.status, 303 if taken else 403, visitor.response)
                self.assertEqual(visitor.token is not None, taken)

    def test_registration(self):
        for number, (headers, taken) in enumerate(self.matrix(self.visitor().origin)):
            with self.subTest(headers):
                visitor = self.visitor()
                visitor.open("/auth/register")
                fields = {**visitor.page.forms[0].fields, "username": f"forged{number}",
                          "password": PASSWORD}
                visitor.post("/auth/register", fields, headers, follow=False)
                self.assertEqual(visitor.response.status, 303 if taken else 403, visitor.response)
                code, _, _ = self.gatehouse.command("users", "show", f"forged{number}")
                self.assertEqual(code, 0 if taken else 1)

    def test_sign_out(self):
        name = self.new_user()
        visitor = self.signed_in(name)
        for headers, taken in self.matrix(visitor.origin):
            with self.subTest(headers):
                if visitor.token is None:
                    visitor = self.signed_in(name)
                token = visitor.token
                visitor.open("/auth/logout")
                visitor.post("/auth/logout", visitor.page.forms[0].fields, headers, follow=False)
                self.assertEqual(visitor.response.status, 303 if taken else 403, visitor.response)
                self.assertEqual(self.check(token), 401 if taken else 200)

    def test_json_with_cookies(self):
        name = self.new_user()
        visitor = self.signed_in(name)
        for headers, taken in self.matrix(visitor.origin):
            with self.subTest(headers):
                if visitor.token is None:
                    visitor = self.signed_in(name)
                token = visitor.token
                visitor.call("POST", "/auth/v1/logout", {}, headers)
                if not taken:
                    self.assertEqual(visitor.response.status, 403, visitor.response)
                self.assertEqual(self.check(token), 401 if taken else 200)

    def test_json_without_cookies_needs_no_origin_but_takes_no_wrong_one(self):
        name = self.new_user()
        self.assertEqual(sign_in(self.gatehouse, name).status, 200)
        for headers, taken in self.matrix(self.visitor().origin):
            lines = [f"{key}: {value}" for key, value in headers]
            with self.subTest(headers):
                response = sign_in(self.gatehouse, name, PASSWORD, "bearer", *lines)
                self.assertEqual(response.status, 200 if taken or not headers else 403, response)

    def test_a_form_needs_the_token_of_this_browser(self):
        name = self.new_user()
        other = self.visitor()
        other.open("/auth/login")
        foreign = other.page.forms[0].fields["form"]
        signed_in = self.signed_in(name)
        signed_in.open("/auth/account")

        def fresh():
            visitor = self.visitor()
            visitor.open("/auth/login")
            return visitor, visitor.page.forms[0].fields["form"]

        def attempt(visitor, **form):
            visitor.post("/auth/login", {
                "username": name, "password": PASSWORD, **form}, follow=False)
            self.assertEqual(visitor.response.status, 403, visitor.response)
            self.assert_refused(visitor.response, 403)
            self.assertIsNone(visitor.token)

        with self.subTest("missing"):
            attempt(fresh()[0])
        with self.subTest("empty"):
            attempt(fresh()[0], form="")
        with self.subTest("of another browser"):
            attempt(fresh()[0], form=foreign)
        with self.subTest("the cookie itself"):
            visitor, _ = fresh()
            attempt(visitor, form=visitor.jar[FORM_COOKIE])
        with self.subTest("as the cookie"):
            visitor, form = fresh()
            visitor.jar[FORM_COOKIE] = form
            attempt(visitor, form=form)
        with self.subTest("a session's token"):
            attempt(fresh()[0], form=signed_in.token)
        with self.subTest("a session's token as the cookie"):
            visitor, form = fresh()
            visitor.jar[FORM_COOKIE] = signed_in.token
            attempt(visitor, form=form)
        with self.subTest("without the cookie"):
            visitor, form = fresh()
            visitor.jar.clear()
            attempt(visitor, form=form)
        with self.subTest("one character changed"):
            visitor, form = fresh()
            attempt(visitor, form=form[:50] + ("A" if form[50] != "A" else "B") + form[51:])
        with self.subTest("two cookies"):
            visitor, form = fresh()
            response = call(
                self.gatehouse.front, "POST", "/auth/login", None, f"Content-Type: {FORM}",
                f"Cookie: {FORM_COOKIE}={visitor.jar[FORM_COOKIE]}; {FORM_COOKIE}=x",
                f"Origin: {visitor.origin}", body=urllib.parse.urlencode({
                    "form": form, "username": name, "password": PASSWORD}).encode())
            self.assertEqual(response.status, 403, response)
        with self.subTest("good"):
            visitor, form = fresh()
            visitor.post("/auth/login", {
                "username": name, "password": PASSWORD, "form": form}, follow=False)
            self.assertEqual(visitor.response.status, 303)

    def test_a_forms_token_ends_with_the_pre_session_at_sign_in(self):
        visitor = self.visitor()
        visitor.open("/auth/login")
        planted, form = visitor.jar[FORM_COOKIE], visitor.page.forms[0].fields["form"]
        visitor.submit(username=self.new_user(), password=PASSWORD)
        self.assertNotEqual(visitor.jar.get(FORM_COOKIE), planted)
        visitor.post("/auth/logout", {"form": form}, follow=False)
        self.assertEqual(visitor.response.status, 403)
        self.assertEqual(self.check(visitor.token), 200)

    def test_two_tabs_with_forms_both_work(self):
        name, visitor = self.new_user(), self.visitor()
        visitor.open("/auth/login")
        first = visitor.page.forms[0].fields
        visitor.open("/auth/register")
        visitor.post("/auth/login", {**first, "username": name, "password": PASSWORD}, follow=False)
        self.assertEqual(visitor.response.status, 303, visitor.response)


class RevokedKeys(FrontDoorTest):
    def test_a_form_from_before_is_refused_in_words_and_the_next_one_is_taken(self):
        name = self.new_user()
        visitor = self.visitor()
        visitor.open("/tea")
        self.gatehouse.ok("keys", "revoke", "--all", "--wait")
        # Until the next key is active nothing can be sealed, no form either.
        eventually(lambda: self.visitor().open("/auth/login").status == 200, within=30)
        visitor.submit(username=name, password=PASSWORD)
        self.assert_refused(visitor.response, 403, "try again")
        self.assertIsNone(visitor.token)
        visitor.submit(username=name, password=PASSWORD)
        self.assertEqual(self.check(visitor.token), 200)


class WithAnOrigin(unittest.TestCase):
    """Outside development only the configured origin is the site."""

    @classmethod
    def setUpClass(cls):
        port = free_port()
        cls.origin = f"https://localhost:{port}"
        cls.gatehouse = Gatehouse(cls, dev=False, front={
            "public.origin": cls.origin, "public.return_origins": ["https://shop.example"]})
        cls.gatehouse.arguments += ["--public", "%s:%d" % cls.gatehouse.front]
        cls.gatehouse.ok("keys", "init")
        cls.gatehouse.start()
        cls.host = cls.origin.removeprefix("https://")

    # Promise: tls
    def test_hsts_is_sent(self):
        response = call(self.gatehouse.front, "GET", "/auth/login", host=self.host)
        self.assertEqual(response.status, 200, response)
        self.assertEqual(response.header("strict-transport-security"),
                         "max-age=31536000; includeSubDomains")

    def test_other_ports_and_names_of_this_machine_are_other_sites(self):
        for host in ["localhost", "localhost:1", "127.0.0.1",
                     self.host.replace("localhost", "[::1]")]:
            with self.subTest(host):
                response = call(self.gatehouse.front, "GET", "/auth/login", host=host)
                self.assertEqual(response.status, 421, response)
        for origin, status in [(self.origin, 201), ("https://localhost", 403),
                               ("https://localhost:1", 403),
                               (self.origin.replace("https", "http"), 403),
                               ("https://shop.example", 403)]:
            with self.subTest(origin):
                response = call(self.gatehouse.front, "POST", "/auth/v1/register",
                                {"username": "ada", "password": PASSWORD}, f"Origin: {origin}",
                                host=self.host)
                self.assertEqual(response.status, status, response)

    def test_the_way_back_may_lead_to_a_listed_origin(self):
        for target, kept in [("https://shop.example/basket?a=1", True),
                             ("https://shop.example.evil.example/", False),
                             ("https://shop.example@evil.example/", False),
                             ("http://shop.example/", False), ("https://shop.example:444/", False)]:
            with self.subTest(target):
                response = call(self.gatehouse.front, "GET",
                                "/auth/login?return_to=" + urllib.parse.quote(target, safe=""),
                                host=self.host)
                fields = Page(response.body.decode()).forms[0].fields
                self.assertEqual(fields.get("return_to"), target if kept else None)


class EveryAnswer(FrontDoorTest):
    """Headers that no answer goes without (REQUIREMENTS HDR-1)."""

    def assert_headers(self, response, referrer_policy):
        self.assertEqual(response.header("cache-control"), "no-store")
        self.assertEqual(response.header("x-content-type-options"), "nosniff")
        self.assertEqual(response.header("referrer-policy"), referrer_policy)
        self.assertEqual(response.header("cross-origin-opener-policy"), "same-origin")
        self.assertEqual(response.header("cross-origin-resource-policy"), "same-origin")
        policy = dict(part.strip().partition(" ")[::2]
                      for part in response.header("content-security-policy").split(";"))
        self.assertEqual(policy["default-src"], "'none'")
        self.assertEqual(policy["frame-ancestors"], "'none'")
        self.assertEqual(policy["base-uri"], "'none'")
        self.assertEqual(policy["form-action"].split()[0], "'self'")
        self.assertNotIn("script-src", policy)
        self.assertNotIn("unsafe", response.header("content-security-policy"))
        # Development would pin all of localhost.
        self.assertIsNone(response.header("strict-transport-security"))
        self.assertIsNone(response.header("server"))
        self.assertIsNone(response.header("access-control-allow-origin"))
        self.assertIsNone(response.header("etag"))
        if response.body:
            self.assertRegex(response.header("content-type"), r"charset=utf-8$|json$")

    def test_pages(self):
        name = self.new_user()
        own = ["Origin: https://localhost", f"Content-Type: {FORM}"]
        for number, (method, target, headers, body, status) in enumerate([
                ("GET", "/auth/login", [], None, 200), ("GET", "/auth/register", [], None, 200),
                ("GET", "/auth/logout", [], None, 200), ("GET", "/auth/account", [], None, 303),
                ("GET", "/auth/recover?token=x", [], None, 403),
                ("HEAD", "/auth/login", [], None, 200), ("GET", "/auth/nothing", [], None, 404),
                ("GET", "/", [], None, 404), ("DELETE", "/auth/login", [], None, 405),
                ("POST", "/auth/login", own[:1], b"{}", 415),
                ("POST", "/auth/login", own[1:], b"a=b", 403),
                ("POST", "/auth/login", own, b"a=b", 403),
                ("POST", "/auth/login", own, b"a", 400),
                ("POST", "/auth/login", own, b"x" * 20_000, 413)]):
            with self.subTest(number, method=method, target=target):
                response = call(self.gatehouse.front, method, target, None, *headers, body=body)
                self.assertEqual(response.status, status, response)
                self.assert_headers(response, "same-origin")
        response = call(self.gatehouse.front, "GET", "/auth/login", host="evil.example")
        self.assert_headers(response, "same-origin")
        visitor = self.visitor()
        for password, status in [("wrong", 401), (PASSWORD, 303)]:
            visitor.sign_in(name, password, follow=False)
            self.assertEqual(visitor.response.status, status)
            # What nginx passes on of it.
            self.assertEqual(visitor.response.header("referrer-policy"), "same-origin")
            self.assertEqual(visitor.response.header("cache-control"), "no-store")
            self.assertIsNotNone(visitor.response.header("content-security-policy"))
        visitor.sign_out(follow=False)
        self.assertIsNotNone(visitor.response.header("content-security-policy"))

    def test_json(self):
        name = self.new_user()
        token = json.loads(sign_in(self.gatehouse, name).body)["token"]
        answers = [
            (register(self.gatehouse, f"{name}x"), 201), (register(self.gatehouse, name), 409),
            (register(self.gatehouse, "x", "short"), 422), (sign_in(self.gatehouse, name), 200),
            (sign_in(self.gatehouse, name, "wrong"), 401),
            (call(self.gatehouse.front, "GET", "/auth/v1/session"), 401),
            (call(self.gatehouse.front, "GET", "/auth/v1/session", None,
                  f"Authorization: Bearer {token}"), 200),
            (call(self.gatehouse.front, "POST", "/auth/v1/logout", {}), 204),
            (call(self.gatehouse.front, "GET", "/auth/v1/nothing"), 404),
            (call(self.gatehouse.front, "GET", "/auth/v1/login"), 405),
            (call(self.gatehouse.front, "POST", "/auth/v1/login", body=b"{"), 400),
            (call(self.gatehouse.front, "POST", "/auth/v1/login", body=b"x" * 20_000), 413),
            (call(self.gatehouse.front, "POST", "/auth/v1/login", {}, "Content-Type: x/y"), 415),
            (call(self.gatehouse.front, "POST", "/auth/v1/login", {}, "Origin: null"), 403)]
        for number, (response, status) in enumerate(answers):
            with self.subTest(number, status=status):
                self.assertEqual(response.status, status, response)
                self.assert_headers(response, "no-referrer")


class Secrets(FrontDoorTest):
    """What nobody may read afterwards: in the log, in the database, in nginx's log."""

    # Promise: unique-names
    def test_no_password_token_or_link_is_written_anywhere(self):
        name, password, typo = self.new_user(), "marker-password-one", "marker-password-two"
        written = [password, typo]
        recovery = self.gatehouse.json("users", "recover", name)
        visitor = self.visitor()
        visitor.open("/auth/recover?token=" + recovery["token"])
        visitor.submit(password=password)
        written.append(recovery["token"])
        visitor.sign_in(name, typo)
        # A password typed where the name belongs.
        visitor.sign_in(password, password)
        visitor.sign_in(name, password)
        written += visitor.jar.values()
        visitor.open("/auth/logout")
        written += [visitor.page.forms[0].fields["form"]]
        visitor.submit()
        answer = sign_in(self.gatehouse, name, password)
        written.append(json.loads(answer.body)["token"])
        call(self.gatehouse.front, "POST", "/auth/v1/login", body=b'{"password":"%s"' % (
            password.encode()))
        files = [file for file in self.gatehouse.data.rglob("*") if file.is_file()]
        files += [self.gatehouse.log, self.nginx.directory / "error.log"]
        self.assertTrue(any(file.name.endswith(".sqlite") for file in files), files)
        for file in files:
            content = file.read_bytes()
            for secret in written:
                self.assertNotIn(secret.encode(), content, f"in {file.name}")


class OneAnswerForAll(FrontDoorTest):
    """An unknown user, a wrong password and a disabled user look the same (REQUIREMENTS PW-9)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        for name in ["known", "disabled"]:
            register(cls.gatehouse, name)
        cls.gatehouse.add_user("without-password")
        cls.gatehouse.ok("users", "disable", "disabled", "--wait")

    ATTEMPTS = [("unknown", PASSWORD), ("known", "a wrong password of it"), ("disabled", PASSWORD),
                ("disabled", "a wrong password of it"), ("without-password", PASSWORD),
                ("known", "x" * 1025), ("known", "x"), ("known", ""), ("two words", PASSWORD),
                ("known", "\ue000 private use"), ("known", "\U000e0fff unassigned")]

    def comparable(self, response, name):
        headers = sorted((key, re.sub(r"(?<==)[\w-]{40,}", "TOKEN", value))
                         for key, value in response.headers if key != "date")
        body = response.body.decode()
        body = re.sub(r'(name="form" value=")[\w-]+', r"\1TOKEN", body)
        # The form shows again what was typed.
        body = body.replace(f'value="{name}"', 'value="NAME"')
        headers = [(k, "n" if k == "content-length" else v) for k, v in headers]
        return response.status, headers, body

    def test_forms(self):
        answers = {}
        for name, password in self.ATTEMPTS:
            visitor = self.visitor()
            visitor.sign_in(name, password)
            answers[name, password] = self.comparable(visitor.response, name)
        [(status, _, _)] = set((a, str(b), c) for a, b, c in answers.values())
        self.assertEqual(status, 401)

    def test_json(self):
        answers = {attempt: self.comparable(sign_in(self.gatehouse, *attempt), "")
                   for attempt in self.ATTEMPTS}
        self.assertEqual(len(set(map(str, answers.values()))), 1, answers)

    def test_the_length_is_the_same_for_names_of_one_length(self):
        lengths = set()
        for name, password in [("nobody-x", PASSWORD), ("disabled", PASSWORD)]:
            visitor = self.visitor()
            visitor.sign_in(name, password)
            lengths.add(len(visitor.response.body))
        self.assertEqual(len(lengths), 1, lengths)


class FullQueue(FrontDoorTest):
    settings = {"password.threads": 1, "password.queue": 2, "password.argon2_memory": "64MiB"}

    def test_a_flood_of_sign_ins_is_503_with_a_time_to_come_back_while_checks_go_on(self):
        name = self.new_user()
        token = self.gatehouse.issue(name)["token"]
        began = time.monotonic()
        self.assertEqual(sign_in(self.gatehouse, name).status, 200)
        alone = time.monotonic() - began
        stop, answers = threading.Event(), []

        def flood():
            while not stop.is_set():
                answers.append(sign_in(self.gatehouse, name))

        crowd = [threading.Thread(target=flood) for _ in range(16)]
        for one in crowd:
            one.start()
        times = []
        try:
            with Wire(self.gatehouse.tcp) as wire:
                end = time.monotonic() + 3
                while time.monotonic() < end:
                    begin = time.monotonic()
                    self.assertEqual(wire.check(token).status, 200)
                    times.append(time.monotonic() - begin)
                    time.sleep(0.002)
        finally:
            stop.set()
            for one in crowd:
                one.join()
        statuses = {answer.status for answer in answers}
        self.assertEqual(statuses, {200, 503})
        for answer in answers:
            if answer.status == 503:
                self.assertGreaterEqual(int(answer.header("retry-after")), 1)
                problem(answer)
        self.assertGreater(len(times), 100)
        # No time is promised here, only that checks don't wait for hashes.
        self.assertLess(sorted(times)[len(times) // 2], alone / 2)
        self.assertEqual(sign_in(self.gatehouse, name).status, 200)

    def test_a_person_is_told_so_on_the_page_and_keeps_what_was_typed(self):
        name = self.new_user()
        visitors = [self.visitor() for _ in range(12)]
        for visitor in visitors:
            visitor.open("/auth/login?return_to=/tea")
        with concurrent.futures.ThreadPoolExecutor(len(visitors)) as crowd:
            list(crowd.map(lambda one: one.submit(
                username=name, password=PASSWORD, follow=False), visitors))
        refused = [one for one in visitors if one.response.status == 503]
        self.assertEqual({one.response.status for one in visitors}, {303, 503})
        for visitor in refused:
            self.assertIsNotNone(visitor.response.header("retry-after"))
            self.assert_refused(visitor.response, 503, "again")
            self.assertEqual(visitor.page.forms[0].fields["username"], name)
            self.assertEqual(visitor.page.forms[0].fields["return_to"], "/tea")
        eventually(lambda: refused[0].submit(
            username=name, password=PASSWORD, follow=False).status == 303, within=10)


class Links(FrontDoorTest):
    """Links that the operator hands out."""

    settings = {"registration": "invite"}

    def target(self, link):
        """The path and query of a printed link."""
        url = urllib.parse.urlsplit(link)
        self.assertEqual(url.scheme, "https")
        return f"{url.path}?{url.query}"

    def invite(self):
        return self.gatehouse.json("users", "invite")

    def test_an_invitation_makes_one_account(self):
        invitation = self.invite()
        self.assertIn(invitation["token"], invitation["link"])
        target = self.target(invitation["link"])
        self.assertTrue(target.startswith("/auth/register?invite="), target)
        visitor = self.visitor()
        # What is refused leaves the invitation as it was.
        visitor.register("heidi", "too short", target)
        self.assert_refused(visitor.response, 422, "short")
        visitor.submit(username="heidi", password=PASSWORD)
        self.assertEqual(visitor.response.status, 200, visitor.response)
        visitor.sign_in("heidi", PASSWORD)
        self.assertIsNotNone(visitor.token)
        response = register(self.gatehouse, "second-guest", invite=invitation["token"])
        self.assertEqual(response.status, 403, response)
        self.assert_refused(self.visitor().open("/auth/register"), 403, "invit")

    def test_an_invitation_is_used_once_however_many_race(self):
        token = self.invite()["token"]
        with concurrent.futures.ThreadPoolExecutor(8) as racers:
            statuses = sorted(racers.map(lambda n: register(
                self.gatehouse, f"racing{n}", invite=token).status, range(8)))
        self.assertEqual(statuses, [201] + [403] * 7)

    def test_without_an_invitation_nobody_registers(self):
        for invite in [{}, {"invite": ""}, {"invite": "A" * 43}]:
            with self.subTest(invite):
                response = register(self.gatehouse, "uninvited", **invite)
                self.assertEqual(response.status, 403, response)
                problem(response)

    def test_a_recovery_link_sets_a_password_once_and_ends_every_session(self):
        register(self.gatehouse, "forgetful", invite=self.invite()["token"])
        session = self.signed_in("forgetful")
        recovery = self.gatehouse.json("users", "recover", "forgetful")
        target = self.target(recovery["link"])
        self.assertTrue(target.startswith("/auth/recover?token="), target)
        visitor = self.visitor()
        visitor.open(target)
        visitor.submit(password="too short")
        self.assert_refused(visitor.response, 422, "short")
        self.assertEqual(self.check(session.token), 200)
        visitor.submit(password="a stormy night at sea")
        self.assertEqual(visitor.response.status, 200, visitor.response)
        self.assertEqual(self.check(session.token), 401)
        self.assertEqual(sign_in(self.gatehouse, "forgetful").status, 401)
        self.assertEqual(sign_in(self.gatehouse, "forgetful", "a stormy night at sea").status, 200)
        self.assertEqual(self.visitor().open(target).status, 403)

    def test_setting_a_password_ends_every_other_recovery_link(self):
        register(self.gatehouse, "twice", invite=self.invite()["token"])
        older, newer = (self.target(self.gatehouse.json("users", "recover", "twice")["link"])
                        for _ in range(2))
        self.assertNotEqual(older, newer)
        visitor = self.visitor()
        visitor.open(newer)
        visitor.submit(password="a stormy night at sea")
        self.assertEqual(visitor.response.status, 200, visitor.response)
        self.assertEqual(self.visitor().open(older).status, 403)

    def test_one_link_is_not_the_other(self):
        invitation = self.invite()["token"]
        self.assertEqual(self.visitor().open(f"/auth/recover?token={invitation}").status, 403)
        register(self.gatehouse, "someone", invite=self.invite()["token"])
        recovery = self.gatehouse.json("users", "recover", "someone")["token"]
        self.assertEqual(register(self.gatehouse, "other", invite=recovery).status, 403)

    def test_nobody_recovers_who_does_not_exist(self):
        self.assertEqual(self.gatehouse.command("users", "recover", "nobody")[0], 1)


class ClosedRegistration(FrontDoorTest):
    settings = {"registration": "closed"}

    def test_nobody_registers_and_the_sign_in_page_does_not_offer_it(self):
        self.assertEqual(register(self.gatehouse, "eve").status, 403)
        visitor = self.visitor()
        self.assert_refused(visitor.open("/auth/register"), 403)
        visitor.open("/auth/login")
        self.assertNotIn("/auth/register", visitor.page.links)
        visitor.post("/auth/register", {**visitor.page.forms[0].fields, "username": "eve",
                                        "password": PASSWORD}, follow=False)
        self.assertEqual(visitor.response.status, 403)
        self.assertEqual(self.gatehouse.json("users", "list")["users"], [])


class OwnTLS(unittest.TestCase):
    """Without a proxy: the front door's own TLS, as --dev has it."""

    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls).start()
        cls.ca = cls.gatehouse.data / "tls/ca.pem"

    def curl(self, *arguments):
        return subprocess.run(
            ["curl", "--silent", "--show-error", "--max-time", "20", "--cacert", self.ca,
             "--write-out", "\n%{http_version} %{http_code}", *arguments,
             "https://localhost:%d/login" % self.gatehouse.front[1]],
            capture_output=True, text=True)

    def test_both_versions_of_http_are_served(self):
        for option, version in [("--http1.1", "1.1"), ("--http2", "2")]:
            with self.subTest(option):
                result = self.curl(option)
                self.assertEqual(result.returncode, 0, result.stderr)
                self.assertEqual(result.stdout.splitlines()[-1], f"{version} 200")
                self.assertIn("<form", result.stdout)

    # Promise: tls
    def test_old_versions_of_tls_are_not(self):
        for option in [["--tls-max", "1.0"], ["--tls-max", "1.1"]]:
            with self.subTest(option):
                result = self.curl("--ciphers", "ALL:@SECLEVEL=0", *option)
                self.assertNotEqual(result.returncode, 0)
        self.assertEqual(self.curl("--tls-max", "1.2").returncode, 0)

    def test_the_key_is_for_its_owner_only_and_the_certificate_stays(self):
        key = self.gatehouse.data / "tls/server.key"
        self.assertEqual(key.stat().st_mode & 0o777, 0o600)
        before = (self.gatehouse.data / "tls/server.pem").read_bytes()
        self.gatehouse.stop()
        self.gatehouse.start()
        self.assertEqual((self.gatehouse.data / "tls/server.pem").read_bytes(), before)

    def test_sign_in_over_http2(self):
        # A program's JSON; forms over HTTP/2 are what the browser's tests send.
        body = json.dumps({"username": "ada", "password": PASSWORD})
        url = "https://localhost:%d" % self.gatehouse.front[1]
        for path, status in [("/v1/register", "201"), ("/v1/login", "200")]:
            result = subprocess.run(
                ["curl", "--silent", "--show-error", "--http2", "--cacert", self.ca, "--output",
                 "/dev/null", "--write-out", "%{http_version} %{http_code}", "--json", body,
                 url + path], capture_output=True, text=True)
            self.assertEqual(result.stdout, f"2 {status}", result.stderr)

    def test_who_says_nothing_does_not_keep_a_place(self):
        # There are only so many connections: silence before the handshake holds none for long.
        with Wire(self.gatehouse.front, timeout=65) as wire:
            self.assertTrue(wire.closed_by_peer(), "still open after 65 s")

    # Promise: tls
    def test_plain_http_gets_no_answer(self):
        with Wire(self.gatehouse.front) as wire, self.assertRaises(OSError):
            wire.request(head("GET /login HTTP/1.1", "Host: localhost"))


class BehindTLS(unittest.TestCase):
    """nginx and the front door with TLS between them too."""

    def test_the_site_is_reached_by_signing_in(self):
        gatehouse = Gatehouse(self, environment={"GATEHOUSE_PUBLIC_BASE_PATH": "/auth"}).start()
        nginx = Nginx(self, gatehouse.tcp, front="https://%s:%d" % gatehouse.front)
        visitor = Visitor(nginx.address[1])
        visitor.register("ada", PASSWORD)
        visitor.open("/")
        visitor.submit(username="ada", password=PASSWORD)
        self.assertIn("Hello, ada.", visitor.response.body.decode())


class BehindAUnixSocket(unittest.TestCase):
    """nginx and the front door on one machine, with no port between them."""

    def test_the_site_is_reached_by_signing_in(self):
        gatehouse = Gatehouse(self, front={"public.trusted_proxies": []})
        path = gatehouse.directory / "front.sock"
        gatehouse.arguments = ["--public", f"unix:{path}"]
        gatehouse.start()
        nginx = Nginx(self, gatehouse.unix, front=f"http://unix:{path}")
        visitor = Visitor(nginx.address[1])
        visitor.register("ada", PASSWORD)
        visitor.open("/")
        visitor.submit(username="ada", password=PASSWORD)
        self.assertIn("Hello, ada.", visitor.response.body.decode())


class NotTheProxy(unittest.TestCase):
    def test_plain_http_is_for_the_named_proxies_only(self):
        gatehouse = Gatehouse(self, front={"public.trusted_proxies": ["127.0.0.9"]}).start()
        response = call(gatehouse.front, "GET", "/auth/login")
        self.assertEqual(response.status, 403, response)
        self.assertNotIn(b"<form", response.body)
        self.assertIn("content-security-policy", dict(response.headers))

    def test_a_stranger_who_resets_the_connection_is_not_taken_for_a_proxy(self):
        gatehouse = Gatehouse(self, front={"public.trusted_proxies": ["127.0.0.9"]}).start()
        for number in range(100):
            body = b'{"username":"reset%d","password":"correct horse battery"}' % number
            connection = socket.create_connection(gatehouse.front)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(
                b"POST /auth/v1/register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n" % len(body) + body)
            connection.close()
        # What was sent before is handled before this, which is asked last.
        self.assertEqual(call(gatehouse.front, "GET", "/auth/login").status, 403)
        self.assertEqual(gatehouse.json("users", "list")["users"], [])

    def test_sign_ins_whose_clients_have_gone_are_not_hashed(self):
        gatehouse = Gatehouse(self, front={"public.trusted_proxies": ["127.0.0.1"]}).start()
        credentials = {"username": "ada", "password": "correct horse battery"}
        self.assertEqual(call(gatehouse.front, "POST", "/auth/v1/register", credentials).status, 201)
        hashed = gatehouse.metric("gatehouse_password_hashes_total")
        body = json.dumps(credentials).encode()
        for _ in range(60):
            connection = socket.create_connection(gatehouse.front)
            connection.sendall(
                b"POST /auth/v1/login HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            connection.close()
        # Whoever is asked last has its turn last: sixty hashes would have been made by then.
        self.assertEqual(call(gatehouse.front, "POST", "/auth/v1/login", credentials).status, 200)
        self.assertLess(gatehouse.metric("gatehouse_password_hashes_total") - hashed, 20)

    def test_head_is_answered_without_a_body(self):
        gatehouse = Gatehouse(self, front={"public.trusted_proxies": ["127.0.0.1"]}).start()
        connection = socket.create_connection(gatehouse.front)
        self.addCleanup(connection.close)
        connection.sendall(
            b"HEAD /auth/login HTTP/1.1\r\nHost: localhost\r\n\r\n"
            b"GET /auth/style.css HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        received = b""
        while part := connection.recv(65536):
            received += part
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 2, received)
        self.assertNotIn(b"<!doctype", received)
        self.assertIn(b"font:", received)

    def test_plain_http_without_a_named_proxy_does_not_start(self):
        gatehouse = Gatehouse(self, front={"public.trusted_proxies": []})
        self.assertEqual(gatehouse.spawn().exit_code(), 3, gatehouse.logged())
        self.assertIn("trusted_proxies", gatehouse.logged())

    # Promise: tls
    def test_outside_development_the_development_certificate_is_refused(self):
        gatehouse = Gatehouse(self).start()
        gatehouse.stop()
        result = subprocess.run(
            [BINARY, "serve", "--data-dir", gatehouse.data, "--public", "127.0.0.1:%d" % free_port(),
             "--check", "127.0.0.1:%d" % free_port(), "--admin", "127.0.0.1:%d" % free_port()],
            env={"GATEHOUSE_PUBLIC_ORIGIN": "https://localhost"}, capture_output=True, text=True,
            timeout=20)
        self.assertEqual(result.returncode, 3, result.stderr)
        self.assertIn("development certificate", result.stderr)

    def test_outside_development_an_origin_is_needed(self):
        gatehouse = Gatehouse(self, dev=False, front={})
        gatehouse.arguments += ["--public", "%s:%d" % gatehouse.front]
        gatehouse.ok("keys", "init")
        self.assertEqual(gatehouse.spawn().exit_code(), 3, gatehouse.logged())
        self.assertIn("public.origin", gatehouse.logged())
