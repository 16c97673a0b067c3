# SIGTERM to a server with work: what was asked is answered, nothing new begins, and it ends soon.

import json
import signal
import ssl
import threading
import time
import unittest

from harness import SOAK, Gatehouse, check_tls, tls
from visitor import call
from wire import Wire, check_head, eventually, head

# From SIGTERM to the end, whatever clients do: five seconds of drain, and some for the rest.
END_SECONDS = 7
# How soon new connections are refused.
REFUSED_SECONDS = 0.5
CLIENTS = 8


class Regular(threading.Thread):
    """Asks over and over on one connection, until an answer says that it is the last."""

    def __init__(self, wire, token, pause):
        super().__init__(daemon=True)
        self.wire, self.token, self.pause = wire, token, pause
        self.answers = 0
        self.problem = "still at work"
        self.start()

    def run(self):
        try:
            while True:
                response = self.wire.check(self.token)
                self.answers += 1
                if response.status != 200:
                    self.problem = response
                    return
                if response.header("connection") == "close":
                    self.problem = None if self.wire.closed_by_peer() else "not closed"
                    return
                time.sleep(self.pause)
        except Exception as problem:
            self.problem = problem
        finally:
            self.wire.socket.close()


class Newcomer(threading.Thread):
    """Connects anew for each question, until connections are refused."""

    def __init__(self, connect, token):
        super().__init__(daemon=True)
        self.connect, self.token = connect, token
        self.problems = []
        self.refused = None  # when
        self.start()

    def run(self):
        while self.refused is None:
            try:
                with self.connect() as wire:
                    response = wire.check(self.token)
                    if response.status != 200:
                        self.problems.append(response)
            except (ConnectionRefusedError, FileNotFoundError):
                self.refused = time.monotonic()
            except Exception as problem:
                self.problems.append(problem)


class Server(Gatehouse):
    """A server that is about to be told to end."""

    def __init__(self, test, settings, secure=None, **options):
        super().__init__(test, front={}, settings=settings, **options)
        self.test, self.secure = test, secure
        self.terminated = None  # when

    def prepare(self):
        self.start()
        self.add_user("ada")
        self.session = self.issue("ada")
        self.token = self.session["token"]
        return self

    def connect_tcp(self):
        return Wire(self.tcp, tls=self.secure)

    def connect_unix(self):
        return Wire(self.unix)

    @property
    def doors(self):
        return [self.connect_tcp, self.connect_unix]

    def wires(self):
        """A connection through each door, closed after the test."""
        wires = [connect() for connect in self.doors]
        for wire in wires:
            self.test.addCleanup(wire.socket.close)
        return wires

    def terminate(self):
        self.terminated = time.monotonic()
        self.process.terminate()

    def refuses(self, connect):
        try:
            connect().socket.close()
            return False
        except (ConnectionRefusedError, FileNotFoundError):
            return True

    def assert_refuses_at_once(self):
        for connect in self.doors:
            eventually(lambda: self.refuses(connect), within=REFUSED_SECONDS)

    def assert_ends(self, within=END_SECONDS):
        code = self.exit_code()
        self.test.assertLess(time.monotonic() - self.terminated, within)
        self.test.assertEqual(code, 0, self.logged())


