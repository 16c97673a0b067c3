# Bad requests to a real server over both sockets: each gets its answer, and the server lives on.

import socket
import time
import unittest

from harness import Gatehouse
from wire import IDENTITY, Wire, check_head, cookie, eventually, head

HEAD_BYTES = 16 * 1024
HEADERS = 64
HEAD_SECONDS = 5


class BadInputTests:
    """One body of tests; the two classes below say over which socket."""

    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls).start()
        cls.gatehouse.add_user("ada")
        cls.sessions = [cls.gatehouse.issue("ada") for _ in range(3)]
        cls.token = cls.sessions[0]["token"]

    def setUp(self):
        # A connection from before the bad input must not notice it either.
        self.bystander = self.wire()
        self.addCleanup(self.bystander.socket.close)
        self.assert_good(self.bystander)

    def tearDown(self):
        self.assertTrue(self.gatehouse.is_alive(), "the server died")
        self.assert_good(self.bystander)
        with self.wire() as wire:
            self.assert_good(wire)

    def wire(self):
        return Wire(self.address(self.gatehouse))

    def assert_good(self, wire):
        self.assertEqual(wire.check(self.token).status, 200)

    def good(self, *lines, request="GET /check HTTP/1.1", **options):
        """The request with a good cookie and these lines is a good check, and the next one too."""
        with self.wire() as wire:
            wire.send(head(request, "Host: gatehouse", cookie(self.token), *lines))
            response = wire.receive(**options)
            self.assertEqual(response.status, 200, response)
            self.assert_good(wire)
        return response

    def refused(self, status, request):
        """The bytes are answered with `status`, and the connection is closed."""
        with self.wire() as wire:
            response = wire.request(request)
            self.assertEqual(response.status, status, response)
            self.assertEqual(response.header("cache-control"), "no-store")
            if status != 401:
                self.assertTrue(wire.closed_by_peer(), "the connection stayed open")
        return response

    def refused_line(self, status, *lines, request="GET /check HTTP/1.1"):
        return self.refused(status, head(request, "Host: gatehouse", cookie(self.token), *lines))

    # Answers.

    def test_every_answer_carries_every_identity_header_and_is_for_no_cache(self):
        answers = [self.good(), self.refused(401, check_head()), self.refused_line(400, "broken"),
                   self.refused_line(413, "Content-Length: 5"),
                   self.refused_line(431, "X: " + "x" * HEAD_BYTES)]
        for response in answers:
            names = [name for name, _ in response.headers]
            self.assertEqual([name for name in names if name in IDENTITY], IDENTITY, response)
            self.assertEqual(response.header("cache-control"), "no-store")
            self.assertEqual(response.header("content-length"), "0")
            for name in ["etag", "last-modified", "set-cookie"]:
                self.assertNotIn(name, names)

    def test_a_refusal_names_a_scheme_that_browsers_ignore_and_the_reason(self):
        response = self.refused(401, check_head())
        scheme = response.header("www-authenticate").split()[0].lower()
        self.assertNotIn(scheme, ["basic", "digest", "negotiate", "ntlm"])
        self.assertEqual(response.header("x-auth-reason"), "absent")
        self.assertEqual(self.refused(401, check_head("x")).header("x-auth-reason"), "invalid")

    # Cookies.

    def test_two_session_cookies_are_refused_in_one_header_and_in_two(self):
        one, two = self.sessions[0]["token"], self.sessions[1]["token"]
        for tokens in [(one, two), (one, one), (one, ""), ("", one), (one, "garbage")]:
            with self.subTest(tokens=tokens):
                response = self.refused(401, check_head(*tokens))
                self.assertEqual(response.header("x-auth-reason"), "invalid")
                self.refused(401, head("GET /check HTTP/1.1", "Host: gatehouse",
                                       *(cookie(token) for token in tokens)))

    def test_a_cookie_of_20_kib_is_too_large(self):
        self.refused(431, check_head("A" * 20 * 1024))

    def test_spellings_that_are_not_the_token_are_refused(self):
        token = self.token
        for other in [token + "=", token + "A", token[:-1], f'"{token}"', token + "%20",
                      token.swapcase(), "A" * 512, "A" * 513, "%" + token, token + "\xa0"]:
            with self.subTest(other=other):
                response = self.refused(401, check_head(other))
                self.assertEqual(response.header("x-auth-reason"), "invalid")

    def test_other_names_are_not_our_cookie(self):
        for name in ["__host-gatehouse", "__Host-gatehous", "__Host-gatehouse2", "gatehouse",
                     "%5f%5fHost-gatehouse", "\xa0__Host-gatehouse", "$Version=1; x"]:
            with self.subTest(name=name):
                response = self.refused(401, head(
                    "GET /check HTTP/1.1", "Host: gatehouse", f"Cookie: {name}={self.token}"))
                self.assertEqual(response.header("x-auth-reason"), "absent")

    def test_other_cookies_around_ours_do_not_matter(self):
        with self.wire() as wire:
            for line in [f"Cookie: a=1; __Host-gatehouse={self.token}; b=2",
                         f"Cookie: __host-gatehouse=x; __Host-gatehouse={self.token}",
                         f"cookie:__Host-gatehouse={self.token}"]:
                self.assertEqual(wire.request(
                    head("GET /check HTTP/1.1", "Host: gatehouse", line)).status, 200, line)

    def test_a_bearer_token_opens_nothing_here_and_hurts_nothing(self):
        bearer = self.gatehouse.issue("ada", "--bearer")["token"]
        self.refused(401, check_head(bearer))
        self.refused(401, head("GET /check HTTP/1.1", "Host: gatehouse",
                               f"Authorization: Bearer {bearer}"))
        self.good("Authorization: Basic eDp5")

    # Bodies and lengths.

    def test_a_body_is_refused(self):
        self.refused(413, head("POST /check HTTP/1.1", "Host: gatehouse", cookie(self.token),
                               "Content-Length: 5") + b"hello")
        self.refused_line(413, "Content-Length: 5")

    def test_content_length_zero_is_no_body(self):
        self.good("Content-Length: 0")
        self.good("Content-Length: 0", request="POST /check HTTP/1.1")

    def test_a_strange_content_length_is_refused(self):
        for lines in [["Content-Length: 0", "Content-Length: 0"], ["Content-Length: +0"],
                      ["Content-Length: -1"], ["Content-Length: 0x0"], ["Content-Length: 0, 0"],
                      ["Content-Length:"], ["Content-Length: 0 0"], ["Content-Length: zero"]]:
            with self.subTest(lines):
                self.refused_line(400, *lines)

    def test_a_transfer_encoding_is_refused(self):
        for lines in [["Transfer-Encoding: chunked"], ["Transfer-Encoding: identity"],
                      ["Transfer-Encoding:"], ["transfer-encoding: xchunked"],
                      ["Content-Length: 0", "Transfer-Encoding: chunked"]]:
            with self.subTest(lines):
                self.refused_line(400, *lines)

    # Lines.

    def test_broken_lines_are_refused(self):
        for line in ["X: a\nY: b", "X: a\rY: b", "X: a\0b", "X\0: a", "X : a", "X\t: a", ": a", "X",
                     "X: a\r\n folded", "X: a\r\n\tfolded", "X Y: a", "X\xe9: a", "X(: a",
                     "X: \x7f", "X: \x01"]:
            with self.subTest(line=line):
                self.refused_line(400, line)

    def test_bare_line_feeds_are_refused(self):
        whole = check_head(self.token)
        self.refused(400, whole.replace(b"\r\n", b"\n"))
        self.refused(400, whole.replace(b"\r\n", b"\n", 1))
        self.refused(400, whole[:-2] + b"\n")

    def test_bare_carriage_returns_are_refused(self):
        self.refused(400, check_head(self.token).replace(b"\r\n", b"\r", 1))

    def test_host_must_be_there_once(self):
        self.refused(400, head("GET /check HTTP/1.1", cookie(self.token)))
        self.refused_line(400, "Host: gatehouse")
        self.refused_line(400, "host: other")

    def test_broken_request_lines_are_refused(self):
        for line in ["GET /check", "GET  /check HTTP/1.1", "GET /check  HTTP/1.1",
                     " GET /check HTTP/1.1", "GET\t/check HTTP/1.1", "GET /check HTTP/1.1 ",
                     "GET /check HTTP/2.0", "GET /check http/1.1", "GET /check HTTP/1.10",
                     "G@T /check HTTP/1.1", "GET /ch eck HTTP/1.1", "GET /check/\0 HTTP/1.1",
                     " /check HTTP/1.1", "GET HTTP/1.1", ""]:
            with self.subTest(line=line):
                self.refused_line(400, request=line)

    # Targets and methods.

    def test_what_follows_the_target_is_ignored(self):
        for target in ["/check/", "/check?", "/check/anything?x", "/check?fresh=1",
                       "/check/%2e%2e/x", "/check/,fresh=1"]:
            with self.subTest(target=target):
                self.good(request=f"GET {target} HTTP/1.1")

    def test_other_targets_are_refused(self):
        for target in ["/check,fresh", "/check,", "/checkx", "/chec", "/", "/CHECK", "//check",
                       "/x/check", "/livez", "/metrics", "check", "*", "http://gatehouse/check"]:
            with self.subTest(target=target):
                self.refused_line(400, request=f"GET {target} HTTP/1.1")

    def test_methods_do_not_matter_but_connect_is_refused(self):
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"]:
            with self.subTest(method=method):
                self.good(request=f"{method} /check HTTP/1.1")
        self.refused_line(400, request="CONNECT /check HTTP/1.1")
        self.refused_line(400, request="CONNECT gatehouse:443 HTTP/1.1")
        self.refused_line(400, request="BREW /check HTTP/1.1")
        self.refused_line(400, request="get /check HTTP/1.1")

    def test_head_is_answered_without_a_body(self):
        self.good(request="HEAD /check HTTP/1.1", bodiless=True)

    def test_headers_that_other_servers_act_on_do_not_matter(self):
        for line in ["If-None-Match: *", "If-Match: *", "Range: bytes=0-1", "Expect: 100-continue",
                     "TE: trailers", "Content-Type: text/plain", "X-Forwarded-Host: evil.example",
                     "Forwarded: for=unparsable;;", "X-HTTP-Method-Override: CONNECT"]:
            with self.subTest(line=line):
                self.good(line)

    def test_nothing_turns_the_check_into_a_health_check(self):
        for line in ["User-Agent: kube-probe/1.30", "User-Agent: ELB-HealthChecker/2.0",
                     "User-Agent: GoogleHC/1.0", "X-Health-Check: 1", "X-Auth-User: forged",
                     "X-Forwarded-Uri: /livez"]:
            with self.subTest(line=line):
                self.refused(401, head("GET /check HTTP/1.1", "Host: gatehouse", line))

    # Connections.

    def test_http_1_0_is_answered_and_closed(self):
        with self.wire() as wire:
            response = wire.request(head(
                "GET /check HTTP/1.0", "Host: gatehouse", cookie(self.token)))
            self.assertEqual(response.status, 200)
            self.assertTrue(wire.closed_by_peer())

    def test_connection_close_is_answered_and_closed(self):
        with self.wire() as wire:
            self.assertEqual(wire.request(head(
                "GET /check HTTP/1.1", "Host: gatehouse", cookie(self.token),
                "Connection: close")).status, 200)
            self.assertTrue(wire.closed_by_peer())

    def test_a_hundred_requests_in_one_write_are_answered_in_order(self):
        with self.wire() as wire:
            order = [self.sessions[i % 3] for i in range(100)]
            wire.send(b"".join(check_head(session["token"]) for session in order))
            answers = [wire.receive() for _ in order]
        self.assertEqual([(answer.status, answer.header("x-auth-session")) for answer in answers],
                         [(200, session["session"]) for session in order])

    def test_good_requests_before_a_bad_one_are_answered(self):
        with self.wire() as wire:
            wire.send(check_head(self.token) * 3 + head("BAD") + check_head(self.token))
            self.assertEqual([wire.receive().status for _ in range(4)], [200, 200, 200, 400])
            self.assertTrue(wire.closed_by_peer(), "something was read after the bad request")

    def test_a_head_may_come_byte_by_byte(self):
        with self.wire() as wire:
            for byte in check_head(self.token):
                wire.send(bytes([byte]))
            self.assertEqual(wire.receive().status, 200)

    def test_a_peer_that_leaves_in_the_middle_hurts_nobody(self):
        whole = check_head(self.token)
        for length in [1, 10, len(whole) - 1]:
            self.wire().send(whole[:length]).socket.close()
        self.wire().send(whole * 50).socket.close()

    def test_half_closed_connections_get_their_answer(self):
        with self.wire() as wire:
            wire.send(check_head(self.token))
            wire.socket.shutdown(socket.SHUT_WR)
            self.assertEqual(wire.receive().status, 200)

    # Limits, on both sides.

    def test_sixty_four_headers_are_served_and_sixty_five_refused(self):
        def lines(count):
            return [f"X-{i}: {i}" for i in range(count - 2)]  # and Host, and Cookie
        self.good(*lines(HEADERS))
        self.refused_line(431, *lines(HEADERS + 1))

    def test_a_head_of_16_kib_is_served_and_one_byte_more_refused(self):
        def padding(size):
            bare = len(head("GET /check HTTP/1.1", "Host: gatehouse", cookie(self.token), "X: "))
            return "X: " + "x" * (size - bare)
        self.good(padding(HEAD_BYTES))
        self.refused_line(431, padding(HEAD_BYTES + 1))

    def test_the_limits_hold_for_long_targets_and_floods_of_headers(self):
        self.refused_line(431, request=f"GET /check/{'x' * HEAD_BYTES} HTTP/1.1")
        self.refused_line(431, *["X: x"] * 10_000)

    def test_heads_that_never_end_are_closed_in_time_and_hold_up_nobody(self):
        whole = check_head(self.token)
        start = time.monotonic()
        silent = [self.wire().send(whole[:length]) for length in [1, 20, len(whole) - 1] * 10]
        dripping = self.wire().send(whole[:1])
        sent = 1
        # A byte now and then doesn't buy more time.
        while time.monotonic() - start < HEAD_SECONDS - 1:
            self.assert_good(self.bystander)
            if time.monotonic() - start > sent * 0.2:
                dripping.send(whole[sent:sent + 1])
                sent += 1
        for wire in [*silent, dripping]:
            with wire:
                self.assert_closed_unserved(wire)
        took = time.monotonic() - start
        self.assertGreater(took, HEAD_SECONDS - 1)
        self.assertLess(took, HEAD_SECONDS + 3)

    def assert_closed_unserved(self, wire):
        """The connection ends, silently or with an answer that is a refusal."""
        try:
            self.assertIn(wire.receive().status, [400, 408])
        except ConnectionError:
            return
        self.assertTrue(wire.closed_by_peer())


    def test_connections_past_the_limit_are_closed_and_the_others_served(self):
        limit, tried = 64, 200
        gatehouse = Gatehouse(
            self, environment={"GATEHOUSE_CHECK_MAX_CONNECTIONS": str(limit)}).start()
        gatehouse.add_user("ada")
        token = gatehouse.issue("ada")["token"]
        served = []
        for _ in range(tried):
            wire = Wire(self.address(gatehouse))
            self.addCleanup(wire.socket.close)
            try:
                self.assertEqual(wire.check(token).status, 200)
                served.append(wire)
            except ConnectionError:
                pass
        self.assertLessEqual(len(served), limit)
        self.assertGreater(len(served), 0)
        for wire in served:  # A full house doesn't disturb those who are in,
            self.assertEqual(wire.check(token).status, 200)
        for wire in served:  # and makes room when they leave.
            wire.socket.close()

        def is_served():
            with Wire(self.address(gatehouse)) as wire:
                try:
                    return wire.check(token).status == 200
                except ConnectionError:
                    return False
        eventually(is_served, within=5)


class BadInputOverTCP(BadInputTests, unittest.TestCase):
    @staticmethod
    def address(gatehouse):
        return gatehouse.tcp


class BadInputOverUnixSocket(BadInputTests, unittest.TestCase):
    @staticmethod
    def address(gatehouse):
        return gatehouse.unix
