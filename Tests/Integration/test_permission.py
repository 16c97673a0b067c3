# Who may look at people, on a real server: grants, acting sessions, the commands' gate, and the admin endpoint.

import json
import unittest

from harness import REVOCATION_SECONDS, Gatehouse
from visitor import call
from wire import Wire, eventually

PASSWORD = "a fine day for sailing"
REASON = "the invoice is wrong"


class Permission(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.gatehouse = Gatehouse(cls, front={}).start()
        # These are people.
        cls.gatehouse.marks_test_users = False

    def setUp(self):
        self.name = f"person{len(self.gatehouse.json('users', 'list')['users'])}"
        answer = self.post("register", {"username": self.name, "password": PASSWORD})
        self.assertEqual(answer.status, 201, answer)
        self.token = self.sign_in()

    def post(self, path, value, *headers):
        return call(self.gatehouse.front, "POST", f"/auth/v1/{path}", value, *headers)

    def sign_in(self):
        answer = self.post("login", {"username": self.name, "password": PASSWORD,
                                     "transport": "bearer"})
        self.assertEqual(answer.status, 200, answer)
        self.signed_in = json.loads(answer.body)
        return self.signed_in["token"]

    def own(self, method, path, value=None, token=None):
        return call(self.gatehouse.front, method, f"/auth/v1/{path}", value,
                    f"Authorization: Bearer {token or self.token}")

    def give(self, scope="act", **more):
        answer = self.own("POST", "account/grants", {"reason": REASON, "scope": scope, **more})
        self.assertEqual(answer.status, 201, answer)
        return json.loads(answer.body)["grant"]

    def looks(self):
        return json.loads(self.own("GET", "account/looks").body)["looks"]

    def refused(self, *arguments, code=1):
        found, output, errors = self.gatehouse.command(*arguments)
        self.assertEqual((found, output), (code, ""), (arguments, errors))
        self.assertNotIn("Traceback", errors)
        return errors

    def bearer(self, token):
        with Wire(self.gatehouse.tcp) as wire:
            return wire.request((f"GET /check,bearer HTTP/1.1\r\nHost: x\r\n"
                                 f"Authorization: Bearer {token}\r\n\r\n").encode())

    # Promise: permission
    def test_support_acts_under_a_grant_and_everybody_is_told_who_it_is(self):
        grant = self.give()
        cookie = self.gatehouse.ok("grants", "use", grant).strip()
        answer = self.gatehouse.check(cookie)
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.header("x-auth-username"), self.name)
        actor = answer.header("x-auth-actor")
        self.assertTrue(actor)
        self.assertEqual(answer.header("x-auth-level"), "1")
        self.assertEqual(answer.header("x-auth-methods"), "")
        issued = self.gatehouse.json("grants", "use", grant, "--bearer")
        self.assertEqual(issued["actor"], actor)
        self.assertEqual(self.bearer(issued["token"]).header("x-auth-actor"), actor)
        session = json.loads(self.own("GET", "session", token=issued["token"]).body)
        self.assertEqual((session["actor"], session["user"]["username"]), (actor, self.name))
        # No more than support may.
        for path, value in [
            ("account/grants", {"reason": "x", "scope": "act"}),
            ("account/password", {"current_password": PASSWORD, "new_password": PASSWORD + "!"}),
            ("confirm", {"password": PASSWORD}),
        ]:
            answer = self.own("POST", path, value, token=issued["token"])
            self.assertEqual((answer.status, json.loads(answer.body)["type"]),
                             (403, "urn:gatehouse:problem:acting"), path)
        self.assertEqual([look["seen"] for look in self.looks()], ["session", "session"])
        self.assertEqual({look["grant"] for look in self.looks()}, {grant})
        # The person's own session says nothing of anybody.
        self.assertEqual(self.bearer(self.token).header("x-auth-actor"), "")

    # Promise: grant-revocable
    def test_revoking_ends_what_support_is_looking_at(self):
        grant = self.give()
        cookie = self.gatehouse.ok("grants", "use", grant).strip()
        self.assertEqual(self.gatehouse.check(cookie).status, 200)
        self.assertEqual(self.own("DELETE", f"account/grants/{grant}").status, 204)
        # This server refuses it before it answers.
        self.assertEqual(self.gatehouse.check(cookie).status, 401)
        self.assertIn("revoked", self.refused("grants", "use", grant))
        self.assertIn("revoked", self.refused("users", "show", self.name, "--grant", grant))
        self.assertEqual(self.bearer(self.token).status, 200)

    # Promise: grant-revocable
    def test_another_server_refuses_it_too(self):
        second = Gatehouse(self, data=self.gatehouse.data).start()
        grant = self.give()
        cookie = self.gatehouse.ok("grants", "use", grant).strip()
        self.assertEqual(second.check(cookie).status, 200)
        self.assertEqual(self.own("DELETE", f"account/grants/{grant}").status, 204)
        eventually(lambda: second.check(cookie).status == 401, within=REVOCATION_SECONDS)

    # Promise: grant-revocable
    def test_a_grant_that_ends_takes_its_session_with_it(self):
        grant = self.give(seconds=60)
        issued = self.gatehouse.json("grants", "use", grant)
        shown = self.gatehouse.json("grants", "show", grant)
        self.assertEqual((shown["username"], shown["reason"], shown["live"]),
                         (self.name, REASON, True))
        self.assertEqual(issued["absolute_deadline"], shown["ends"])

    # Promise: permission
    def test_no_command_shows_a_person_without_permission(self):
        mine, other = self.give("see"), "f" * 32
        commands = [("users", "show", self.name), ("sessions", "list", self.name),
                    ("audit", "list", "--user", self.name), ("sessions", "issue", self.name)]
        for command in commands:
            self.assertIn("hint: the person gives a code", self.refused(*command), command)
            self.assertIn("no such grant", self.refused(*command, "--grant", other))
            self.refused(*command, "--grant", "x", code=2)
            self.refused(*command, "--break-glass", "", code=2)
            self.refused(*command, "--grant", mine, "--break-glass", "x", code=2)
        self.assertEqual(self.looks(), [])
        for command in commands[:-1]:
            self.gatehouse.ok(*command, "--grant", mine)
        self.assertIn("for seeing", self.refused(*commands[-1], "--grant", mine))
        self.assertIn("for seeing", self.refused("grants", "use", mine))
        self.assertEqual([look["seen"] for look in self.looks()],
                         ["audit", "sign_ins", "account"])
        # Somebody else's.
        self.name, theirs = f"other-{self.name}", self.name
        self.assertEqual(
            self.post("register", {"username": self.name, "password": PASSWORD}).status, 201)
        self.assertIn("somebody else's", self.refused("users", "show", self.name, "--grant", mine))
        self.name = theirs

    # Promise: permission
    def test_explain_tells_everything_but_whose_it_is(self):
        said = self.gatehouse.explain(self.token)
        self.assertEqual((said["verdict"], said["username_withheld"]), ("good", True))
        self.assertNotIn("username", said)
        self.assertNotIn("user", said)
        text = self.gatehouse.ok("explain", self.token)
        self.assertNotIn(self.name, text)
        self.assertNotIn(self.signed_in["user"]["id"], text)
        grant = self.give("see")
        code, output, _ = self.gatehouse.command("explain", self.token, "--json", "--grant", grant)
        self.assertEqual((code, json.loads(output)["username"]), (0, self.name))
        self.assertEqual([look["seen"] for look in self.looks()], ["token"])
        acting = self.gatehouse.json("grants", "use", self.give())
        self.assertEqual(self.gatehouse.explain(acting["token"])["actor"], acting["actor"])

    def test_a_recovery_link_is_told_as_a_look_without_permission_is(self):
        self.gatehouse.ok("users", "show", self.name, "--break-glass", "a court's order")
        for arguments, reason in [((), "a recovery link was made"),
                                  (("--reason", "they rang up"), "they rang up")]:
            self.gatehouse.ok("users", "recover", self.name, *arguments)
            look = self.looks()[0]
            self.assertEqual((look["seen"], look["reason"]), ("recovery", reason))
            self.assertTrue(look["operator"])
        # Whoever has used a link puts nothing away.
        self.sign_in()
        self.assertEqual(self.signed_in["warnings"], 3)
        self.assertEqual(self.own("DELETE", "account/warnings").status, 204)
        waiting = json.loads(self.own("GET", "account/warnings").body)["looks"]
        self.assertEqual([look["seen"] for look in waiting], ["recovery", "recovery", "account"])

    def test_a_grants_code_is_told_to_nobody_but_the_person(self):
        see, act = self.give("see"), self.give("act")
        for output in [
            self.gatehouse.ok("audit", "list", "--kind", "grant_given", "--limit", "1000"),
            self.gatehouse.ok("users", "export", self.name, "--grant", see),
            self.gatehouse.ok("audit", "list", "--user", self.name, "--grant", see),
        ]:
            self.assertNotIn(act, output)
            self.assertNotIn(see, output)
        acting = self.gatehouse.json("grants", "use", self.give("act"))["token"]
        for path in ["account/grants", "account/looks"]:
            self.assertNotIn(act, self.own("GET", path, token=acting).body.decode())
        self.assertIn(act, self.own("GET", "account/grants").body.decode())

    def test_showing_a_grant_is_a_look_and_only_while_it_is_good(self):
        good, other = self.give("see"), self.give("see", operator="nobody-here")
        ended = self.give("see")
        self.assertEqual(self.own("DELETE", f"account/grants/{ended}").status, 204)
        for code in (other, ended):
            shown = self.gatehouse.json("grants", "show", code)
            self.assertNotIn("username", shown)
            self.assertNotIn("reason", shown)
            text = self.gatehouse.ok("grants", "show", code)
            self.assertNotIn(self.name, text)
            self.assertNotIn(REASON, text)
        self.assertEqual(self.looks(), [])
        self.assertIn(self.name, self.gatehouse.ok("grants", "show", good))
        self.assertEqual([(look["seen"], look["grant"]) for look in self.looks()],
                         [("account", good)])

    # Promise: permission
    def test_a_grant_for_one_operator_is_no_other_operators(self):
        grant = self.give(operator="nobody-here")
        self.assertIn("another operator", self.refused("users", "show", self.name, "--grant", grant))
        self.assertIn("another operator", self.refused("grants", "use", grant))
        self.assertEqual(self.looks(), [])

    # Promise: break-glass
    def test_breaking_the_glass_is_told_at_the_next_sign_in(self):
        shown = self.gatehouse.json("users", "show", self.name, "--break-glass", "a court's order")
        self.assertEqual(shown["username"], self.name)
        [look] = self.looks()
        self.assertEqual((look["seen"], look["reason"]), ("account", "a court's order"))
        self.sign_in()
        self.assertEqual(self.signed_in["warnings"], 1)
        warnings = json.loads(self.own("GET", "account/warnings").body)
        self.assertEqual([one["reason"] for one in warnings["looks"]], ["a court's order"])
        entries = self.gatehouse.json(
            "audit", "list", "--user", self.name, "--grant", self.give("see"))["entries"]
        [broken] = [entry for entry in entries if entry["kind"] == "glass_broken"]
        self.assertEqual(broken["reason"], "a court's order")
        self.assertEqual(self.own("DELETE", "account/warnings").status, 204)
        self.sign_in()
        self.assertNotIn("warnings", self.signed_in)
        self.assertTrue(self.gatehouse.json("audit", "verify")["whole"])

    # Promise: break-glass
    def test_a_session_without_permission_says_who_and_ends_within_the_hour(self):
        [issued] = self.gatehouse.json(
            "sessions", "issue", self.name, "--break-glass", "a court's order")["sessions"]
        answer = self.gatehouse.check(issued["token"])
        self.assertEqual((answer.status, answer.header("x-auth-actor")), (200, issued["actor"]))
        [row] = [row for row in json.loads(self.own("GET", "account/sessions").body)["sessions"]
                 if row["session"] == issued["session"]]
        self.assertEqual(row["actor"], issued["actor"])
        self.assertLessEqual(issued["absolute_deadline"] - row["created"], 3600)
        self.assertEqual(self.own("DELETE", f"account/sessions/{issued['session']}").status, 204)
        self.assertEqual(self.gatehouse.check(issued["token"]).status, 401)
        self.refused("sessions", "issue", self.name, "--count", "2", "--break-glass", "x", code=2)

    # Promise: permission
    def test_the_trail_without_permission_is_facts_and_ids_and_can_be_proved(self):
        self.post("login", {"username": self.name, "password": PASSWORD, "transport": "bearer"},
                  "X-Forwarded-For: 203.0.113.7", "User-Agent: Firefox/140.0 (X11; Linux)")
        self.gatehouse.ok("users", "unlock", self.name, "--reason", f"asked {self.name}")
        for lines in [self.gatehouse.json("audit", "list", "--limit", "1000")["entries"],
                      [json.loads(line) for line in
                       self.gatehouse.ok("audit", "export").splitlines()][:-1]]:
            text = json.dumps(lines)
            self.assertNotIn("203.0.113", text)
            self.assertNotIn(f"asked {self.name}", text)
            held = [line for line in lines if line.get("withheld")]
            self.assertTrue(held)
            for line in held:
                self.assertFalse(line["erased"])
                self.assertFalse({"place", "browser", "reason", "salt"} & set(line))
                self.assertEqual(len(line["personal"]), 64)
        self.assertEqual(self.looks(), [])
        self.refused("audit", "list", "--break-glass", "x", code=2)
        exported = self.gatehouse.ok("audit", "export", "--break-glass", "handed to the police")
        self.assertIn("203.0.113.0/24", exported)
        [look] = self.looks()
        self.assertEqual((look["seen"], look["reason"]), ("audit", "handed to the police"))
        self.assertTrue(self.gatehouse.json("audit", "verify")["whole"])

    def admin(self, name, *headers, method="GET"):
        lines = [f"{method} /v1/admin/users/{name} HTTP/1.1", "Host: localhost", *headers, "", ""]
        with Wire(self.gatehouse.admin) as wire:
            return wire.request("\r\n".join(lines).encode())

    # Promise: looks-shown
    def test_the_admin_endpoint_takes_a_token_and_a_permission(self):
        operator = f"desk-{self.name}"
        token = self.gatehouse.ok("admin-tokens", "add", operator).strip()
        self.assertIn("given before", self.refused("admin-tokens", "add", operator))
        authorization = f"Authorization: Bearer {token}"
        grant = f"Gatehouse-Grant: {self.give('see', operator=operator)}"

        def problem(answer):
            self.assertEqual(answer.header("content-type"), "application/problem+json")
            self.assertEqual(answer.header("cache-control"), "no-store")
            self.assertIsNone(answer.header("access-control-allow-origin"))
            self.assertNotIn(self.name, answer.body.decode())
            return answer.status, json.loads(answer.body)["type"].rpartition(":")[2]

        for headers, expected in [
            ([], (401, "admin_token")), ([grant], (401, "admin_token")),
            (["Authorization: Bearer " + "A" * 43, grant], (401, "admin_token")),
            ([authorization, authorization, grant], (401, "admin_token")),
            ([f"Cookie: token={token}", grant], (401, "admin_token")),
            ([authorization], (403, "permission")),
            ([authorization, "Gatehouse-Grant: " + "f" * 32], (403, "permission")),
            ([authorization, "Gatehouse-Grant: x"], (400, "permission_malformed")),
            ([authorization, grant, "Gatehouse-Break-Glass: x"], (400, "permission_malformed")),
            ([authorization, "Gatehouse-Break-Glass:"], (400, "permission_malformed")),
        ]:
            self.assertEqual(problem(self.admin(self.name, *headers)), expected, headers)
        self.assertEqual(problem(self.admin("no-such-one", authorization, grant)),
                         (404, "not_found"))
        self.assertEqual(self.looks(), [])
        answer = self.admin(self.name, authorization, grant)
        self.assertEqual(answer.status, 200, answer)
        record = json.loads(answer.body)
        self.assertEqual((record["username"], record["state"], len(record["sign_ins"])),
                         (self.name, "enabled", 1))
        [look] = self.looks()
        self.assertEqual((look["seen"], look["operator"]), ("export", operator))
        answer = self.admin(self.name, authorization, "Gatehouse-Break-Glass: a court's order")
        self.assertEqual(answer.status, 200, answer)
        self.sign_in()
        self.assertEqual(self.signed_in["warnings"], 1)
        entries = self.gatehouse.json("audit", "list", "--kind", "glass_broken")["entries"]
        self.assertIn(operator, {entry["operator"] for entry in entries})
        # What was open stays so.
        for path in ["/livez", "/readyz", "/metrics"]:
            self.assertEqual(self.gatehouse.ask_admin(path).status, 200)
        self.gatehouse.ok("admin-tokens", "revoke", operator)
        self.assertEqual(problem(self.admin(self.name, authorization, grant)),
                         (401, "admin_token"))
        listed = {row["name"]: row for row in
                  self.gatehouse.json("admin-tokens", "list")["tokens"]}
        self.assertIn("revoked", listed[operator])
        self.assertNotIn(token, (self.gatehouse.data / "gatehouse.sqlite").read_bytes()
                         .decode("latin-1"))

    # Promise: permission
    def test_a_test_user_is_nobody(self):
        self.gatehouse.ok("users", "add", f"t-{self.name}", "--test")
        self.gatehouse.ok("users", "show", f"t-{self.name}")
        self.assertEqual(len(self.gatehouse.ok(
            "sessions", "issue", f"t-{self.name}", "--count", "3").split()), 3)
        self.gatehouse.ok("users", "add", f"p-{self.name}")
        self.assertIn("not permitted", self.refused("sessions", "issue", f"p-{self.name}"))


if __name__ == "__main__":
    unittest.main()
