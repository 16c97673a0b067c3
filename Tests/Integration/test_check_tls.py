# TLS on the check endpoint: what it speaks, whom it lets in, and what production takes.

import os
import ssl
import subprocess
import unittest

from authority import Authority, settings
from harness import Gatehouse, certificates, check_tls, tls
from wire import Wire, check_head, head

AEAD = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-ECDSA-CHACHA20-POLY1305"]
OTHERS = ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-SHA256",
          "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-AES128-CCM", "ECDHE-ECDSA-NULL-SHA",
          "AECDH-AES128-SHA"]


class Speaks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls, settings=check_tls()).start()
        cls.gatehouse.add_user("ada")
        cls.token = cls.gatehouse.issue("ada")["token"]

    def client(self, version=None, ciphers=None):
        context = ssl.create_default_context(cafile=certificates() / "ca.pem")
        if version:
            # Lowered far enough that it is the server who refuses.
            context.set_ciphers((ciphers or "ALL") + ":@SECLEVEL=0")
            context.minimum_version = context.maximum_version = version
        return context

    def wire(self, context=None):
        return Wire(self.gatehouse.tcp, tls=context or tls())

    def test_checks_are_answered_as_without_it(self):
        with self.wire() as wire:
            for token, status in [(self.token, 200), ("forged", 401), (self.token, 200)]:
                self.assertEqual(wire.check(token).status, status)
            wire.send(check_head(self.token) * 50)
            self.assertEqual([wire.receive().status for _ in range(50)], [200] * 50)

    def test_curl_is_answered(self):
        result = subprocess.run(
            ["curl", "--silent", "--show-error", "--max-time", "10", "--cacert",
             certificates() / "ca.pem", "--header", f"Cookie: __Host-gatehouse={self.token}",
             "--write-out", "%{http_code} %{http_version} %header{x-auth-username}",
             "https://localhost:%d/check" % self.gatehouse.tcp[1]],
            capture_output=True, text=True)
        self.assertEqual((result.returncode, result.stdout), (0, "200 1.1 ada"), result.stderr)

    def test_a_last_answer_ends_with_a_proper_goodbye(self):
        for last in [head("GET /check HTTP/1.1", "Host: gatehouse", "Connection: close"), b"\0\r\n\r\n"]:
            with self.wire() as wire:
                # Without close_notify this raises: somebody might have cut the answer short.
                wire.socket.suppress_ragged_eofs = False
                wire.request(last)
                self.assertEqual(wire.socket.recv(1), b"")

    def test_the_unix_socket_stays_plain(self):
        with Wire(self.gatehouse.unix) as wire:
            self.assertEqual(wire.check(self.token).status, 200)

    def test_plain_requests_get_no_answer(self):
        with Wire(self.gatehouse.tcp) as wire:
            wire.send(check_head(self.token))
            received = b""
            try:
                while data := wire.socket.recv(4096):
                    received += data
            except ConnectionResetError:
                pass
            self.assertNotIn(b"HTTP", received)

    def test_tls_1_2_and_1_3_are_spoken(self):
        for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
            with self.subTest(version), self.wire(self.client(version)) as wire:
                self.assertEqual(wire.socket.version(), version.name.replace("_", "."))
                self.assertEqual(wire.check(self.token).status, 200)

    def test_older_versions_are_refused(self):
        for version in [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]:
            with self.subTest(version), self.assertRaisesRegex(ssl.SSLError, "(?i)protocol.version"):
                self.wire(self.client(version))

    def test_authenticated_encryption_is_spoken(self):
        for cipher in AEAD:
            with self.subTest(cipher), self.wire(
                    self.client(ssl.TLSVersion.TLSv1_2, cipher)) as wire:
                self.assertEqual(wire.socket.cipher()[0], cipher)
                self.assertEqual(wire.check(self.token).status, 200)

    def test_other_ciphers_are_refused(self):
        for cipher in OTHERS:
            with self.subTest(cipher), self.assertRaisesRegex(ssl.SSLError, "(?i)handshake.failure"):
                self.wire(self.client(ssl.TLSVersion.TLSv1_2, cipher))

    def test_http_2_is_not_offered(self):
        context = self.client()
        context.set_alpn_protocols(["h2", "http/1.1"])
        with self.wire(context) as wire:
            self.assertEqual(wire.socket.selected_alpn_protocol(), "http/1.1")


