# The options of a check on a real server: TCP and Unix sockets, both drivers, and TLS.

import json
import unittest

from harness import Gatehouse, check_tls, tls
from visitor import Cookie, call
from wire import COOKIE, IDENTITY, Wire, cookie, eventually, head

PASSWORD = "a fine day for sailing"
NAVIGATION = "Sec-Fetch-Mode: navigate"
FORWARDED = ["X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example.org",
             "X-Forwarded-Uri: /tea?with=milk&x=%2F"]
WAY_BACK = "https%3A%2F%2Fshop.example.org%2Ftea%3Fwith%3Dmilk%26x%3D%252F"

# What a client may have chosen, behind the check that its proxy chose.
HOSTILE = ["/", "?", "/,optional", "?,optional", "?optional", "/x,optional", "/,level=1", "/,fresh=9999",
           "/check,optional", "/../check,optional", "/%2e%2e/check,optional", "/..;/check,optional",
           "//check,optional", "/%2Coptional", "/%2C,renew,optional", "?/check,optional",
           "?x=1,optional/,optional", "/,optional?,optional", "/" + "x" * 3000 + ",optional",
           "/\\,optional", "/;,optional", "/,renew", "?,renew", "/,forward", "/,bearer", "/,passive"]

MALFORMED = [
    ",", ",,", ",fresh=300,", ",,level=2", ",unknown", ",Passive", ",PASSIVE", ",passive=1",
    ",optional=", ",renew=0", ",bearer;", ",forward=1", ",passive,passive", ",renew,optional,renew",
    ",fresh=1,fresh=1", ",level=1,level=2", ",fresh", ",fresh=", ",fresh=0", ",fresh=-1", ",fresh=+1",
    ",fresh=01", ",fresh=1.5", ",fresh=1e3", ",fresh=0x10", ",fresh=300s", ",fresh=2592001",
    ",fresh=99999999999999999999", ",level", ",level=", ",level=0", ",level=4", ",level=02",
    ",level=2x", ",level:2", ",fresh=300;level=2", ",fresh=300&level=2", "%2Cfresh=300",
    ",%66resh=300", ",fresh%3D300", ",fresh=300%2Clevel=2", ";level=2", "level=2", "#,level=2",
    ",level=2#", ",levels=2", ",optional\\", ",optional:/"]


