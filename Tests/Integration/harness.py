# The real things that the integration tests run: Gatehouse servers, its commands, and nginx.

import atexit
import contextlib
import errno
import functools
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import time

from wire import Wire, eventually

ROOT = pathlib.Path(__file__).resolve().parents[2]
BINARY = str((ROOT / os.environ.get("GATEHOUSE_BIN", ".build/release/gatehouse")).resolve())

# How much larger than usual the numbers of the long tests are: `make soak` sets it.
SOAK = int(os.environ.get("GATEHOUSE_SOAK", "1"))
# Everything random in a test comes from this; it is printed, so that a failure can be repeated.
PORTS = os.environ.get("GATEHOUSE_PORTS")
SEED = int(os.environ.get("GATEHOUSE_SEED", random.SystemRandom().randrange(1 << 32)))
print(f"random seed {SEED} (GATEHOUSE_SEED={SEED} repeats it)", file=sys.stderr)

# What a revocation may take to reach another process (DESIGN: under a second).
REVOCATION_SECONDS = 1.0

# The service's own configuration is read from GATEHOUSE_*: the tests' variables must not be.
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("GATEHOUSE_")}

# Commands that show one person's records. Whoever the tests make up is nobody.
LOOKS = [("users", "show"), ("users", "export"), ("sessions", "list"), ("sessions", "issue"),
         ("audit", "list"), ("explain",)]

# Hashes as cheap as they may be: servers make two when they start, and hardly a test is about them.
CHEAP = {"password.argon2_memory": "12MiB"}

# The front door as the shipped nginx configuration wants it.
FRONT = {"public.base_path": "/auth", "public.tls": "false",
         "public.trusted_proxies": ["127.0.0.1"],
         # All tests come from one address, and fail often.
         "throttle.address_failures": 0}


def peak_memory(process):
    """KiB that a process took at most, once it has ended; what it prints must fit in a pipe."""
    peak = 0
    while process.poll() is None:
        # Not wait4: it counts what the parent had when it forked.
        for text in pathlib.Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if text.startswith("VmHWM:"):
                peak = int(text.split()[1])
        time.sleep(0.002)
    return peak


def seeded(test, part=""):
    """The source of randomness of one test, or of a part of it."""
    return random.Random(f"{SEED} {test.id()} {part}")


def scratch(owner):
    """A new directory, short enough for the path of a Unix socket, removed after `owner`."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-", dir="/tmp"))
    after(owner, shutil.rmtree, directory, ignore_errors=True)
    return directory


def after(owner, function, *arguments, **options):
    """Registers a clean-up with a test, or with a test class."""
    register = owner.addClassCleanup if isinstance(owner, type) else owner.addCleanup
    register(function, *arguments, **options)


_ports = set()


def free_port():
    """A port of loopback that nobody listens on, and that was not given before; one of four kinds
    where four processes run tests.
    """
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _ports and PORTS in (None, "abcd"[port // 2 % 4]):
            _ports.add(port)
            return port


def listens(port):
    """Whether somebody listens on this port of loopback. Nobody is connected to, who would count it:
    only beside a listener may a port not be bound again.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as problem:
            if problem.errno != errno.EADDRINUSE:
                raise
            return True
    return False


