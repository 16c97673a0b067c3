# Who may talk to which listener, and that none answers what belongs to another: real servers over TCP and
# Unix sockets, with both check drivers.

import socket
import ssl
import unittest

from harness import Gatehouse, scratch, tls
from wire import Wire, eventually

CHECK = ["/check", "/check/", "/check/x", "/check,renew", "/check,optional", "/check?x=1",
         "/check,fresh=300,level=2"]
ADMIN = ["/livez", "/readyz", "/metrics", "/v1/admin/users", "/v1/admin/statistics", "/v1/admin/"]
FRONT = ["/login", "/register", "/logout", "/resume", "/account", "/account/device", "/confirm",
         "/recover", "/cookies", "/r/spring", "/style.css", "/v1/login", "/v1/register",
         "/v1/session", "/v1/account", "/v1/openapi.yaml", "/.well-known/change-password",
         "/.well-known/security.txt"]
OTHER = ["/", "/index.html", "/favicon.ico", "/v1/", "/checks", "/checkout", "/CHECK", "/xcheck"]
METHODS = ["GET", "POST", "HEAD"]


def ask(address, path, method="GET", host="localhost"):
    """The answer; None when the connection was closed without one."""
    with Wire(address) as wire:
        wire.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n"
                  f"{'Content-Length: 0' + chr(13) + chr(10) if method == 'POST' else ''}"
                  f"\r\n".encode())
        try:
            return wire.receive(method == "HEAD")
        except (ConnectionError, AssertionError, EOFError, IndexError):
            return None


class Apart(unittest.TestCase):
    """Every path of each listener is asked of the two others."""

    def server(self, driver):
        settings = {"contact.security": ["mailto:security@example.org"], "check.driver": driver}
        gatehouse = Gatehouse(
            self, front={"public.base_path": "/"}, settings=settings).start()
        gatehouse.ok("referrals", "add", "spring", "--label", "the Spring fair")
        return gatehouse

    def on_unix_sockets(self, driver):
        gatehouse = Gatehouse(
            self, front={"public.base_path": "/"},
            settings={"contact.security": ["mailto:security@example.org"], "check.driver": driver})
        directory = scratch(self)
        front, admin = str(directory / "front"), str(directory / "admin")
        # The last of two counts.
        gatehouse.arguments += ["--public", f"unix:{front}", "--admin", f"unix:{admin}"]
        gatehouse.spawn()
        gatehouse.front, gatehouse.admin = front, admin
        eventually(gatehouse.is_ready, within=30)
        return gatehouse

    # Promise: listeners-apart
    def test_over_tcp(self):
        for driver in ["auto", "nio"]:
            with self.subTest(driver):
                gatehouse = self.server(driver)
                self.matrix(gatehouse, gatehouse.front, gatehouse.tcp, gatehouse.admin)
                gatehouse.kill()

    # Promise: listeners-apart
    def test_over_unix_sockets(self):
        for driver in ["auto", "nio"]:
            with self.subTest(driver):
                gatehouse = self.on_unix_sockets(driver)
                self.matrix(gatehouse, gatehouse.front, gatehouse.unix, gatehouse.admin)
                gatehouse.kill()

    def matrix(self, gatehouse, front, check, admin):
        token = gatehouse.issue(gatehouse.add_user("ada")["username"])["token"]
        # Each answers what is its own.
        for path in CHECK:
            with self.subTest(path, of="check"):
                self.assertIn(ask(check, path).status, (200, 401))
        with Wire(check) as wire:
            self.assertEqual(wire.check(token).status, 200)
        for path in ["/livez", "/readyz", "/metrics"]:
            with self.subTest(path, of="admin"):
                self.assertEqual(ask(admin, path).status, 200)
        for path in FRONT:
            with self.subTest(path, of="front"):
                self.assertNotEqual(ask(front, path).status, 404 if path != "/recover" else 0)
        # And nothing else, whatever the method.
        for method in METHODS:
            for path in CHECK + ADMIN + OTHER:
                with self.subTest(path, method=method, of="front"):
                    self.assertEqual(ask(front, path, method).status, 404)
            for path in CHECK + FRONT + OTHER:
                with self.subTest(path, method=method, of="admin"):
                    self.assertEqual(ask(admin, path, method).status, 404)
            for path in ADMIN + FRONT + OTHER:
                with self.subTest(path, method=method, of="check"):
                    answer = ask(check, path, method)
                    self.assertEqual(answer.status, 400)
                    self.assertEqual(answer.body, b"")
                    self.assertEqual(answer.header("connection"), "close")
                    for name in ["x-auth-user", "set-cookie", "location"]:
                        self.assertFalse(answer.header(name))
        # Other names of the same paths are others' paths too.
        for path in ["//metrics", "/check/../metrics", "/%63heck", "/x/../metrics", "/metrics/"]:
            with self.subTest(path, of="front"):
                self.assertIn(ask(front, path).status, (400, 404))
        for path in ["/check/../login", "/check/%2e%2e/metrics", "/check//login"]:
            with self.subTest(path, of="check"):
                # Below /check it is a check, and says nothing of what it names.
                answer = ask(check, path)
                self.assertEqual((answer.status, answer.body), (401, b""))