class OptionTests:
    """One body of tests; the classes below say over which socket and by which driver."""

    settings = {}
    tls = None

    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls, front={
            "session.reseal": "1s", "check.trusted_proxies": ["127.0.0.1"], **cls.settings}).start()
        cls.gatehouse.add_user("ada")
        cls.issued = cls.gatehouse.issue("ada")["token"]  # level 1
        cls.bearer = cls.gatehouse.issue("ada", "--bearer")["token"]
        person = {"username": "grace", "password": PASSWORD}
        response = call(cls.gatehouse.front, "POST", "/auth/v1/register", person)
        assert response.status == 201, response
        response = call(cls.gatehouse.front, "POST", "/auth/v1/login",
                        {**person, "transport": "bearer"})
        cls.proved = json.loads(response.body)["token"]  # level 2
        # From here on `renew` renews the issued session, and the proof of the other is a second old.
        eventually(lambda: cls.ask(",renew", cookie(cls.issued)).header("set-cookie"), within=5)
        eventually(lambda: cls.ask(
            ",bearer,fresh=1", f"Authorization: Bearer {cls.proved}").status == 403, within=5)

    @classmethod
    def wire(cls):
        return Wire(cls.address(cls.gatehouse), tls=cls.tls and cls.tls())

    @classmethod
    def ask(cls, options, *lines):
        with cls.wire() as wire:
            return wire.request(head(f"GET /check{options} HTTP/1.1", "Host: gatehouse", *lines))

    def assert_answer(self, response, status, reason=""):
        """This status for this reason; nobody's identity unless it is 200 for somebody."""
        self.assertEqual((response.status, response.header("x-auth-reason")), (status, reason),
                         response)
        self.assertEqual([n for n, _ in response.headers if n in IDENTITY], IDENTITY, response)
        self.assertEqual(response.header("cache-control"), "no-store")
        if status != 200:
            for name in IDENTITY[:-1]:
                self.assertEqual(response.header(name), "", response)

    def assert_nobody(self, response):
        self.assert_answer(response, 200)
        for name in IDENTITY:
            self.assertEqual(response.header(name), "", response)

    def assert_somebody(self, response, name):
        self.assert_answer(response, 200)
        self.assertEqual(response.header("x-auth-username"), name)

    # Every option.

    def test_level(self):
        for level, issued, proved in [(1, 200, 200), (2, 403, 200), (3, 403, 403)]:
            with self.subTest(level):
                response = self.ask(f",level={level}", cookie(self.issued))
                self.assert_answer(response, issued, "" if issued == 200 else "level")
                response = self.ask(
                    f",bearer,level={level}", f"Authorization: Bearer {self.proved}")
                self.assert_answer(response, proved, "" if proved == 200 else "level")
        self.assert_answer(self.ask(",level=2"), 401, "absent")

    def test_fresh(self):
        proof = f"Authorization: Bearer {self.proved}"
        self.assert_somebody(self.ask(",bearer,fresh=300", proof), "grace")
        self.assert_somebody(self.ask(",bearer,fresh=2592000", proof), "grace")
        self.assert_answer(self.ask(",bearer,fresh=1", proof), 403, "stale")
        # Nobody proved anything in a session that was issued, however young.
        young = cookie(self.gatehouse.issue("ada")["token"])
        self.assert_answer(self.ask(",fresh=300", young), 403, "stale")
        self.assert_answer(self.ask(",fresh=300,level=2", young), 403, "level")
        self.assert_answer(self.ask(",fresh=300", cookie("forged")), 401, "invalid")

    def test_bearer(self):
        self.assert_somebody(self.ask(",bearer", f"Authorization: Bearer {self.bearer}"), "ada")
        self.assert_somebody(self.ask(
            ",bearer", f"Authorization: bearer {self.bearer}", cookie("forged")), "ada")
        # Each transport takes its own tokens only, and looks in its own place only.
        self.assert_answer(
            self.ask(",bearer", f"Authorization: Bearer {self.issued}"), 401, "invalid")
        self.assert_answer(self.ask("", cookie(self.bearer)), 401, "invalid")
        self.assert_answer(self.ask(",bearer", cookie(self.issued)), 401, "absent")
        self.assert_answer(
            self.ask("", f"Authorization: Bearer {self.bearer}"), 401, "absent")
        self.assert_answer(
            self.ask(",bearer", f"Authorization: Basic {self.bearer}"), 401, "absent")
        self.assert_answer(self.ask(
            ",bearer", *[f"Authorization: Bearer {self.bearer}"] * 2), 401, "invalid")

    def test_optional(self):
        self.assert_somebody(self.ask(",optional", cookie(self.issued)), "ada")
        for lines in [[], [cookie("forged")], [cookie(self.issued, self.issued)]]:
            self.assert_nobody(self.ask(",optional", *lines))
            self.assert_nobody(self.ask(",optional,level=3,fresh=1", *lines))
        self.assert_answer(
            self.ask(",optional,level=3", cookie(self.issued)), 403, "level")
        self.assert_answer(
            self.ask(",optional,fresh=300", cookie(self.issued)), 403, "stale")
        self.assertEqual(self.ask(",optional", "broken").status, 400)
        self.assertEqual(self.ask(",optional", "Content-Length: 5").status, 413)
        self.assertEqual(self.ask(",optional", "X: " + "x" * 17_000).status, 431)

    def test_renew(self):
        for lines in [[], ["Sec-Fetch-Dest: document"]]:
            response = self.ask(",renew", cookie(self.issued), *lines)
            self.assert_somebody(response, "ada")
            renewed = Cookie(response.header("set-cookie"))
            self.assertEqual((renewed.name, renewed.attributes), (COOKIE, {
                "path": "/", "secure": "", "httponly": "", "samesite": "Lax"}))
            self.assertNotEqual(renewed.value, self.issued)
            again = self.ask("", cookie(renewed.value))
            self.assert_somebody(again, "ada")
            self.assertEqual(again.header("x-auth-session"), response.header("x-auth-session"))
        for options, lines in [
                (",renew", [cookie(self.issued), "Sec-Fetch-Dest: image"]),
                (",renew", [cookie(self.issued), *["Sec-Fetch-Dest: document"] * 2]),
                (",renew,passive", [cookie(self.issued)]), ("", [cookie(self.issued)]),
                (",renew,bearer", [f"Authorization: Bearer {self.bearer}"]),
                (",renew,level=3", [cookie(self.issued)]), (",renew,optional", [])]:
            with self.subTest(options=options, lines=lines):
                self.assertIsNone(self.ask(options, *lines).header("set-cookie"))

    def test_passive(self):
        self.assert_somebody(self.ask(",passive", cookie(self.issued)), "ada")
        self.assert_answer(self.ask(",passive"), 401, "absent")

    def test_forward(self):
        resume = "http://localhost:%d/auth/resume" % self.gatehouse.front[1]
        for lines, wanted in [([NAVIGATION], resume), (["Accept: text/html, */*"], resume),
                              ([NAVIGATION, *FORWARDED], f"{resume}?return_to={WAY_BACK}")]:
            for more, reason in [([], "absent"), ([cookie("forged")], "invalid")]:
                with self.subTest(lines=lines, more=more):
                    response = self.ask(",forward", *lines, *more)
                    self.assert_answer(response, 302, reason)
                    self.assertEqual(response.header("location"), wanted)
        self.assert_somebody(self.ask(",forward", NAVIGATION, cookie(self.issued)), "ada")
        self.assert_nobody(self.ask(",forward,optional", NAVIGATION))
        for options, lines, status, reason in [
                (",forward", FORWARDED, 401, "absent"),
                (",forward", ["Sec-Fetch-Mode: cors", "Accept: text/html"], 401, "absent"),
                (",forward", [NAVIGATION] * 2, 401, "absent"),
                (",forward,bearer", [NAVIGATION], 401, "absent"),
                (",forward,level=2", [NAVIGATION, cookie(self.issued)], 403, "level")]:
            with self.subTest(options=options, lines=lines):
                response = self.ask(options, *lines)
                self.assert_answer(response, status, reason)
                self.assertIsNone(response.header("location"))

    def test_forward_refuses_a_way_back_that_it_cannot_read(self):
        scheme, host, path = FORWARDED
        for lines in [[scheme, scheme, host, path], [scheme, host, host, path],
                      [scheme, host, path, path], ["X-Forwarded-Proto: javascript", host, path],
                      [scheme, "X-Forwarded-Host: a/b", path], [scheme, "X-Forwarded-Host: a@b", path],
                      [scheme, host, "X-Forwarded-Uri: tea"], [scheme, host, "X-Forwarded-Uri: /a b"]]:
            with self.subTest(lines):
                self.assertEqual(self.ask(",forward", NAVIGATION, *lines).status, 400)
                # Where it is not asked for, it doesn't matter.
                self.assertEqual(self.ask("", NAVIGATION, *lines).status, 401)

    # What must not weaken a check.

    def test_malformed_options_are_refused_and_counted(self):
        refused = 'gatehouse_check_refused_requests_total{reason="unknown_option"}'
        before = self.gatehouse.metric(refused)
        for options in MALFORMED:
            with self.subTest(options), self.wire() as wire:
                response = wire.check(self.issued, target="/check" + options)
                self.assert_answer(response, 400)
                self.assertTrue(wire.closed_by_peer(), "the connection stayed open")
        options = sum(options.startswith(",") for options in MALFORMED)
        self.assertEqual(self.gatehouse.metric(refused) - before, options)

    def test_what_a_client_appends_is_ignored(self):
        issued, forged = cookie(self.issued), cookie("forged")
        proof = f"Authorization: Bearer {self.proved}"
        for options, lines, status, reason in [
                ("", [], 401, "absent"), ("", [forged], 401, "invalid"),
                (",level=2", [issued], 403, "level"), (",fresh=300", [issued], 403, "stale"),
                (",bearer,fresh=1,level=2", [proof], 403, "stale"),
                (",fresh=300,level=1", [], 401, "absent"), (",bearer", [issued], 401, "absent"),
                (",passive", [forged], 401, "invalid"), (",renew", [forged], 401, "invalid"),
                (",forward", [forged], 401, "invalid"), (",forward", [NAVIGATION], 302, "absent"),
                (",optional,level=2", [issued], 403, "level")]:
            with self.wire() as wire:
                for appended in HOSTILE:
                    with self.subTest(options=options, lines=lines, appended=appended):
                        self.assert_answer(wire.request(head(
                            f"GET /check{options}{appended} HTTP/1.1", "Host: gatehouse", *lines)),
                            status, reason)
        with self.wire() as wire:
            for appended in HOSTILE:
                response = wire.check(self.issued, target=f"/check{appended}")
                self.assert_somebody(response, "ada")
                self.assertIsNone(response.header("set-cookie"), appended)
                self.assert_nobody(wire.check(target=f"/check,optional{appended}"))

    def test_options_end_with_their_request(self):
        questions = [(",optional", [], 200), ("", [], 401), (",level=3", [cookie(self.issued)], 403),
                     ("", [cookie(self.issued)], 200), ("", [], 401),
                     (",bearer", [f"Authorization: Bearer {self.bearer}"], 200),
                     ("", [f"Authorization: Bearer {self.bearer}"], 401),
                     (",forward", [NAVIGATION], 302), ("", [NAVIGATION], 401)] * 20
        with self.wire() as wire:
            wire.send(b"".join(
                head(f"GET /check{options} HTTP/1.1", "Host: gatehouse", *lines)
                for options, lines, _ in questions))
            self.assertEqual([wire.receive().status for _ in questions],
                             [status for _, _, status in questions])

    def test_verdicts_are_counted(self):
        for options, token, verdict in [(",fresh=300", self.issued, "stale"),
                                        (",level=3", self.issued, "level"),
                                        (",optional", "", "absent")]:
            name = f'gatehouse_check_verdicts_total{{verdict="{verdict}"}}'
            before = self.gatehouse.metric(name)
            self.ask(options, cookie(token))
            self.assertEqual(self.gatehouse.metric(name) - before, 1, name)


