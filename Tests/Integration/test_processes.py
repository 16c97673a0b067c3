# Several processes over one store: what one of them ends, every running server refuses.

import unittest

from harness import REVOCATION_SECONDS, Gatehouse
from wire import eventually


class Processes(unittest.TestCase):
    def setUp(self):
        self.first = Gatehouse(self).start()
        self.second = Gatehouse(self, data=self.first.data).start()
        for name in ["ada", "grace"]:
            self.first.add_user(name)
        self.ada = self.first.issue("ada")
        self.other = self.first.issue("ada")
        self.grace = self.first.issue("grace")
        self.assert_good(self.ada, self.other, self.grace)

    def assert_good(self, *sessions):
        for node in [self.first, self.second]:
            for session in sessions:
                self.assertEqual(node.check(session["token"]).status, 200)

    def assert_ends(self, *sessions):
        """Both servers refuse the sessions within the limit, as revoked."""
        for node in [self.first, self.second]:
            for session in sessions:
                eventually(lambda: node.check(session["token"]).status == 401, REVOCATION_SECONDS)
                self.assertEqual(
                    node.check(session["token"]).header("x-auth-reason"), "revoked")

    def states(self, name):
        return {row["session"]: row["state"]
                for row in self.first.json("sessions", "list", name)["sessions"]}

    def test_revoking_a_session_ends_it_everywhere_and_no_other(self):
        self.first.ok("sessions", "revoke", self.ada["session"])
        self.assert_ends(self.ada)
        self.assert_good(self.other, self.grace)
        self.assertEqual(self.states("ada"), {
            self.ada["session"]: "revoked", self.other["session"]: "live"})
        self.assertEqual(self.first.explain(self.ada["token"])["verdict"], "revoked")
        self.assertEqual(self.first.explain(self.other["token"])["verdict"], "good")

    def test_revoking_a_users_sessions_ends_them_all_and_new_ones_are_good(self):
        self.first.ok("sessions", "revoke", "--user", "ada")
        self.assert_ends(self.ada, self.other)
        self.assert_good(self.grace, self.first.issue("ada"))

    def test_revoking_everything_ends_everything(self):
        self.first.ok("sessions", "revoke", "--all")
        self.assert_ends(self.ada, self.other, self.grace)
        self.assert_good(self.first.issue("ada"))

    def test_revoking_what_is_older_than_a_time_ends_that_only(self):
        def signed_in(session):
            return int(self.first.check(session["token"]).header("x-auth-time"))
        oldest = signed_in(self.grace)
        young = []
        # Times are whole seconds: a session of a later one.
        eventually(lambda: young.append(self.first.issue("ada")) or signed_in(young[-1]) > oldest,
                   within=10)
        before = signed_in(young[-1])
        self.first.ok("sessions", "revoke", "--before", before)
        [entry] = self.first.json(
            "audit", "list", "--kind", "sessions_revoked_before", "--limit", "1")["entries"]
        self.assertEqual(entry["detail"], f"before={before}")
        self.assert_ends(self.ada, self.other, self.grace)
        self.assert_good(young[-1])

    def test_disabling_a_user_ends_the_sessions_and_enabling_revives_none(self):
        self.first.ok("users", "disable", "ada")
        self.assert_ends(self.ada, self.other)
        self.assertEqual(self.first.json("users", "show", "ada")["state"], "disabled")
        self.assertEqual(self.first.command("sessions", "issue", "ada")[0], 1)
        self.first.ok("users", "enable", "ada")
        self.assert_good(self.first.issue("ada"), self.grace)
        self.assert_ends(self.ada, self.other)

    def test_a_revocation_that_waited_is_seen_by_the_next_check(self):
        self.first.ok("sessions", "revoke", self.ada["session"], "--wait")
        for node in [self.first, self.second]:
            self.assertEqual(node.check(self.ada["token"]).status, 401)

    def test_a_session_that_expires_is_refused_as_expired(self):
        short = self.first.issue("ada", "--ttl", "1")
        eventually(lambda: self.first.check(short["token"]).status == 401, within=5)
        self.assertEqual(self.first.check(short["token"]).header("x-auth-reason"), "expired")
        self.assertEqual(self.first.explain(short["token"])["verdict"], "expired")

    def test_several_sessions_come_one_token_a_line(self):
        tokens = self.first.ok("sessions", "issue", "ada", "--count", "3").split()
        self.assertEqual(len(set(tokens)), 3)
        self.assert_good(*({"token": token} for token in tokens))

    def test_a_restored_server_knows_every_revocation_at_its_first_answer(self):
        self.second.stop()
        self.first.ok("sessions", "revoke", self.ada["session"])
        self.second.start()
        self.assertEqual(self.second.check(self.ada["token"]).status, 401)