class Production(unittest.TestCase):
    def server(self, pair, **more):
        gatehouse = Gatehouse(self, dev=False, settings=settings(pair, **more))
        gatehouse.ok("keys", "init")
        return gatehouse

    def test_takes_a_certificate_of_its_own(self):
        authority = Authority(self)
        gatehouse = self.server(authority.issue("server")).start()
        with Wire(gatehouse.tcp, tls=authority.client()) as wire:
            self.assertEqual(wire.check().status, 401)
        # And nobody who trusts others only believes it.
        with self.assertRaises(ssl.SSLCertVerificationError):
            Wire(gatehouse.tcp, tls=tls())

    def refusal(self, pair, **more):
        gatehouse = self.server(pair, **more)
        self.assertEqual(gatehouse.spawn().exit_code(), 3)
        self.assertFalse(os.path.exists(gatehouse.unix), "it began to listen")
        return gatehouse.logged()

    def test_refuses_development_certificates(self):
        development = [certificates() / "server.pem", certificates() / "server.key"]
        said = self.refusal(development)
        self.assertIn("development certificate", said)
        self.assertIn("check.certificate", said)

    def test_refuses_files_that_are_missing_broken_or_not_a_pair(self):
        authority = Authority(self)
        certificate, key = authority.issue("server")
        _, other_key = authority.issue("other")
        broken = authority.directory / "broken"
        broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        missing = authority.directory / "missing"
        for pair in [(missing, key), (certificate, missing), (broken, key), (certificate, broken),
                     (certificate, other_key)]:
            with self.subTest(pair):
                self.assertIn("check.certificate", self.refusal(pair))
        for authority_file in [missing, broken]:
            with self.subTest(client_ca=authority_file):
                self.refusal((certificate, key), **{"check.client_ca": str(authority_file)})


class Clients(unittest.TestCase):
    """check.client_ca: whoever shows a certificate of that authority, and nobody else."""

    @classmethod
    def setUpClass(cls):
        cls.authority, cls.other = Authority(cls), Authority(cls)
        cls.gatehouse = Gatehouse(cls, settings=settings(cls.authority.issue("server"), **{
            "check.client_ca": str(cls.authority.certificate)})).start()
        cls.gatehouse.add_user("ada")
        cls.token = cls.gatehouse.issue("ada")["token"]

    def status(self, pair, version=ssl.TLSVersion.TLSv1_3):
        context = self.authority.client(pair)
        context.minimum_version = context.maximum_version = version
        with Wire(self.gatehouse.tcp, tls=context) as wire:
            return wire.check(self.token).status

    def assert_refused(self, pair, words):
        for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
            with self.subTest(version), self.assertRaisesRegex(ssl.SSLError, words):
                self.status(pair, version)

    def test_a_certificate_of_the_authority_is_let_in(self):
        pair = self.authority.issue("proxy")
        for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
            self.assertEqual(self.status(pair, version), 200)

    def test_without_a_certificate_nobody_is(self):
        self.assert_refused(None, "(?i)certificate.required|handshake.failure")

    def test_a_certificate_of_another_authority_is_not(self):
        self.assert_refused(self.other.issue("proxy"), "(?i)unknown.ca|certificate.unknown|alert")

    def test_a_certificate_that_names_the_authority_but_is_not_signed_by_it_is_not(self):
        # Both authorities have the same name.
        certificate, key = self.other.issue("proxy")
        chain = self.other.directory / "chain.pem"
        chain.write_bytes(certificate.read_bytes() + self.other.certificate.read_bytes())
        self.assert_refused((chain, key), "(?i)alert")
        self.assert_refused((self.other.certificate, self.other.key), "(?i)alert")

    def test_a_certificate_that_has_expired_is_not(self):
        certificate, key = self.authority.issue("late")
        self.assertEqual(self.status((certificate, key)), 200)
        self.assert_refused((self.authority.expired(key), key), "(?i)expired")

    def test_the_unix_socket_asks_for_none(self):
        with Wire(self.gatehouse.unix) as wire:
            self.assertEqual(wire.check(self.token).status, 200)
