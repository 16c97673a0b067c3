# Where secrets are, and where they are not: in memory, in files, in what is printed, in what ps shows.
#
# Another process's memory is read as root: a server forbids it to its own user.

import base64
import collections
import ctypes
import json
import os
import pathlib
import resource
import signal
import subprocess
import time
import unittest

import keyring
import memory
from harness import BINARY, ENVIRONMENT, Gatehouse, Nginx, after, scratch
from visitor import Visitor, call, confirm
from wire import COOKIE, EchoSite, eventually

REMEMBER = "__Host-gatehouse-remember"
# How long a secret may stay in memory once it is not needed any more.
GONE_SECONDS = 3.0


class Recorded(Gatehouse):
    """Keeps what every command prints, and what ps shows of it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.printed = []  # [(command, text)]

    def command(self, *arguments, input=None):
        process = self.popen(*arguments, stdin=subprocess.PIPE)
        # It waits for its input, or has ended.
        self.printed.append((f"/proc of {arguments}", shown(process.pid)))
        output, errors = process.communicate(input, timeout=60)
        self.printed += [(f"output of {arguments}", output), (f"errors of {arguments}", errors)]
        return process.returncode, output, errors

    def printing(self, *arguments):
        """What a command prints whose purpose is to print a secret."""
        output = self.ok(*arguments, "--json")
        self.printed = [one for one in self.printed if one[1] != output]
        return json.loads(output)


def shown(pid):
    """What every user sees of a process, and what its own user does."""
    text = ""
    for name in ["cmdline", "environ"]:
        try:
            text += pathlib.Path(f"/proc/{pid}/{name}").read_bytes().decode("latin-1")
        except ProcessLookupError:
            pass
    return text


def without_capability(limit):
    """For a child: root without its privilege to lock any amount of memory, and a limit on it."""
    def prepare():
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
        drop, lock_memory = 24, 14  # PR_CAPBSET_DROP, CAP_IPC_LOCK
        if os.geteuid() == 0:
            assert ctypes.CDLL(None).prctl(drop, lock_memory, 0, 0, 0) == 0
    return prepare


class Scene(unittest.TestCase):
    def setUp(self):
        self.gatehouse = Recorded(self, front={"remember.grace": "2s"}).start()
        self.site = EchoSite()
        after(self, self.site.stop)
        self.nginx = Nginx(self, self.gatehouse.tcp, site=self.site.address,
                           front="http://%s:%d" % self.gatehouse.front)

    def copies(self, secrets, **options):
        return memory.copies(self.gatehouse.process.pid, secrets, **options)

    def assert_secret(self, found):
        """Copies may lie in secret memory, and nowhere else."""
        outside = [one for one in found if not one[1].is_for_secrets]
        self.assertEqual(outside, [])

    def sign_in(self, visitor, name, password):
        visitor.open("/tea")
        visitor.post("/auth/login", {**visitor.page.forms[0].fields, "username": name,
                                     "password": password, "remember": "on"})
        self.assertEqual(visitor.response.status, 200)


class Keys(Scene):
    def secrets(self):
        return {f"{key} {name}": secret
                for key, named in keyring.secrets(self.gatehouse.data).items()
                for name, secret in named.items()}

    def test_keys_and_what_is_made_of_them_are_in_secret_memory_only(self):
        first = keyring.secrets(self.gatehouse.data)
        visitor = Visitor(self.nginx.address[1])
        visitor.register("grace", "a password of some length")
        self.sign_in(visitor, "grace", "a password of some length")
        for _ in range(20):
            self.assertEqual(self.gatehouse.check(visitor.token).status, 200)
        self.gatehouse.ok("keys", "rotate", "--wait")
        secrets = self.secrets()
        found = self.copies(secrets)
        self.assert_secret(found)
        # The search finds what is there: every secret of the ring, and the keys that libcrypto has
        # expanded, whose first 32 bytes are the key itself. Wrapping and ring key have done their work.
        there = collections.Counter(name for name, _ in found)
        self.assertEqual(set(there), set(secrets) - {"None wrapping key", "None ring key"})
        self.assertEqual(self.gatehouse.metric('gatehouse_secret_memory_bytes{locked="false"}'), 0)
        self.assertGreater(self.gatehouse.metric('gatehouse_secret_memory_bytes{locked="true"}'), 0)
        # A key that is revoked is gone, and with it all that was made of it.
        [revoked] = set(first) - {None}
        self.gatehouse.ok("keys", "revoke", revoked, "--wait")
        eventually(lambda: not self.copies(first[revoked]), GONE_SECONDS, every=0.2)
        self.assertNotEqual(self.copies(self.secrets()), [])

    def test_a_node_that_did_not_revoke_it_has_lost_it_too(self):
        other = Gatehouse(self, data=self.gatehouse.data).start()
        first = keyring.secrets(self.gatehouse.data)
        [key] = set(first) - {None}
        self.assertNotEqual(memory.copies(other.process.pid, first[key]), [])
        self.gatehouse.ok("keys", "revoke", key, "--wait")
        eventually(lambda: not memory.copies(other.process.pid, first[key]), GONE_SECONDS,
                   every=0.2)


class Sweep(Scene):
    """One day with marked secrets, and a look everywhere afterwards."""

    FIRST, SECOND, WRONG, TYPED = (
        f"marker {word} of a password".encode() for word in ["zebra", "quagga", "okapi", "tapir"])

    def tokens(self):
        """Everything that signs somebody in or stands for it, as text."""
        port = self.nginx.address[1]
        first, second = self.FIRST.decode(), self.SECOND.decode()
        visitor, tokens = Visitor(port), {}

        def keep(step):
            tokens.update({f"{name} {step}": value for name, value in visitor.jar.items()})
        visitor.register("grace", first)
        Visitor(port).sign_in("grace", self.WRONG.decode())
        # A password where the name belongs.
        Visitor(port).sign_in(first, first)
        self.sign_in(visitor, "grace", first)
        keep("after the sign-in")
        token = visitor.token
        self.assertEqual(self.gatehouse.check(token).status, 200)
        changed = token[:20] + ("B" if token[20] == "A" else "A") + token[21:]
        self.assertEqual(self.gatehouse.check(changed).status, 401)
        self.assertEqual(self.gatehouse.check(token[:60]).status, 401)
        # Past the grace, the browser is remembered under another generation.
        time.sleep(2.1)
        visitor.jar.pop(COOKIE)
        visitor.open("/tea")
        keep("after the return")
        visitor.open("/settings/mail")
        self.assertTrue(visitor.target.startswith("/auth/confirm?"), visitor.target)
        confirm(visitor, self.WRONG.decode(), follow=False)
        visitor.open("/settings/mail")
        confirm(visitor, first)
        keep("after the confirmation")
        visitor.open("/auth/logout")
        tokens["form token"] = visitor.page.forms[0].fields["form"]

        link = self.gatehouse.printing("users", "recover", "grace")
        tokens["recovery link"] = link["token"]
        other = Visitor(port)
        other.open("/auth/recover?token=" + link["token"])
        other.submit(password=second)
        self.assertEqual(other.response.status, 200, other.response)
        other.open("/auth/recover?token=" + link["token"])

        for password, status in [(self.WRONG.decode(), 401), (second, 200)]:
            answer = call(self.gatehouse.front, "POST", "/auth/v1/login",
                          {"username": "grace", "password": password, "transport": "bearer"})
            self.assertEqual(answer.status, status)
        tokens["bearer token"] = json.loads(answer.body)["token"]
        call(self.gatehouse.front, "POST", "/auth/v1/login",
             body=b'{"username": "grace", "password": "' + self.SECOND)
        call(self.gatehouse.front, "POST", "/auth/v1/login",
             {"username": ["grace"], "password": {"of": second}})
        issued = self.gatehouse.printing("sessions", "issue", "grace")["sessions"][0]
        tokens["issued token"] = issued["token"]
        return tokens

    def commands(self, tokens):
        """What an operator does meanwhile."""
        run = self.gatehouse.command
        typed = self.TYPED.decode()
        self.assertEqual(run("users", "add", "ada", "--password-stdin", input=typed)[0], 0)
        # Refused, for being longer than a password may be.
        self.assertEqual(run("users", "add", "eve", "--password-stdin", input=typed * 60)[0], 1)
        for token in tokens.values():
            run("explain", input=token)
            run("explain", "--json", input=token[:-3])
        for arguments in [["users", "list"], ["users", "show", "grace"], ["sessions", "list", "grace"],
                          ["keys", "list"], ["keys", "rotate", "--wait"], ["doctor"]]:
            self.assertIn(run(*arguments)[0], (0, 1))
            self.assertIn(run(*arguments, "--json")[0], (0, 1))
        oldest = self.gatehouse.json("keys", "list")["keys"][0]["id"]
        self.gatehouse.ok("keys", "revoke", oldest, "--wait")
        # The key itself where its file's name belongs, and a password on a line of its own.
        root = (self.gatehouse.data / "root.key").read_text().strip()
        options = self.gatehouse.options
        for name, text in [("key", f"root_key:\n  file: {root}\n"), ("list", f"- {typed}\n"),
                           ("broken", f"pages: [{typed}\n"), ("value", f"session.idle: {typed}\n")]:
            path = self.gatehouse.directory / f"{name}.yaml"
            path.write_text(text)
            self.gatehouse.options = ["--config", str(path)]
            self.assertEqual(run("keys", "list")[0], 3)
            self.assertEqual(run("serve")[0], 3)
        self.gatehouse.options = options
        self.gatehouse.environment["GATEHOUSE_ROOT_KEY_FILE"] = root
        self.assertEqual(run("keys", "list")[0], 3)
        # That it stood in this command's environment was our doing.
        self.gatehouse.printed = [one for one in self.gatehouse.printed
                                  if not one[0].startswith("/proc") or root not in one[1]]
        del self.gatehouse.environment["GATEHOUSE_ROOT_KEY_FILE"]

    def test_no_secret_is_where_it_does_not_belong(self):
        process = self.gatehouse.process
        before = keyring.secrets(self.gatehouse.data)
        tokens = self.tokens()
        self.commands(tokens)
        secrets = {f"{word} password": password for word, password in [
            ("first", self.FIRST), ("second", self.SECOND), ("wrong", self.WRONG),
            ("typed", self.TYPED)]}
        secrets |= {name: base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
                    for name, text in tokens.items()}
        for ring in [before, keyring.secrets(self.gatehouse.data)]:
            secrets |= {f"{key} {name}": secret for key, named in ring.items()
                        for name, secret in named.items()}
        self.assertGreater(len(secrets), 20)
        needles = {(name, form): text for name, secret in secrets.items()
                   for form, text in memory.forms(secret).items()}
        for name in ["first", "second", "wrong"]:
            password = secrets[f"{name} password"]
            needles[f"{name} password", "form"] = password.replace(b" ", b"+")

        # What was written, printed and shown.
        places = {}
        files = [file for file in self.gatehouse.data.rglob("*")
                 if file.is_file() and file.name != "root.key"]
        names = {file.name for file in files}
        self.assertLessEqual({"gatehouse.sqlite", "gatehouse.sqlite-wal"}, names)
        places |= {file.name: file.read_bytes() for file in [*files, self.gatehouse.log]}
        self.assertIn(b"password refused", places[self.gatehouse.log.name])
        places |= {f"{number}: {name}": text.encode("latin-1", "replace")
                   for number, (name, text) in enumerate(self.gatehouse.printed)}
        places["/proc of the server"] = shown(process.pid).encode("latin-1")
        self.assertIn(b"serve", places["/proc of the server"])
        for place, content in places.items():
            leaked = [needle for needle, text in needles.items() if text in content]
            self.assertEqual(leaked, [], f"in {place}")

        # What a core dump would have, once the connections that brought it have ended.
        self.nginx.stop()

        def dumped():
            return self.copies(needles, where=lambda mapping: mapping.is_dumped)
        eventually(lambda: not self.copies(
            {name: needles[name] for name in needles if name[1] in ("plain", "base64url+0")},
            where=lambda mapping: mapping.is_dumped), within=GONE_SECONDS, every=0.2)
        self.assertEqual(dumped(), [])
        # The search finds what is there.
        self.assertNotEqual(self.copies({"root": secrets["None root key"]}), [])


class Dumps(unittest.TestCase):
    def crashed(self, process, number):
        """Ends a process as a crash does; whether the kernel wrote a core."""
        os.kill(process.pid, number)
        ended = []
        eventually(lambda: ended.append(os.waitpid(process.pid, os.WNOHANG)) or ended[-1][0],
                   within=10)
        process.returncode = -number
        self.assertEqual(os.WTERMSIG(ended[-1][1]), number)
        return os.WCOREDUMP(ended[-1][1])

    def setUp(self):
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        before = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (
            unlimited if os.geteuid() == 0 else (before[1], before[1])))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_CORE, before)
        self.gatehouse = Gatehouse(self).start()

    def test_a_crash_of_the_server_or_of_a_command_leaves_no_core(self):
        directory = scratch(self)
        pattern = pathlib.Path("/proc/sys/kernel/core_pattern").read_text()
        if not pattern.startswith("|"):  # else it is a program's affair, which may not be there
            other = subprocess.Popen(["sleep", "60"], cwd=directory)
            self.assertTrue(self.crashed(other, signal.SIGSEGV), "this machine writes no cores")
        for number in [signal.SIGSEGV, signal.SIGABRT]:
            self.assertFalse(self.crashed(self.gatehouse.process, number))
            # Nor does anything print registers and memory.
            self.assertNotIn("racing", self.gatehouse.logged())
            self.gatehouse.process = None
            self.gatehouse.start()
        # It has opened the ring, and waits for a token.
        command = self.gatehouse.popen("explain", stdin=subprocess.PIPE)
        self.addCleanup(lambda: [stream.close() for stream in [
            command.stdin, command.stdout, command.stderr]])
        eventually(lambda: any(
            mapping.is_for_secrets for mapping in memory.mappings(command.pid)), within=10)
        self.assertFalse(self.crashed(command, signal.SIGABRT))
        self.assertEqual(list(self.gatehouse.directory.glob("core*")), [])


class LockedMemory(unittest.TestCase):
    def test_a_server_that_cannot_lock_its_keys_does_not_start_and_commands_go_on(self):
        gatehouse = Gatehouse(self).make_store()
        limit = 64 << 10
        tries = {}
        for name, arguments in [("serve", ["serve", "--dev"]), ("list", ["keys", "list"])]:
            tries[name] = subprocess.run(
                [BINARY, *arguments, "--data-dir", gatehouse.data], env=ENVIRONMENT,
                cwd=gatehouse.directory, capture_output=True, text=True, timeout=60,
                preexec_fn=without_capability(limit))
        self.assertEqual(tries["serve"].returncode, 3)
        self.assertIn("lets this process lock 64 KiB of memory", tries["serve"].stderr)
        self.assertIn("LimitMEMLOCK=8M", tries["serve"].stderr)
        self.assertEqual((tries["list"].returncode, tries["list"].stderr), (0, ""))

    def test_eight_mebibytes_are_enough(self):
        gatehouse = Gatehouse(self).make_store()
        with open(gatehouse.log, "wb") as log:
            gatehouse.process = subprocess.Popen(
                [BINARY, "serve", "--dev", "--data-dir", gatehouse.data,
                 "--check", "%s:%d" % gatehouse.tcp, "--admin", "%s:%d" % gatehouse.admin,
                 *gatehouse.arguments], env=ENVIRONMENT, cwd=gatehouse.directory,
                stdout=subprocess.DEVNULL, stderr=log, preexec_fn=without_capability(8 << 20))
        eventually(gatehouse.is_ready, within=30)
        self.assertEqual(gatehouse.metric('gatehouse_secret_memory_bytes{locked="false"}'), 0)
