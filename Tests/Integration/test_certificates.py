# Certs/make-certs: what it makes, what it keeps, and what it makes again.

import socket
import ssl
import subprocess
import threading
import unittest

from harness import ROOT, scratch

FILES = ["ca.key", "ca.pem", "server.key", "server.pem"]


class Certificates(unittest.TestCase):
    def setUp(self):
        self.directory = scratch(self)
        self.make()

    def make(self):
        subprocess.run([ROOT / "Certs/make-certs", self.directory], check=True, capture_output=True)
        return {name: (self.directory / name).read_bytes() for name in FILES}

    def openssl(self, *arguments):
        return subprocess.run(["openssl", *arguments], cwd=self.directory, check=True,
                              capture_output=True, text=True).stdout

    def test_clients_accept_the_server_under_its_three_names_and_no_other(self):
        server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        server.load_cert_chain(self.directory / "server.pem", self.directory / "server.key")
        client = ssl.create_default_context(cafile=self.directory / "ca.pem")

        def handshake(name):
            ours, theirs = socket.socketpair()
            ours.settimeout(10)

            def serve():
                try:
                    server.wrap_socket(theirs, server_side=True).recv(1)
                except OSError:
                    pass

            thread = threading.Thread(target=serve)
            thread.start()
            try:
                client.wrap_socket(ours, server_hostname=name).close()
            finally:
                ours.close()
                thread.join()
                theirs.close()

        for name in ["localhost", "127.0.0.1", "::1"]:
            handshake(name)
        with self.assertRaises(ssl.SSLCertVerificationError):
            handshake("example.org")

    def test_keys_are_for_their_owner_only(self):
        for name in ["ca.key", "server.key"]:
            self.assertEqual((self.directory / name).stat().st_mode & 0o777, 0o600, name)

    def test_subjects_say_that_this_is_for_development(self):
        for name in ["ca.pem", "server.pem"]:
            subject = self.openssl("x509", "-in", name, "-noout", "-subject")
            self.assertIn("Gatehouse development, not for production", subject)

    def test_keys_are_on_p256(self):
        for name in ["ca.key", "server.key"]:
            self.assertIn("prime256v1", self.openssl("pkey", "-in", name, "-noout", "-text"))

    def test_the_ca_cannot_vouch_for_another_host(self):
        (self.directory / "names").write_text("subjectAltName = DNS:example.org")
        self.openssl("req", "-new", "-key", "server.key", "-subj", "/CN=other", "-out", "request")
        self.openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key",
                     "-extfile", "names", "-out", "other.pem")
        result = subprocess.run(["openssl", "verify", "-CAfile", "ca.pem", "other.pem"],
                                cwd=self.directory, capture_output=True, text=True)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("permitted subtree violation", result.stdout + result.stderr)

    def test_what_is_valid_is_kept(self):
        before = {name: (self.directory / name).read_bytes() for name in FILES}
        self.assertEqual(self.make(), before)

    def test_a_certificate_with_less_than_a_week_left_is_renewed(self):
        for days, kept in [("8", True), ("6", False)]:
            self.make()
            self.openssl("req", "-new", "-key", "server.key", "-subj", "/CN=localhost",
                         "-out", "request")
            self.openssl("x509", "-req", "-in", "request", "-CA", "ca.pem", "-CAkey", "ca.key",
                         "-days", days, "-out", "server.pem")
            before = (self.directory / "server.pem").read_bytes()
            self.assertEqual(self.make()["server.pem"] == before, kept, f"{days} days left")

    def test_a_pair_that_does_not_belong_together_is_made_again(self):
        before = self.make()
        (self.directory / "server.key").write_bytes(before["ca.key"])
        after = self.make()
        self.assertNotIn(after["server.key"], [before["ca.key"], before["server.key"]])
        self.assertEqual(after["ca.pem"], before["ca.pem"])

    def test_a_new_ca_brings_a_new_server_certificate(self):
        before = self.make()
        (self.directory / "ca.key").unlink()
        after = self.make()
        self.assertNotEqual(after["ca.pem"], before["ca.pem"])
        self.assertNotEqual(after["server.pem"], before["server.pem"])
        self.openssl("verify", "-CAfile", "ca.pem", "server.pem")