class Gatehouse:
    """A data directory, the commands over it, and a server process while one is running."""

    def __init__(self, owner, data=None, arguments=(), environment=None, dev=True, front=None,
                 settings=None, database=None):
        """What `settings` says stands in the configuration file, unless `arguments` name another.
        With `front` the front door is open to nginx: settings beside those of FRONT. The store is
        in the data directory, or it is a `database` of PostgreSQL.
        """
        self.directory = scratch(owner)
        self.data = data or self.directory / "data"
        self.tcp = ("127.0.0.1", free_port())
        self.front = ("127.0.0.1", free_port())
        self.unix = str(self.directory / "check.sock")
        self.admin = ("127.0.0.1", free_port())
        self.log = self.directory / "server.log"
        self.environment = {**ENVIRONMENT, **(environment or {})}
        self.dev = dev
        # Whether everybody is marked as made for tests before a command looks at them.
        self.marks_test_users = True
        self.arguments = [str(argument) for argument in arguments]
        self.options = []  # of the server and of every command
        self.database = database
        settings = settings or {}
        if database:
            settings = database.settings() | settings
            # Said once more: --dev takes no database from a file.
            self.options += ["--store-url", settings["store.url"]]
        if "--config" not in self.arguments:
            configuration = self.directory / "gatehouse.yaml"
            # JSON is YAML.
            configuration.write_text(json.dumps(
                CHEAP | ({} if front is None else FRONT | front) | settings))
            self.options += ["--config", str(configuration)]
        if dev:
            self.arguments += ["--public", "%s:%d" % self.front]
        self.process = None
        after(owner, self.kill)

    # The server.

    def spawn(self):
        """Starts the server and doesn't wait for it."""
        assert self.process is None
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [BINARY, "serve", *(["--dev"] if self.dev else []), "--data-dir", str(self.data),
                 "--check", "%s:%d" % self.tcp, "--check", f"unix:{self.unix}",
                 "--admin", "%s:%d" % self.admin, *self.options, *self.arguments],
                env=self.environment, cwd=self.directory,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log)
        return self

    def start(self):
        """Starts the server and waits until it is ready."""
        self.spawn()
        eventually(self.is_ready, within=30)
        return self

    def make_store(self):
        """A store as a first server leaves it: the commands work on it without a server too."""
        self.start()
        assert self.stop() == 0
        return self

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(
                f"the server ended with {self.process.returncode}:\n{self.logged()}")
        try:
            if self.ask_admin("/readyz").status != 200:
                return False
            # It may listen a moment after the admin endpoint does.
            return ":".join(map(str, self.front)) not in self.arguments or listens(self.front[1])
        except (ConnectionError, FileNotFoundError):
            return False

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """kill -9, as a power cut would."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.exit_code()

    def exit_code(self):
        """Waits for the server to end by itself."""
        code = self.process.wait(30)
        self.process = None
        return code

    def logged(self):
        return self.log.read_text()

    def ask_admin(self, path):
        with Wire(self.admin) as wire:
            return wire.request(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def metric(self, name):
        """The value of one metric, named with its labels as /metrics prints them."""
        lines = self.ask_admin("/metrics").body.decode().splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return float(values[name])

    def check(self, token):
        with Wire(self.tcp) as wire:
            return wire.check(token)

    def spent(self):
        """Seconds of processor time that the server has had."""
        stat = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text()
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # The commands.

    def popen(self, *arguments, stdin=subprocess.DEVNULL):
        if self.marks_test_users and any(arguments[:len(look)] == look for look in LOOKS):
            self.mark_test_users()
        return subprocess.Popen(
            [BINARY, *map(str, arguments), "--data-dir", str(self.data), *self.options],
            env=self.environment, cwd=self.directory, stdin=stdin, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)

    def mark_test_users(self):
        """Says of all users that they are nobody: commands may look at them without permission."""
        if self.database:
            self.database.psql("UPDATE users SET test = 1 WHERE test = 0")
            return
        path = self.data / "gatehouse.sqlite"
        if not path.exists():
            return
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as database:
            # A store that is damaged, or of another release, is for the command to find.
            with contextlib.suppress(sqlite3.Error):
                if database.execute("SELECT 1 FROM users WHERE test = 0 LIMIT 1").fetchone():
                    with database:
                        database.execute("UPDATE users SET test = 1")

    def command(self, *arguments, input=None):
        """Runs a command: (exit code, standard output, standard error)."""
        process = self.popen(*arguments, stdin=subprocess.PIPE if input is not None else
                             subprocess.DEVNULL)
        output, errors = process.communicate(input, timeout=60)
        return process.returncode, output, errors

    def ok(self, *arguments):
        """Runs a command that must succeed, and returns what it prints."""
        code, output, errors = self.command(*arguments)
        assert code == 0, f"{arguments}: exit {code}\n{output}{errors}"
        return output

    def json(self, *arguments):
        return json.loads(self.ok(*arguments, "--json"))

    def add_user(self, name):
        return self.json("users", "add", name)

    def issue(self, name, *options):
        """One new session of this user: {"session", "token", "key"}."""
        return self.json("sessions", "issue", name, *options)["sessions"][0]

    def explain(self, token):
        """What a token is, good or not."""
        code, output, errors = self.command("explain", token, "--json")
        assert code in (0, 1), errors
        return json.loads(output)


@functools.cache
def certificates():
    """The directory with the certificates of Certs/make-certs, made once a run."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="gatehouse-certs-", dir="/tmp"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    subprocess.run([ROOT / "Certs/make-certs", directory], check=True, stdout=subprocess.DEVNULL)
    return directory