def tcp(gatehouse):
    return gatehouse.tcp


def unix(gatehouse):
    return gatehouse.unix


class OptionsOverTCP(OptionTests, unittest.TestCase):
    address = staticmethod(tcp)


class OptionsOverUnixSocket(OptionTests, unittest.TestCase):
    address = staticmethod(unix)


class OptionsByNIO(OptionTests, unittest.TestCase):
    settings = {"check.driver": "nio"}
    address = staticmethod(tcp)


class OptionsByNIOOverUnixSocket(OptionTests, unittest.TestCase):
    settings = {"check.driver": "nio"}
    address = staticmethod(unix)


class OptionsOverTLS(OptionTests, unittest.TestCase):
    settings = check_tls()
    tls = staticmethod(tls)
    address = staticmethod(tcp)


class StrangersForward(unittest.TestCase):
    """Without check.trusted_proxies only a Unix socket's peers are believed."""

    def test_the_way_back_of_a_stranger_is_not_believed(self):
        for settings, secure in [({}, None), ({"check.driver": "nio"}, None), (check_tls(), tls())]:
            for listed in [[], ["127.0.0.2"]]:
                gatehouse = Gatehouse(self, front={
                    **settings, "check.trusted_proxies": listed}).start()
                resume = "http://localhost:%d/auth/resume" % gatehouse.front[1]
                for address, security, wanted in [
                        (gatehouse.tcp, secure, resume),
                        (gatehouse.unix, None, f"{resume}?return_to={WAY_BACK}")]:
                    with self.subTest(settings=settings, listed=listed, address=address):
                        with Wire(address, tls=security) as wire:
                            response = wire.request(head(
                                "GET /check,forward HTTP/1.1", "Host: gatehouse", NAVIGATION,
                                *FORWARDED))
                            self.assertEqual(response.header("location"), wanted)
                            # Nor can a stranger's forwarded fields refuse a request.
                            if address == gatehouse.tcp:
                                response = wire.request(head(
                                    "GET /check,forward HTTP/1.1", "Host: gatehouse", NAVIGATION,
                                    *FORWARDED * 2))
                                self.assertEqual(response.status, 302)
                gatehouse.kill()