class Drain(unittest.TestCase):
    def servers(self, **settings):
        """One server by each driver and one with TLS; they go through the test side by side."""
        return [Server(self, {**one, **settings}, secure).prepare() for one, secure in [
            ({}, None), ({"check.driver": "nio"}, None), (check_tls(), tls())]]

    def test_nothing_that_was_asked_is_lost_and_nothing_new_begins(self):
        servers = self.servers()
        for server in servers:
            for _ in range(SOAK):
                regulars = [Regular(connect(), server.token, pause) for connect in server.doors
                            for pause in [0] * (CLIENTS - 2) + [0.1, 0.4]]
                newcomers = [Newcomer(connect, server.token) for connect in server.doors * 2]
                eventually(lambda: min(one.answers for one in regulars) > 0, within=10)
                time.sleep(0.2)
                server.terminate()
                for thread in newcomers + regulars:
                    thread.join(10)
                server.assert_ends()
                self.assertEqual([one.problem for one in regulars], [None] * len(regulars))
                for newcomer in newcomers:
                    self.assertLess(newcomer.refused - server.terminated, REFUSED_SECONDS)
                    # A connection that the kernel takes just as the listener closes ends without
                    # an answer: each may meet that once, by SwiftNIO or over TCP.
                    for problem in newcomer.problems:
                        self.assertIsInstance(problem, (ConnectionError, ssl.SSLError))
                    is_exact = server is servers[0] and newcomer.connect == server.connect_unix
                    self.assertLessEqual(len(newcomer.problems), 0 if is_exact else 1)
                server.start()
            server.kill()

    def test_who_waits_in_the_queue_is_answered(self):
        server = Server(self, {"check.event_loops": 1}).prepare()
        server.process.send_signal(signal.SIGSTOP)
        # The kernel completes these; many more than are taken at one time.
        queue = [wire for _ in range(200) for wire in server.wires()]
        for wire in queue:
            wire.send(check_head(server.token))
        server.terminate()
        server.process.send_signal(signal.SIGCONT)
        for wire in queue:
            self.assertEqual(wire.receive().status, 200)
        for wire in queue:
            wire.socket.close()
        server.assert_ends()

    def test_clients_that_hold_a_connection_hold_up_nobody(self):
        # Nobody is cut before the drain ends.
        servers = self.servers(**{"check.head_timeout": "60s"})
        for server in servers:
            server.wires()
            for used in server.wires():
                used.check(server.token)
            for half in server.wires():
                half.send(check_head(server.token)[:-2])
            for address in [server.admin, server.front]:
                self.addCleanup(Wire(address).socket.close)
        time.sleep(0.2)
        for server in servers:
            server.terminate()
            server.assert_refuses_at_once()
        # A successor has address and path, and keeps them when the first one ends.
        [first, *_] = servers
        successor = Server(self, {}, data=first.data)
        successor.unix, successor.tcp = first.unix, first.tcp
        successor.start()
        self.assertTrue(first.is_alive(), "it ended before its successor was there")
        for server in servers:
            server.assert_ends()
        for wire in successor.wires():
            self.assertEqual(wire.check(first.token).status, 200)

    def test_a_head_that_had_begun_is_answered_when_it_ends(self):
        servers = self.servers()
        halves = {server: server.wires() for server in servers}
        for server, wires in halves.items():
            for wire in wires:
                wire.send(check_head(server.token)[:-2])
        time.sleep(0.2)
        for server in servers:
            server.terminate()
        time.sleep(2)  # longer than connections without a request are waited for
        for server, wires in halves.items():
            for wire in wires:
                response = wire.request(b"\r\n")
                self.assertEqual((response.status, response.header("connection")), (200, "close"))
                self.assertTrue(wire.closed_by_peer())
                wire.socket.close()
            server.assert_ends(within=4)

    def test_a_revocation_holds_while_it_drains(self):
        servers = self.servers()
        halves = {server: server.wires() for server in servers}
        for server, wires in halves.items():
            for wire in wires:
                self.assertEqual(wire.check(server.token).status, 200)
                wire.send(check_head(server.token)[:-2])
        time.sleep(0.1)
        for server in servers:
            server.terminate()
            server.ok("sessions", "revoke", server.session["session"])
        time.sleep(1)
        for server, wires in halves.items():
            for wire in wires:
                self.assertEqual(wire.request(b"\r\n").status, 401)
                wire.socket.close()
            server.assert_ends()

    def test_who_dawdles_at_the_front_door_holds_up_no_check(self):
        server = Server(self, {}).prepare()
        held = Wire(server.front)
        self.addCleanup(held.socket.close)
        held.send(head("POST /auth/v1/login HTTP/1.1", "Host: localhost", "Content-Length: 100",
                       "Content-Type: application/json"))
        wires = server.wires()
        time.sleep(0.2)
        server.terminate()
        server.assert_refuses_at_once()
        for wire in wires:
            self.assertEqual(wire.check(server.token).header("connection"), "close")
        self.assertTrue(server.is_alive(), "it did not wait for the front door")
        held.socket.close()
        server.assert_ends()

    def test_a_sign_in_that_had_begun_is_answered_though_all_checks_have_ended(self):
        server = Server(self, {}).prepare()
        person = json.dumps({"username": "grace", "password": "a fine day for sailing",
                             "transport": "bearer"}).encode()
        self.assertEqual(call(server.front, "POST", "/auth/v1/register", body=person).status, 201)
        with Wire(server.front) as wire:
            wire.send(head("POST /auth/v1/login HTTP/1.1", "Host: localhost",
                           f"Content-Length: {len(person)}", "Content-Type: application/json"))
            time.sleep(0.2)
            server.terminate()
            time.sleep(0.5)
            response = wire.request(person)
        self.assertEqual(response.status, 200, response)
        server.assert_ends()
