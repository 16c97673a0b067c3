# A real nginx with the shipped configuration in front of a site, over TCP and over the Unix socket.

import itertools
import json
import unittest

from harness import REVOCATION_SECONDS, Gatehouse, Nginx, after
from visitor import Cookie, Visitor, confirm
from wire import COOKIE, IDENTITY, EchoSite, ScriptedCheck, check_head, cookie, eventually, head

PASSWORD = "a fine day for sailing"


class NginxTests:
    """One body of tests; the two classes below say how nginx reaches Gatehouse."""

    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls).start()
        cls.user = cls.gatehouse.add_user("ada")
        cls.site = EchoSite()
        after(cls, cls.site.stop)
        check = cls.check_address()
        cls.greeting = Nginx(cls, check)
        cls.echo = Nginx(cls, check, site=cls.site.address)

    def setUp(self):
        self.session = self.gatehouse.issue("ada")
        self.token = self.session["token"]

    def echoed(self, *lines, method="GET", body=b"", token=None):
        """Sends a request with a good cookie through nginx: what the site received."""
        with self.echo.wire() as wire:
            response = wire.request(head(
                f"{method} /page?q=1 HTTP/1.1", "Host: localhost",
                cookie(token or self.token), *lines) + body)
        self.assertEqual(response.status, 200, response)
        return json.loads(response.body)

    def assert_no_site(self, status, request):
        """nginx answers `status`, and the site has not been asked."""
        before = self.site.requests
        with self.echo.wire() as wire:
            response = wire.request(request)
        self.assertEqual(response.status, status, response)
        self.assertEqual(self.site.requests, before, "the site was asked")
        return response

    # The story.

    def test_greets_by_name_with_the_cookie_and_refuses_without_it(self):
        status, body = self.greeting.curl(cookie=self.token)
        self.assertEqual(status, 200)
        self.assertIn("Hello, ada.", body)
        status, body = self.greeting.curl()
        self.assertEqual(status, 401)
        self.assertIn("Please sign in", body)
        self.assertNotIn("Hello", body)

    def test_refuses_the_next_request_after_a_revocation_that_waited(self):
        self.assertEqual(self.greeting.curl(cookie=self.token)[0], 200)
        self.gatehouse.ok("sessions", "revoke", self.session["session"], "--wait")
        self.assertEqual(self.greeting.curl(cookie=self.token)[0], 401)

    def test_refuses_within_a_second_after_a_revocation_that_did_not_wait(self):
        self.assertEqual(self.greeting.curl(cookie=self.token)[0], 200)
        self.gatehouse.ok("sessions", "revoke", self.session["session"])
        eventually(lambda: self.greeting.curl(cookie=self.token)[0] == 401, REVOCATION_SECONDS)

    def test_two_session_cookies_are_refused_in_one_header_and_in_two(self):
        other = self.gatehouse.issue("ada")["token"]
        self.assert_no_site(401, check_head(self.token, other, target="/"))
        self.assert_no_site(401, head(
            "GET / HTTP/1.1", "Host: localhost", cookie(self.token), cookie(other)))

    def test_a_refusal_is_a_page_that_no_cache_keeps(self):
        response = self.assert_no_site(401, check_head(target="/"))
        self.assertTrue(response.header("content-type").startswith("text/html"))
        self.assertEqual(response.header("cache-control"), "no-store")
        self.assertNotIn("basic", response.header("www-authenticate").lower())

    def test_no_cache_keeps_what_only_signed_in_people_see(self):
        self.addCleanup(self.site.extra.clear)
        for said in [[], [("Cache-Control", "public, max-age=600"),
                          ("Expires", "Tue, 01 Jan 2030 00:00:00 GMT")]]:
            with self.subTest(said):
                self.site.extra[:] = said
                with self.echo.wire() as wire:
                    response = wire.request(check_head(self.token, target="/"))
                self.assertEqual(response.status, 200)
                self.assertEqual(response.header("cache-control"), "private, no-store")
                self.assertIsNone(response.header("expires"))
                # The cookie is young.
                self.assertIsNone(response.header("set-cookie"))

    # Identity headers.

    def test_the_site_sees_who_it_is(self):
        headers = {name.lower(): value for name, value in self.echoed()["headers"]}
        self.assertEqual(headers["x-auth-user"], self.user["id"])
        self.assertEqual(headers["x-auth-username"], "ada")
        self.assertEqual(headers["x-auth-session"], self.session["session"])
        self.assertTrue(headers["x-auth-time"].isdigit())
        self.assertIn(headers["x-auth-level"], ["1", "2", "3"])

    def test_forged_identity_headers_never_reach_the_site(self):
        genuine = [pair for pair in self.echoed()["headers"] if "auth" in pair[0].lower()]
        for name in IDENTITY:
            # x-auth-user, X-AUTH-USER, X-Auth-User, and `_` or `.` in place of each `-`.
            words = name.split("-")
            forged = [name, name.upper(), name.title(), name.title()]
            forged += ["".join(itertools.chain(*zip(words, [*separators, ""])))
                       for separators in itertools.product("-_.", repeat=2)]
            lines = [f"{alias}: forged-{i}" for i, alias in enumerate(forged)]
            lines += [f"{name}:", f"Connection: keep-alive, {name}"]
            with self.subTest(name=name):
                seen = self.echoed(*lines)["headers"]
                self.assertNotIn("forged", json.dumps(seen))
                self.assertEqual([pair for pair in seen if "auth" in pair[0].lower()], genuine)

    def test_an_identity_header_in_a_broken_line_never_reaches_the_site(self):
        for line in ["X-Auth-User : forged", " X-Auth-User: forged", "X-Auth-User\t: forged",
                     "X-Auth-User\0: forged"]:
            with self.subTest(line=line):
                self.assert_no_site(400, head(
                    "GET / HTTP/1.1", "Host: localhost", cookie(self.token), line))

    def test_forged_identity_headers_open_nothing(self):
        self.assert_no_site(401, head(
            "GET / HTTP/1.1", "Host: localhost", *(f"{name}: forged" for name in IDENTITY)))

    def test_nobody_can_ask_the_check_location_from_outside(self):
        self.assert_no_site(404, check_head(self.token, target="/_gatehouse/check"))

    def test_other_spellings_of_the_check_location_are_protected_like_any_page(self):
        for target in ["/_gatehouse/check/", "/_gatehouse/check,optional", "/_gatehouse//checks",
                       "/x/..;/_gatehouse/check", "/%2e%2e/"]:
            with self.subTest(target=target), self.echo.wire() as wire:
                response = wire.check(target=target)
                self.assertIn(response.status, [400, 401, 404], response)

    # Requests of every kind.

    def test_cookies_reach_the_site_as_they_were(self):
        seen = self.echoed("Cookie: theme=dark")["headers"]
        cookies = "; ".join(value for name, value in seen if name.lower() == "cookie")
        self.assertIn("theme=dark", cookies)
        self.assertIn(self.token, cookies)

    def test_a_body_reaches_the_site(self):
        body = b"name=value&" * 10_000
        seen = self.echoed(f"Content-Length: {len(body)}", method="POST", body=body)
        self.assertEqual((seen["method"], seen["target"]), ("POST", "/page?q=1"))
        self.assertEqual(seen["body"], body.decode())

    def test_a_chunked_body_reaches_the_site(self):
        seen = self.echoed("Transfer-Encoding: chunked", method="PUT",
                           body=b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        self.assertEqual((seen["method"], seen["body"]), ("PUT", "hello world"))

    def test_a_body_without_a_session_is_refused(self):
        self.assert_no_site(401, head(
            "POST / HTTP/1.1", "Host: localhost", "Content-Length: 4") + b"body")
        self.assert_no_site(401, head(
            "POST / HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked")
            + b"4\r\nbody\r\n0\r\n\r\n")

    def test_what_a_client_may_send_does_not_confuse_the_check(self):
        for lines in [["If-None-Match: *"], ["If-Match: *"], ["Range: bytes=0-1"],
                      ["If-Modified-Since: Mon, 01 Jan 2035 00:00:00 GMT"], ["TE: trailers"],
                      ["Upgrade: websocket", "Connection: Upgrade"], ["Accept-Encoding: gzip"],
                      ["X-Forwarded-Host: evil.example", "X-Forwarded-Uri: /public"],
                      ["X-Original-URL: /public", "X-Rewrite-URL: /public"],
                      [f"X-Header-{i}: value" for i in range(90)],
                      [f"X-Large-{i}: {'x' * 7000}" for i in range(3)]]:
            with self.subTest(lines[0]):
                self.echoed(*lines)
                self.assert_no_site(401, head("GET / HTTP/1.1", "Host: localhost", *lines))

    def test_checks_of_many_clients_share_few_connections(self):
        accepted = 'gatehouse_check_connections_total{event="accepted"}'
        before = self.gatehouse.metric(accepted)
        for _ in range(100):
            self.echoed()
        # One worker, one request at a time: one connection, and one for a retry.
        self.assertLessEqual(self.gatehouse.metric(accepted) - before, 2)

    # When Gatehouse can't answer.

    def test_nothing_passes_while_gatehouse_is_down_and_all_is_well_when_it_is_back(self):
        self.echoed()
        self.gatehouse.kill()
        self.assert_no_site(500, check_head(self.token, target="/"))
        self.gatehouse.start()
        self.echoed()


class NginxOverTCP(NginxTests, unittest.TestCase):
    @classmethod
    def check_address(cls):
        return cls.gatehouse.tcp


class NginxOverUnixSocket(NginxTests, unittest.TestCase):
    @classmethod
    def check_address(cls):
        return cls.gatehouse.unix


class NginxBeforeAnyCheck(unittest.TestCase):
    """The shipped configuration before a check endpoint that says what we want it to say."""

    def through(self, answer, *requests):
        """The answers to the requests, and the check endpoint that nginx asked about them."""
        check = ScriptedCheck(answer)
        self.addCleanup(check.stop)
        nginx = Nginx(self, ("127.0.0.1", check.port))
        responses = []
        for request in requests:
            with nginx.wire() as wire:
                responses.append(wire.request(request))
        return responses, check

    GOOD = b"HTTP/1.1 200 OK\r\nx-auth-username: ada\r\ncontent-length: 0\r\n\r\n"

    def test_connections_to_the_check_endpoint_are_kept(self):
        responses, check = self.through(self.GOOD, *[check_head("t", target="/")] * 50)
        self.assertEqual([response.status for response in responses], [200] * 50)
        self.assertEqual((len(check.heads), check.accepted), (50, 1))

    def test_the_check_gets_the_cookies_and_nothing_else(self):
        (response,), check = self.through(self.GOOD, head(
            "POST /page?q=1 HTTP/1.1", "Host: localhost", "Cookie: a=1", "Cookie: b=2",
            "Content-Length: 4", "Expect: 100-continue", "X-Auth-User: forged", "Range: bytes=0-1",
            "Authorization: Basic eDp5", "X-Other: 1") + b"body")
        self.assertEqual(response.status, 200)
        [[line, *headers]] = check.heads
        self.assertEqual(line, "GET /check,renew HTTP/1.1")
        self.assertEqual(sorted(headers), ["Cookie: a=1; b=2", "Host: gatehouse"])

    def test_each_kind_of_page_has_its_own_question(self):
        _, check = self.through(self.GOOD, *[
            check_head("t", target=target) for target in ["/", "/settings/", "/public/", "/vault/"]])
        self.assertEqual([lines[0].split()[1] for lines in check.heads], [
            "/check,renew", "/check,renew,fresh=300,level=2", "/check,renew,optional",
            "/check,level=3"])

    def test_the_check_learns_whether_a_document_is_asked_for_and_no_more(self):
        said = ["document", "image", "empty", "iframe", "documents", "x" * 5000]
        _, check = self.through(self.GOOD, *[
            head("GET / HTTP/1.1", "Host: localhost", f"Sec-Fetch-Dest: {destination}")
            for destination in said])
        self.assertEqual(
            [line for lines in check.heads for line in lines if line.startswith("Sec-")],
            [f"Sec-Fetch-Dest: {destination}" for destination in ["document"] + ["other"] * 5])

    def test_a_question_that_is_misspelt_asks_nobody_and_is_a_500(self):
        site, check = EchoSite(), ScriptedCheck(self.GOOD)
        self.addCleanup(site.stop)
        self.addCleanup(check.stop)
        nginx = Nginx(self, ("127.0.0.1", check.port), site=site.address, changes={
            "location = /_gatehouse/check {": "location = /_gatehouse/chekc {"})
        with nginx.wire() as wire:
            self.assertEqual(wire.check("t", target="/").status, 500)
        self.assertEqual((site.requests, check.heads), (0, []))

    def test_any_other_answer_of_the_check_endpoint_is_a_500(self):
        for answer in [b"HTTP/1.1 503 Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n",
                       b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n",
                       b"HTTP/1.1 431 Too Large\r\ncontent-length: 0\r\n\r\n",
                       b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
                       b"HTTP/1.1 304 Not Modified\r\n\r\n",
                       b"garbage\r\n\r\n"]:
            with self.subTest(answer=answer):
                (response,), _ = self.through(answer, check_head("t", target="/"))
                self.assertEqual(response.status, 500)

    def test_a_check_endpoint_that_never_answers_is_a_500_soon(self):
        (response,), check = self.through(None, check_head("t", target="/"))
        self.assertEqual(response.status, 500)
        self.assertGreaterEqual(check.accepted, 1)


class NginxBeforeTheFrontDoor(unittest.TestCase):
    """What the shipped configuration gives the front door, and whom it sends there."""

    def setUp(self):
        self.front, self.site = EchoSite(), EchoSite()
        self.addCleanup(self.front.stop)
        self.addCleanup(self.site.stop)
        check = ScriptedCheck(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
        self.addCleanup(check.stop)
        self.check = check
        self.nginx = Nginx(self, ("127.0.0.1", check.port), site=self.site.address,
                           front=f"http://{self.front.address}")

    def ask(self, *lines, body=b""):
        with self.nginx.wire() as wire:
            return wire.request(head(*lines) + body)

    def passed(self, *lines, body=b""):
        """What the front door received."""
        response = self.ask(*lines, body=body)
        self.assertEqual(response.status, 200, response)
        seen = json.loads(response.body)
        seen["headers"] = [(name.lower(), value) for name, value in seen["headers"]]
        return seen

    def test_everything_below_its_path_passes_without_a_check(self):
        for target in ["/auth/login", "/auth/", "/auth/v1/session?x=%2F", "/auth/%6cogin"]:
            with self.subTest(target):
                self.assertEqual(self.passed(f"GET {target} HTTP/1.1", "Host: localhost")["target"],
                                 target)
        self.assertEqual(self.check.heads, [])
        self.assertEqual(self.site.requests, 0)

    def test_nothing_beside_its_path_passes(self):
        for target in ["/authx", "/auth/../secret", "/auth/%2e%2e/secret", "/AUTH/login",
                       "//auth/../secret"]:
            with self.subTest(target):
                response = self.ask(f"GET {target} HTTP/1.1", "Host: localhost")
                self.assertIn(response.status, [301, 302, 400], response)
        self.assertEqual(self.front.requests + self.site.requests, 0)

    def test_host_and_address_are_what_nginx_saw(self):
        headers = self.passed(
            "GET /auth/login HTTP/1.1", "Host: LocalHost:9443", "X-Forwarded-For: 192.0.2.1",
            "x-forwarded-for: 192.0.2.2", "Forwarded: for=192.0.2.3;host=evil.example",
            "Cookie: a=1", "Cookie: b=2")["headers"]
        values = {name: [v for n, v in headers if n == name] for name, _ in headers}
        self.assertEqual(values["host"], ["LocalHost:9443"])
        self.assertEqual(values["x-forwarded-for"], ["127.0.0.1"])
        self.assertNotIn("forwarded", values)
        self.assertEqual(values["cookie"], ["a=1; b=2"])

    def test_bodies_pass_up_to_a_limit_and_touch_no_disk(self):
        for size, status in [(16 * 1024, 200), (64 * 1024, 200), (64 * 1024 + 1, 413)]:
            with self.subTest(size):
                response = self.ask(
                    "POST /auth/login HTTP/1.1", "Host: localhost", f"Content-Length: {size}",
                    body=b"x" * size)
                self.assertEqual(response.status, status)
        # nginx would have said that it buffered to a temporary file.
        self.assertNotIn("temporary file", self.nginx.errors())

    def test_people_who_open_a_page_are_sent_to_the_sign_in_page(self):
        for lines in [[], ["Sec-Fetch-Mode: navigate"]]:
            for target in ["/", "/tea?a=1&b=%2F", "//elsewhere.example/"]:
                with self.subTest(lines=lines, target=target):
                    response = self.ask(f"GET {target} HTTP/1.1", "Host: evil.example", *lines)
                    self.assertEqual(response.status, 302)
                    self.assertEqual(response.header("location"),
                                     f"/auth/resume?return_to={target}")
                    self.assertEqual(response.header("cache-control"), "no-store")
        self.assertEqual(self.front.requests + self.site.requests, 0)

    def test_a_403_that_is_not_about_the_session_leads_nowhere(self):
        self.check.answer = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n"
        self.assertEqual(self.ask("GET /settings/ HTTP/1.1", "Host: localhost").status, 403)
        for reason in [b"stale", b"level"]:
            self.check.answer = (b"HTTP/1.1 403 Forbidden\r\nx-auth-reason: %s\r\n"
                                 b"content-length: 0\r\n\r\n" % reason)
            self.assertEqual(self.ask("GET /settings/ HTTP/1.1", "Host: localhost").status, 302)

    def test_a_demand_that_no_password_meets_leads_nowhere(self):
        for reason in [b"stale", b"level"]:
            self.check.answer = (b"HTTP/1.1 403 Forbidden\r\nx-auth-reason: %s\r\n"
                                 b"content-length: 0\r\n\r\n" % reason)
            for demand, status in [
                    ("fresh=300,level=2", 302), ("level=2,fresh=60", 302), ("level=1", 302),
                    ("fresh=5", 302), ("level=3", 403), ("fresh=300,level=3", 403),
                    ("level=3,fresh=300", 403), ("level=23", 403)]:
                nginx = Nginx(self, ("127.0.0.1", self.check.port), site=self.site.address,
                              front=f"http://{self.front.address}",
                              changes={"fresh=300,level=2;": demand + ";"})
                with self.subTest(demand=demand, reason=reason), nginx.wire() as wire:
                    response = wire.request(head(
                        "GET /settings/ HTTP/1.1", "Host: localhost", "Sec-Fetch-Mode: navigate"))
                    self.assertEqual(response.status, status, response)
                nginx.stop()
        # Nor does one that does not say what it demanded.
        nginx = Nginx(self, ("127.0.0.1", self.check.port), site=self.site.address,
                      front=f"http://{self.front.address}",
                      changes={"    set $gatehouse_demand fresh=300,level=2;\n": "",
                               "renew,$gatehouse_demand": "renew,fresh=300,level=2"})
        with nginx.wire() as wire:
            response = wire.request(head("GET /settings/ HTTP/1.1", "Host: localhost"))
        self.assertEqual(response.status, 403)

    def test_where_passwords_are_changed_is_at_its_well_known_place(self):
        for method in ["GET", "HEAD"]:
            with self.nginx.wire() as wire:
                wire.send(head(f"{method} /.well-known/change-password HTTP/1.1",
                               "Host: evil.example"))
                response = wire.receive(method == "HEAD")
            self.assertEqual(response.status, 303)
            self.assertEqual(response.header("location"), "/auth/account/password")
        self.assertEqual(self.check.heads, [])

    def test_others_are_told_401(self):
        for method, lines in [("POST", ["Sec-Fetch-Mode: navigate", "Content-Length: 0"]),
                              ("POST", ["Content-Length: 0"]), ("PUT", ["Content-Length: 0"]),
                              ("GET", ["Sec-Fetch-Mode: cors"]), ("OPTIONS", []),
                              ("GET", ["Sec-Fetch-Mode: no-cors"])]:
            with self.subTest(method=method, lines=lines):
                response = self.ask(f"{method} / HTTP/1.1", "Host: localhost", *lines)
                self.assertEqual(response.status, 401, response)
                self.assertEqual(response.header("cache-control"), "no-store")
                self.assertIsNone(response.header("location"))
        self.assertEqual(self.front.requests + self.site.requests, 0)


class Options(unittest.TestCase):
    """What the shipped configuration makes of the check's options, with the front door beside it."""

    IMAGE = "Sec-Fetch-Dest: image"
    NAVIGATION = "Sec-Fetch-Mode: navigate"

    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls, front={"session.reseal": "1s"}).start()
        cls.gatehouse.add_user("ada")
        cls.site = EchoSite()
        after(cls, cls.site.stop)
        cls.nginx = cls.before_gatehouse()
        cls.session = cls.gatehouse.issue("ada")
        cls.token = cls.session["token"]
        # From here on each document that it is shown for renews it.
        eventually(lambda: "set-cookie" in dict(
            cls.ask("/", cookie(cls.token)).headers), within=5)

    @classmethod
    def before_gatehouse(cls, **options):
        return Nginx(cls, cls.gatehouse.tcp, site=cls.site.address,
                     front="http://%s:%d" % cls.gatehouse.front, **options)

    def setUp(self):
        self.addCleanup(self.site.extra.clear)
        self.addCleanup(setattr, self.site, "status", 200)

    @classmethod
    def ask(cls, target, *lines, method="GET", nginx=None):
        with (nginx or cls.nginx).wire() as wire:
            wire.send(head(f"{method} {target} HTTP/1.1", "Host: localhost", *lines))
            return wire.receive(method == "HEAD")

    def seen(self, target, *lines):
        """The identity headers that the site saw."""
        response = self.ask(target, *lines)
        self.assertEqual(response.status, 200, response)
        seen = {name.lower(): value for name, value in json.loads(response.body)["headers"]}
        return {name: value for name, value in seen.items() if name in IDENTITY}

    def values(self, response, wanted):
        return [value for name, value in response.headers if name == wanted]

    def assert_renewed(self, response):
        """It sets the session's cookie, and no cache keeps it: the new token."""
        cookies = [Cookie(value) for value in self.values(response, "set-cookie")]
        [renewed] = [one for one in cookies if one.name == COOKIE]
        self.assertEqual(self.values(response, "cache-control"), ["private, no-store"], response)
        self.assertEqual(self.values(response, "expires"), [])
        return renewed

    # renew

    def test_a_document_brings_another_token_of_the_same_session(self):
        for lines in [[], ["Sec-Fetch-Dest: document"]]:
            with self.subTest(lines):
                renewed = self.assert_renewed(self.ask("/page", cookie(self.token), *lines))
                self.assertEqual(renewed.attributes, {
                    "path": "/", "secure": "", "httponly": "", "samesite": "Lax"})
                self.assertNotEqual(renewed.value, self.token)
                self.assertEqual(
                    self.seen("/page", cookie(renewed.value))["x-auth-session"],
                    self.session["session"])
                # And the one before goes on being good.
                self.assertEqual(self.gatehouse.check(self.token).status, 200)

    def test_what_is_no_document_brings_none(self):
        for destination in ["image", "script", "style", "empty", "iframe", "font"]:
            with self.subTest(destination):
                response = self.ask("/a", cookie(self.token), f"Sec-Fetch-Dest: {destination}")
                self.assertEqual(response.status, 200)
                self.assertEqual(self.values(response, "set-cookie"), [])

    def test_nobody_brings_none(self):
        for lines in [[], [cookie("forged")]]:
            self.assertEqual(self.values(self.ask("/page", *lines), "set-cookie"), [])

    def test_every_answer_that_brings_a_token_is_for_no_cache_and_the_sites_cookies_stay(self):
        self.site.extra[:] = [
            ("Cache-Control", "public, max-age=600"), ("Set-Cookie", "theme=dark"),
            ("Expires", "Tue, 01 Jan 2030 00:00:00 GMT"), ("Set-Cookie", "size=2"),
            ("ETag", '"1"')]
        for target in ["/page", "/public/page"]:
            for status in [200, 201, 206, 301, 304, 403, 404, 500]:
                for method in ["GET", "HEAD"]:
                    with self.subTest(target=target, status=status, method=method):
                        self.site.status = status
                        response = self.ask(
                            target, cookie(self.token), 'If-None-Match: "1"', method=method)
                        self.assertEqual(response.status, status)
                        self.assert_renewed(response)
                        names = {Cookie(value).name
                                 for value in self.values(response, "set-cookie")}
                        self.assertEqual(names, {COOKIE, "theme", "size"})

    def test_a_revoked_session_is_not_renewed(self):
        session = self.gatehouse.issue("ada")
        eventually(lambda: self.values(
            self.ask("/", cookie(session["token"])), "set-cookie"), within=5)
        self.gatehouse.ok("sessions", "revoke", session["session"], "--wait")
        for target in ["/", "/public/", "/settings/"]:
            response = self.ask(target, cookie(session["token"]))
            self.assertEqual(self.values(response, "set-cookie"), [], target)

    # optional

    def test_a_public_page_knows_somebody_and_nobody(self):
        self.assertEqual(self.seen("/public/", cookie(self.token))["x-auth-username"], "ada")
        other = self.gatehouse.issue("ada")
        self.gatehouse.ok("sessions", "revoke", other["session"], "--wait")
        for lines in [[], [cookie("forged")], [cookie(other["token"])],
                      [cookie(self.token, self.token)]]:
            forged = [f"{name}: forged" for name in IDENTITY]
            self.assertEqual(self.seen("/public/", *lines, *forged), {}, lines)

    def test_a_public_page_is_cached_as_the_site_says_when_no_token_goes_with_it(self):
        for said in [[], [("Cache-Control", "public, max-age=600"),
                          ("Expires", "Tue, 01 Jan 2030 00:00:00 GMT")],
                     [("Cache-Control", "max-age=5, must-revalidate")]]:
            for lines in [[], [cookie("forged")], [cookie(self.token), self.IMAGE]]:
                for status in [200, 304, 404]:
                    with self.subTest(said=said, lines=lines, status=status):
                        self.site.extra[:] = said
                        self.site.status = status
                        response = self.ask("/public/", *lines)
                        self.assertEqual(response.status, status)
                        for name in ["Cache-Control", "Expires"]:
                            self.assertEqual(self.values(response, name.lower()),
                                             [v for n, v in said if n == name])

    # fresh and level

    def assert_sent(self, response, page, target):
        self.assertEqual(response.status, 302, response)
        self.assertEqual(response.header("location"), f"/auth/{page}?return_to={target}")
        self.assertEqual(response.header("cache-control"), "no-store")

    def test_a_sensitive_page_takes_a_password(self):
        before = self.site.requests
        self.assert_sent(
            self.ask("/settings/mail?x=1", cookie(self.token), self.NAVIGATION),
            "confirm", "/settings/mail?x=1")
        self.assert_sent(self.ask("/settings/"), "resume", "/settings/")
        for method, lines in [("GET", ["Sec-Fetch-Mode: cors"]), ("POST", ["Content-Length: 0"]),
                              ("POST", ["Content-Length: 0", self.NAVIGATION])]:
            response = self.ask("/settings/", cookie(self.token), *lines, method=method)
            self.assertEqual(response.status, 403, response)
            self.assertIsNone(response.header("location"))
        self.assertEqual(self.site.requests, before, "the site was asked")

        visitor = Visitor(self.nginx.address[1])
        visitor.register("grace", PASSWORD)
        visitor.open("/settings/mail?x=1")
        visitor.submit(username="grace", password=PASSWORD)
        self.assertEqual(visitor.response.status, 200)
        seen = json.loads(visitor.response.body)
        self.assertEqual(seen["target"], "/settings/mail?x=1")
        self.assertEqual(dict(seen["headers"])["X-Auth-Level"], "2")

    def test_a_sensitive_page_takes_a_fresh_password(self):
        nginx = self.before_gatehouse(changes={"fresh=300": "fresh=1"})
        visitor = Visitor(nginx.address[1])
        visitor.register("alan", PASSWORD)
        visitor.sign_in("alan", PASSWORD, target="/auth/login?return_to=/settings/")
        stale = visitor.token
        eventually(lambda: self.ask(
            "/settings/", cookie(stale), nginx=nginx).status == 302, within=5)
        # Good everywhere else, and good enough where five minutes are.
        self.assertEqual(self.ask("/page", cookie(stale), nginx=nginx).status, 200)
        self.assertEqual(self.ask("/settings/", cookie(stale)).status, 200)
        # The way there and back.
        visitor.open("/settings/")
        self.assertEqual(visitor.target, "/auth/confirm?return_to=/settings/")
        confirm(visitor, PASSWORD)
        self.assertEqual(visitor.response.status, 200)
        self.assertEqual(visitor.target, "/settings/")
        self.assertEqual(self.gatehouse.check(stale).status, 401)

    def test_what_no_password_opens_says_so_and_leads_in_no_circle(self):
        visitor = Visitor(self.nginx.address[1])
        visitor.register("emmy", PASSWORD)
        visitor.sign_in("emmy", PASSWORD, target="/auth/login?return_to=/vault/")
        self.assertEqual((visitor.response.status, visitor.target), (403, "/vault/"))
        self.assert_sent(self.ask("/vault/"), "resume", "/vault/")

    def test_the_sites_own_403_is_the_sites(self):
        self.site.status = 403
        visitor = Visitor(self.nginx.address[1])
        visitor.register("mary", PASSWORD)
        visitor.sign_in("mary", PASSWORD, target="/auth/login?return_to=/settings/")
        self.assertEqual(visitor.response.status, 403)
        self.assertEqual(json.loads(visitor.response.body)["target"], "/settings/")
