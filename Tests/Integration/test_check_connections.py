# Connections of the check endpoint: many, slow ones, too many, and no descriptors left for more.

import os
import pathlib
import resource
import socket
import statistics
import time
import unittest

from harness import SOAK, Gatehouse, check_tls, tls
from wire import Wire, check_head, eventually

HEAD_SECONDS = 1
# Half-open connections at one time.
SLOW = min(500 * SOAK, 5000)
# What others may wait for an answer meanwhile: the machine is busy with us too.
WAIT_SECONDS = 0.5
WAIT_SECONDS_MEDIAN = 0.05


def connections(event):
    return f'gatehouse_check_connections_total{{event="{event}"}}'


class ConnectionTest(unittest.TestCase):
    """What every class here does with its server."""

    secure = None

    def start(self, **settings):
        self.gatehouse = Gatehouse(self, settings=settings).start()
        self.gatehouse.add_user("ada")
        self.token = self.gatehouse.issue("ada")["token"]

    def address(self):
        return self.gatehouse.tcp

    def wire(self):
        wire = Wire(self.address(), tls=self.secure and self.secure())
        self.addCleanup(wire.socket.close)
        return wire

    def good_wire(self):
        wire = self.wire()
        self.assert_good(wire)
        return wire

    def assert_good(self, wire):
        self.assertEqual(wire.check(self.token).status, 200)

    def open_count(self):
        return self.gatehouse.metric("gatehouse_check_connections_open")


class Slow(ConnectionTest):
    """Clients that begin and don't end are cut in time, and nobody else notices them."""

    settings = {}

    def beginnings(self):
        """What a slow client sends at once, and what byte by byte."""
        head = check_head(self.token)
        return [(head[:-2], b""), (head[:1], head[1:-2])]

    def test_slow_clients_are_cut_and_others_are_answered(self):
        self.start(**{"check.head_timeout": f"{HEAD_SECONDS}s", "check.max_connections": 10_000,
                      **self.settings})
        bystander = self.good_wire()
        before = {event: self.gatehouse.metric(connections(event))
                  for event in ["head_timeout", "over_limit", "idle_timeout"]}
        beginnings = self.beginnings()
        begun, rest, waits, cut = {}, {}, [], []
        for number in range(SLOW):
            first, slowly = beginnings[number % len(beginnings)]
            slow = socket.socket(socket.AF_UNIX if isinstance(self.address(), str)
                                 else socket.AF_INET)
            self.addCleanup(slow.close)
            slow.settimeout(10)
            slow.connect(self.address())
            slow.send(first)
            slow.setblocking(False)
            begun[slow], rest[slow] = time.monotonic(), slowly
        next_byte = time.monotonic()
        while begun:
            asked = time.monotonic()
            self.assert_good(bystander)
            waits.append(time.monotonic() - asked)
            self.assertLess(asked - max(begun.values()), HEAD_SECONDS + 2, f"{len(begun)} not cut")
            drips = asked >= next_byte
            if drips:
                next_byte = asked + 0.25
            for slow in list(begun):
                try:
                    self.assertEqual(slow.recv(1), b"", "a slow client was answered")
                except BlockingIOError:
                    if drips and rest[slow]:
                        rest[slow] = rest[slow][slow.send(rest[slow][:1]):]
                    continue
                except ConnectionResetError:
                    pass  # It was cut as it sent.
                cut.append(time.monotonic() - begun.pop(slow))
        self.assertEqual(len(cut), SLOW)
        self.assertGreater(min(cut), HEAD_SECONDS - 0.1)
        self.assertLess(max(waits), WAIT_SECONDS)
        self.assertLess(statistics.median(waits), WAIT_SECONDS_MEDIAN)
        for event, count in before.items():
            self.assertEqual(self.gatehouse.metric(connections(event)) - count,
                             SLOW if event == "head_timeout" else 0, event)
        self.assertEqual(self.open_count(), 1)


class SlowOverUnixSocket(Slow):
    def address(self):
        return self.gatehouse.unix


class SlowByNIO(Slow):
    settings = {"check.driver": "nio"}


class SlowOverTLS(Slow):
    settings = check_tls()
    secure = staticmethod(tls)

    def beginnings(self):
        # A handshake counts as part of a head: one that never begins, and one that never ends.
        return [(b"", b""), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"x" * 100)]


class Limit(ConnectionTest):
    """check.max_connections, over all listeners."""

    settings = {}
    LIMIT = 16

    def test_connections_over_the_limit_are_closed_at_once(self):
        self.start(**{"check.max_connections": self.LIMIT, **self.settings})
        wires = [self.good_wire() for _ in range(self.LIMIT - 4)]
        for _ in range(4):
            wires.append(Wire(self.gatehouse.unix))
            self.addCleanup(wires[-1].socket.close)
            self.assert_good(wires[-1])
        for address in [self.gatehouse.tcp, self.gatehouse.unix] * 2:
            with Wire(address, timeout=1) as wire:
                self.assertTrue(wire.closed_by_peer())
        self.assertEqual(self.gatehouse.metric(connections("over_limit")), 4)
        self.assertEqual(self.open_count(), self.LIMIT)
        for wire in wires:
            self.assert_good(wire)
        wires.pop(0).socket.close()
        wires.pop().socket.close()
        eventually(lambda: self.open_count() == self.LIMIT - 2, within=2)
        self.good_wire()
        self.good_wire()
        with Wire(self.gatehouse.tcp, timeout=1) as wire:
            self.assertTrue(wire.closed_by_peer())


class LimitByNIO(Limit):
    settings = {"check.driver": "nio"}