class Allowed(unittest.TestCase):
    """Lists of who may connect, for each listener."""

    NOBODY = ["192.0.2.0/24", "2001:db8::/32"]

    def closed(self, address, source="127.0.0.1",
               data=b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        """Whether a request is closed without a byte."""
        with socket.socket() as peer:
            peer.settimeout(10)
            peer.bind((source, 0))
            peer.connect(address)
            try:
                peer.sendall(data)
                return peer.recv(1) == b""
            except (ConnectionResetError, BrokenPipeError):
                return True

    def refused(self, gatehouse, endpoint):
        return gatehouse.metric(
            f'gatehouse_connections_not_allowed_total{{endpoint="{endpoint}"}}')

    # Promise: allow-lists
    def test_each_listener_has_a_list_of_its_own(self):
        for driver in ["auto", "nio"]:
            with self.subTest(driver):
                gatehouse = Gatehouse(self, front={}, settings={
                    "check.driver": driver,
                    "public.allow": self.NOBODY, "check.allow": ["127.0.0.2"]}).start()
                for number in range(1, 4):
                    self.assertTrue(self.closed(gatehouse.front))
                    self.assertTrue(self.closed(gatehouse.tcp))
                    self.assertEqual(self.refused(gatehouse, "public"), number)
                    self.assertEqual(self.refused(gatehouse, "check"), number)
                self.assertEqual(self.refused(gatehouse, "admin"), 0)
                # Who is listed is answered, by address.
                self.assertFalse(self.closed(gatehouse.tcp, source="127.0.0.2"))
                self.assertFalse(self.closed(gatehouse.admin))
                # A Unix socket has no list.
                self.assertEqual(ask(gatehouse.unix, "/check").status, 401)
                self.assertEqual(self.refused(gatehouse, "check"), 3)
                # One line for many, with the network and no address.
                self.assertEqual(gatehouse.stop(), 0)
                lines = [line for line in gatehouse.logged().splitlines()
                         if "on no list" in line]
                self.assertLessEqual(len(lines), 2, lines)
                for line in lines:
                    self.assertIn("127.0.0.0/24", line)
                    self.assertNotIn("127.0.0.1", line)

    # Promise: allow-lists
    def test_over_tls_not_even_a_handshake_begins(self):
        gatehouse = Gatehouse(self, settings={"public.allow": ["127.0.0.2"]}).start()
        hello = self.client_hello()
        self.assertTrue(self.closed(gatehouse.front, data=hello))
        self.assertEqual(self.refused(gatehouse, "public"), 1)
        self.assertFalse(self.closed(gatehouse.front, source="127.0.0.2", data=hello),
                         "who is listed gets the server's part of it")

    @staticmethod
    def client_hello():
        """What begins TLS."""
        outgoing = ssl.MemoryBIO()
        client = tls().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
        try:
            client.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return outgoing.read()

    # Promise: allow-lists
    def test_the_admin_endpoint(self):
        gatehouse = Gatehouse(self, settings={"admin.allow": ["127.0.0.2", "::1"]})
        gatehouse.spawn()
        eventually(lambda: self.listens(gatehouse.admin), within=30)
        self.assertTrue(self.closed(gatehouse.admin))
        self.assertFalse(self.closed(gatehouse.admin, source="127.0.0.2"))

    def listens(self, address):
        try:
            socket.create_connection(address, 5).close()
            return True
        except ConnectionRefusedError:
            return False

    def test_an_invalid_prefix_ends_the_start_with_its_reason(self):
        for prefix, reason in [("10.0.0.1/8", "bits set behind its length"),
                               ("10.0.0.0/33", "no length that there is"),
                               ("fe80::1%eth0", "scope id"), ("localhost", "is no address")]:
            for name in ["public.allow", "check.allow", "admin.allow"]:
                with self.subTest(prefix, setting=name):
                    gatehouse = Gatehouse(self, settings={name: [prefix]}).spawn()
                    self.assertEqual(gatehouse.exit_code(), 3)
                    self.assertIn(name, gatehouse.logged())
                    self.assertIn(reason, gatehouse.logged())

    def test_a_list_of_one_family_keeps_the_other_out(self):
        gatehouse = Gatehouse(self, settings={"check.allow": ["::/0"]}).start()
        self.assertTrue(self.closed(gatehouse.tcp))
        gatehouse.kill()
        gatehouse = Gatehouse(self, settings={"check.allow": ["0.0.0.0/0"]}).start()
        self.assertFalse(self.closed(gatehouse.tcp))


if __name__ == "__main__":
    unittest.main()