def check_tls():
    """Settings of a check endpoint that speaks TLS, for development."""
    return {"check.tls": True, "check.certificate": str(certificates() / "server.pem"),
            "check.key": str(certificates() / "server.key")}


@functools.cache
def tls():
    return ssl.create_default_context(cafile=certificates() / "ca.pem")


class Nginx:
    """nginx with the shipped configuration, in front of a site, asking Gatehouse at `check`.

    With `front`, the URL of a front door, people who are not signed in are sent there, as in the
    demo; else they get the page of the other choice, @gatehouse_refused. `changes` are made to
    gatehouse-check.conf.
    """

    SHIPPED = ROOT / "Deploy/nginx"

    def __init__(self, owner, check, site=None, front=None, changes=None):
        self.directory = scratch(owner)
        self.address = ("127.0.0.1", free_port())
        if isinstance(check, tuple):
            upstream = self.shipped(
                "gatehouse-upstream-tcp.conf", {"127.0.0.1:8444": "%s:%d" % check})
        else:
            upstream = self.shipped(
                "gatehouse-upstream-unix.conf", {"/run/gatehouse/check.sock": check})
        files = {path.name: path.read_text() for path in self.SHIPPED.glob("gatehouse-*.conf")}
        files |= {
            "gatehouse-upstream.conf": upstream,
            "gatehouse-check.conf": self.shipped("gatehouse-check.conf", changes or {}),
            "gatehouse-front.conf": self.shipped("gatehouse-front.conf", {
                "http://127.0.0.1:8443": front or "http://127.0.0.1:1"}),
            "nginx.conf": self.shipped("demo.conf", {
                "error_page 401 @gatehouse_sign_in":
                    "error_page 401 @gatehouse_" + ("sign_in" if front else "refused"),
                "@PORT@": str(self.address[1]),
                "@CERTS@": str(certificates()),
                "@SITE@": site or f"unix:{self.directory}/site.sock",
                "@STATE@": str(self.directory)}),
        }
        for name, text in files.items():
            (self.directory / name).write_text(text)
        # As root, nginx would run its workers as a user who can't reach the sockets.
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        self.process = subprocess.Popen(
            [shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") or "nginx",
             "-p", self.directory, "-c", self.directory / "nginx.conf", "-e", "stderr", *user],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after(owner, self.stop)
        eventually(self.listens, within=10)

    @classmethod
    def shipped(cls, name, changes):
        """A shipped file with what differs here; each change must meet its text."""
        text = (cls.SHIPPED / name).read_text()
        for old, new in changes.items():
            assert old in text, f"{name} has no {old}"
            text = text.replace(old, new)
        return text

    def listens(self):
        assert self.process.poll() is None, f"nginx ended: {self.errors()}"
        try:
            socket.create_connection(self.address, 5).close()
            return True
        except ConnectionRefusedError:
            return False

    def stop(self):
        self.process.terminate()
        self.process.wait(10)

    def errors(self):
        log = self.directory / "error.log"
        return log.read_text() if log.exists() else ""

    def wire(self):
        return Wire(self.address, tls=tls())

    def curl(self, *arguments, cookie=None):
        """(status, body) of the site's first page, as a person with curl gets it."""
        command = ["curl", "--silent", "--show-error", "--max-time", "10",
                   "--cacert", str(certificates() / "ca.pem"), "--write-out", "\n%{http_code}"]
        if cookie:
            command += ["--header", f"Cookie: __Host-gatehouse={cookie}"]
        result = subprocess.run([*command, *arguments, f"https://localhost:{self.address[1]}/"],
                                capture_output=True, text=True, check=True)
        body, status = result.stdout.rsplit("\n", 1)
        return int(status), body
