# What a server does every ten seconds: it writes which sessions were used, and looks at certificates.
# Everything that takes that long begins at once, and the tests wait for it together.

import ssl
import time
import unittest

from authority import Authority, replace, settings
from harness import Gatehouse, after, certificates, check_tls, scratch, tls
from wire import Wire, eventually

UPKEEP_SECONDS = 12
IDLE_SECONDS = 60
# The store notes no smaller steps: a twentieth of the limit.
STEP_SECONDS = 3


class Upkeep(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.replace_files()
        cls.use_sessions()

    # Certificates.

    @classmethod
    def replace_files(cls):
        cls.authority, clients, successor = Authority(cls), Authority(cls), Authority(cls)
        cls.old, new = cls.authority.issue("old"), cls.authority.issue("new")
        client_ca = scratch(cls) / "clients.pem"
        replace(clients.certificate, client_ca)
        cls.good, good = cls.server()
        cls.garbage, garbage = cls.server()
        cls.mixed, mixed = cls.server()
        cls.development, development = cls.server()
        cls.asking, _ = cls.server(**{"check.client_ca": str(client_ca)})
        cls.first_client, cls.second_client = clients.issue("proxy"), successor.issue("proxy")
        cls.connected = [Wire(cls.good.tcp, tls=cls.authority.client()),
                         Wire(cls.asking.tcp, tls=cls.authority.client(cls.first_client))]
        for wire in cls.connected:
            after(cls, wire.socket.close)
            assert wire.check().status == 401
        assert cls.lets_in(cls.first_client) and not cls.lets_in(cls.second_client)

        for source, target in zip(new, good):
            replace(source, target)
        replace(b"garbage", garbage[0])
        replace(new[1], mixed[1])
        replace(certificates() / "server.pem", development[0])
        replace(certificates() / "server.key", development[1])
        replace(successor.certificate, client_ca)

    @classmethod
    def server(cls, **more):
        """A production server with copies of the old files, and their paths."""
        directory = scratch(cls)
        pair = [directory / "server.pem", directory / "server.key"]
        for source, target in zip(cls.old, pair):
            replace(source, target)
        gatehouse = Gatehouse(cls, dev=False, settings=settings(pair, **more))
        gatehouse.ok("keys", "init")
        return gatehouse.start(), pair

    @classmethod
    def shown(cls, gatehouse):
        """The name in the certificate that a new connection sees."""
        with Wire(gatehouse.tcp, tls=cls.authority.client()) as wire:
            assert wire.check().status == 401
            [[[_, name]]] = wire.socket.getpeercert()["subject"]
        return name

    @classmethod
    def lets_in(cls, pair):
        try:
            with Wire(cls.asking.tcp, tls=cls.authority.client(pair)) as wire:
                return wire.check().status == 401
        except (ssl.SSLError, ConnectionError):
            return False

    def test_new_files_are_taken_up_and_who_is_connected_stays_so(self):
        eventually(lambda: self.shown(self.good) == "new", within=UPKEEP_SECONDS, every=0.1)
        eventually(lambda: self.lets_in(self.second_client), within=UPKEEP_SECONDS, every=0.1)
        self.assertFalse(self.lets_in(self.first_client))
        for wire in self.connected:
            self.assertEqual(wire.check().status, 401)
        self.assertIn("loaded again", self.good.logged())

    def test_bad_files_leave_the_old_ones_in_use_and_are_reported(self):
        for server in [self.garbage, self.mixed, self.development]:
            eventually(lambda: "new certificates can't be used" in server.logged(),
                       within=UPKEEP_SECONDS, every=0.1)
            self.assertIn('"level":"error"', server.logged())
            self.assertEqual(self.shown(server), "old")

    # Activity.

    @classmethod
    def use_sessions(cls):
        # By both drivers at once.
        cls.busy = Gatehouse(cls, settings={
            **check_tls(), "session.idle": f"{IDLE_SECONDS}s"}).start()
        cls.busy.add_user("ada")
        cls.sessions = {name: cls.busy.issue("ada") for name in [
            "epoll", "epoll passive", "tls", "tls passive", "refused", "unused"]}
        cls.before = cls.deadlines()
        time.sleep(STEP_SECONDS + 1)
        cls.used = int(time.time())
        with Wire(cls.busy.unix) as plain, Wire(cls.busy.tcp, tls=tls()) as secure:
            for wire, name, options in [
                    (plain, "epoll", ""), (plain, "epoll passive", ",passive"),
                    (secure, "tls", ""), (secure, "tls passive", ",passive,renew")]:
                token = cls.sessions[name]["token"]
                assert wire.check(token, target=f"/check{options}").status == 200
            assert plain.check(cls.sessions["refused"]["token"] + "x").status == 401

    @classmethod
    def deadlines(cls):
        rows = cls.busy.json("sessions", "list", "ada")["sessions"]
        ends = {row["session"]: row["idle_deadline"] for row in rows}
        return {name: ends[session["session"]] for name, session in cls.sessions.items()}

    def test_a_check_moves_the_idle_deadline_and_a_passive_one_does_not(self):
        eventually(lambda: self.deadlines()["tls"] > self.before["tls"], within=UPKEEP_SECONDS,
                   every=0.1)
        deadlines = self.deadlines()
        for name, deadline in deadlines.items():
            if name in ["epoll", "tls"]:
                self.assertGreaterEqual(deadline, self.used + IDLE_SECONDS, name)
                self.assertLessEqual(deadline, self.used + IDLE_SECONDS + 2, name)
            else:
                self.assertEqual(deadline, self.before[name], name)