class LimitOverTLS(Limit):
    settings = check_tls()
    secure = staticmethod(tls)


class Descriptors(ConnectionTest):
    """Without a descriptor for it a connection waits, others are served, and nothing spins."""

    settings = {}

    def test_running_out_of_descriptors_is_survived(self):
        self.start(**{"check.event_loops": 2, **self.settings})
        pid = self.gatehouse.process.pid
        # Asked over one connection all along: there will be no descriptor for another.
        admin = Wire(self.gatehouse.admin)
        self.addCleanup(admin.socket.close)

        def paused():
            body = admin.request(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").body.decode()
            [line] = [one for one in body.splitlines()
                      if one.startswith(connections("accept_paused"))]
            return float(line.rsplit(" ", 1)[1])

        self.assertEqual(paused(), 0)
        served = [self.good_wire() for _ in range(8)]
        highest = max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (highest + 1, hard))

        # The kernel completes these connections; the server can't take them.
        waiting = []
        while len(waiting) < 3:
            self.assertLess(len(served), 100, "there is no end of descriptors")
            wire = self.plain_wire()
            wire.send(check_head(self.token))
            wire.socket.settimeout(0.2)
            try:
                self.assertEqual(wire.receive().status, 200)
                served.append(wire)
            except TimeoutError:
                waiting.append(wire)
            wire.socket.settimeout(10)

        spent, start = self.gatehouse.spent(), time.monotonic()
        while time.monotonic() - start < 1:
            for wire in served:
                self.assert_good(wire)
            time.sleep(0.05)
        self.assertLess(self.gatehouse.spent() - spent, 0.3, "it spins")
        self.assertTrue(1 <= paused() <= 50, f"paused {paused()} times")

        # Each that leaves makes room for one that waits.
        for wire in served[:len(waiting)]:
            wire.socket.close()
        start = time.monotonic()
        for wire in waiting:
            self.assertEqual(wire.receive().status, 200)
        self.assertLess(time.monotonic() - start, 3)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        self.good_wire()
        for wire in served[len(waiting):]:
            self.assert_good(wire)

    def plain_wire(self):
        wire = Wire(self.address())
        self.addCleanup(wire.socket.close)
        return wire


class DescriptorsOverUnixSocket(Descriptors):
    def address(self):
        return self.gatehouse.unix


class DescriptorsByNIO(Descriptors):
    settings = {"check.driver": "nio"}


class EventLoops(ConnectionTest):
    """Several loops, each with its own connections and its own snapshot."""

    LOOPS = 4
    CONNECTIONS = 64

    def switches(self):
        """How often each loop's thread has waited for something."""
        counts = {}
        for task in pathlib.Path(f"/proc/{self.gatehouse.process.pid}/task").iterdir():
            name = (task / "comm").read_text().strip()
            if name.startswith("check-"):
                [line] = [line for line in (task / "status").read_text().splitlines()
                          if line.startswith("voluntary_ctxt_switches")]
                counts[name] = int(line.split()[1])
        return counts

    def test_a_revocation_that_waited_holds_on_every_connection_of_every_loop(self):
        self.start(**{"check.event_loops": self.LOOPS})
        self.assertEqual(self.gatehouse.metric("gatehouse_event_loops"), self.LOOPS)
        wires = [Wire(address) for address in [self.gatehouse.tcp, self.gatehouse.unix]
                 for _ in range(self.CONNECTIONS // 2)]
        for wire in wires:
            self.addCleanup(wire.socket.close)
        before = self.switches()
        for _ in range(20):
            for wire in wires:
                self.assert_good(wire)
        after = self.switches()
        self.assertEqual(len(after), self.LOOPS)
        for name, count in after.items():
            # A fair share is 320; the rest is for what else wakes a loop, or doesn't.
            self.assertGreater(count - before[name], 200, f"{name} has served hardly any")
        for _ in range(3 * SOAK):
            session = self.gatehouse.issue("ada")
            for wire in wires:
                self.assertEqual(wire.check(session["token"]).status, 200)
            self.gatehouse.ok("sessions", "revoke", session["session"], "--wait")
            self.assertEqual([wire.check(session["token"]).status for wire in wires],
                             [401] * len(wires))
            self.assert_good(wires[0])

    def test_a_rotation_that_waited_holds_too(self):
        self.start(**{"check.event_loops": self.LOOPS})
        wires = [self.wire() for _ in range(self.CONNECTIONS)]
        self.gatehouse.ok("keys", "rotate", "--wait")
        session = self.gatehouse.issue("ada")
        for wire in wires:
            self.assertEqual(wire.check(session["token"]).status, 200)
            self.assert_good(wire)
        self.gatehouse.ok("keys", "revoke", session["key"], "--wait")
        for wire in wires:
            self.assertEqual(wire.check(session["token"]).status, 401)
            self.assert_good(wire)


class Metrics(ConnectionTest):
    def test_every_kind_of_verdict_and_event_is_there_from_the_start(self):
        self.start()
        for verdict in ["good", "absent", "invalid", "expired", "revoked", "stale", "level",
                        "unavailable"]:
            name = f'gatehouse_check_verdicts_total{{verdict="{verdict}"}}'
            self.assertEqual(self.gatehouse.metric(name), 0, name)
        for event in ["accepted", "closed", "over_limit", "head_timeout", "idle_timeout",
                      "accept_paused"]:
            self.assertEqual(self.gatehouse.metric(connections(event)), 0, event)
        for reason in ["bad_request", "body", "too_large", "unknown_option"]:
            name = f'gatehouse_check_refused_requests_total{{reason="{reason}"}}'
            self.assertEqual(self.gatehouse.metric(name), 0, name)
