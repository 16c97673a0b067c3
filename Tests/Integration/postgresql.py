# PostgreSQL for the tests: clusters of their own, each in a directory of its own, a standby of one,
# and databases in them. They have nothing to do with a cluster that the machine may run.

import contextlib
import csv
import functools
import getpass
import io
import os
import pathlib
import pwd
import secrets
import signal
import subprocess
import urllib.parse

from harness import after, free_port, scratch
from wire import eventually

# The role of the tests themselves, which owns the cluster, and Gatehouse's, which owns databases.
SUPERUSER, ROLE = "postgres", "gatehouse"

# Who may connect, and how: the tests by who they are, everybody else with a password.
HOST_BASED_AUTHENTICATION = f"""\
local   all,replication  {SUPERUSER}  peer map=owner
local   all              all          scram-sha-256
hostssl all              all          127.0.0.1/32 scram-sha-256
"""

# Small, and as Gatehouse's documentation asks for in everything that its correctness rests on.
SETTINGS = {
    "shared_buffers": "16MB", "max_connections": 200, "huge_pages": "off",
    "max_wal_size": "128MB", "min_wal_size": "32MB", "wal_level": "replica",
    # What is left of a killed cluster stands in its directory, and goes with it.
    "dynamic_shared_memory_type": "mmap",
    "log_line_prefix": "%m [%p] %q%u@%d ", "lc_messages": "C", "timezone": "UTC",
}

NULL = "\\N"  # what stands for NULL in what psql prints


@functools.cache
def programs():
    """The directory of the newest server's programs."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"),
                   key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    # Not Debian: whatever is installed, with its development files.
    directory = subprocess.run(["pg_config", "--bindir"], capture_output=True, text=True,
                               check=True).stdout.strip()
    return pathlib.Path(directory)


def system_user():
    """PostgreSQL doesn't run as root: then it runs as the user that Debian has for it."""
    return "postgres" if os.geteuid() == 0 else getpass.getuser()


class PostgreSQL:
    """A cluster and its server process, which is running once this is made.

    With `durable` it survives a power cut, as in production: for tests that kill it. With `tls`,
    the paths of a certificate and its key, it listens on loopback too, with TLS. `primary` is for
    `standby()`.
    """

    def __init__(self, owner, durable=False, tls=None, primary=None):
        self.owner = owner
        self.durable = durable
        self.directory = scratch(owner)
        self.host = str(self.directory)  # of its socket
        self.data = self.directory / "cluster"
        self.log = self.directory / "postgresql.log"
        self.port = free_port()
        self.tls = tls
        self.process = None
        user = pwd.getpwnam(system_user())
        os.chown(self.directory, user.pw_uid, user.pw_gid)
        after(owner, self.destroy)
        if primary:
            self.password_file = primary.password_file
            self._copy(primary)
        else:
            self.password_file = self._initialize()
        if tls:
            for path, name in zip(tls, ["server.pem", "server.key"]):
                copy = self.data / name
                copy.write_bytes(pathlib.Path(path).read_bytes())
                copy.chmod(0o600)
                os.chown(copy, user.pw_uid, user.pw_gid)
        self.start()
        if not primary:
            password = self.password_file.read_text().strip()
            self.psql(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'")

    def _initialize(self):
        # A default order that is not that of bytes: a comparison that forgets to ask for it shows.
        self._run("initdb", "-D", self.data, "--no-sync", "--username", SUPERUSER,
                  "--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu",
                  "--icu-locale", "en-US")
        (self.data / "pg_hba.conf").write_text(HOST_BASED_AUTHENTICATION)
        (self.data / "pg_ident.conf").write_text(f"owner {system_user()} {SUPERUSER}\n")
        # For whoever runs the tests, and so for the servers that they start.
        path = scratch(self.owner) / "password"
        path.touch(0o600)
        path.write_text(secrets.token_urlsafe(24) + "\n")
        return path

    def _copy(self, primary):
        self._run("pg_basebackup", *primary.connection(), "-D", self.data,
                  "--write-recovery-conf", "--wal-method=stream", "--checkpoint=fast", "--no-sync")

    def _command(self, program, *arguments):
        change = [] if os.geteuid() else [
            "setpriv", f"--reuid={system_user()}", f"--regid={system_user()}", "--init-groups"]
        return [*change, programs() / program, *map(str, arguments)]

    def _run(self, program, *arguments):
        """What a program of PostgreSQL's prints; it must succeed."""
        result = subprocess.run(
            self._command(program, *arguments), cwd=self.directory, env=self._environment(),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
        if result.returncode:
            raise AssertionError(f"{program}: exit {result.returncode}\n{result.stderr}")
        return result.stdout

    @staticmethod
    def _environment():
        """Nothing of what libpq would read of the environment."""
        return {k: v for k, v in os.environ.items() if not k.startswith("PG")}

    def connection(self):
        """The options by which PostgreSQL's own programs find this cluster as its owner."""
        return ["-h", self.host, "-p", str(self.port), "-U", SUPERUSER]

    # The server.

    def start(self):
        """Starts the server and waits until it takes connections."""
        self.spawn()
        eventually(self.is_ready, within=60)
        return self

    def spawn(self):
        assert self.process is None
        settings = SETTINGS | {
            "unix_socket_directories": self.directory, "port": self.port,
            "listen_addresses": "127.0.0.1" if self.tls else "",
            "fsync": "on" if self.durable else "off"}
        if self.tls:
            settings |= {"ssl": "on", "ssl_cert_file": "server.pem", "ssl_key_file": "server.key"}
        options = [part for name, value in settings.items() for part in ["-c", f"{name}={value}"]]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._command("postgres", "-D", self.data, *options), cwd=self.directory,
                env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(
                f"PostgreSQL ended with {self.process.returncode}:\n{self.log.read_text()}")
        return subprocess.run(
            self._command("pg_isready", "-q", *self.connection()), cwd=self.directory,
            env=self._environment()).returncode == 0

    # Fast rolls back what is open; immediate leaves the next start to recover.
    HOW = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}

    def stop(self, how="fast"):
        self.process.send_signal(self.HOW[how])
        self.process.wait(60)
        self.process = None

    def restart(self, how="fast"):
        self.stop(how)
        return self.start()

    def processes(self):
        """The ids of the server's processes; the one that starts the others is first."""
        found = [self.process.pid]
        for entry in os.listdir("/proc"):
            if entry.isdecimal() and self._status(entry)[1:2] == [str(self.process.pid)]:
                found.append(int(entry))
        return found

    @staticmethod
    def _status(pid):
        """The state and the parent of a process; nothing if there is none."""
        try:
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
        except (FileNotFoundError, ProcessLookupError):
            return []

    @staticmethod
    def _signal(pid, number):
        # Those that served one connection may end by themselves.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def pause(self):
        """SIGSTOP to everything: connections stay, and nothing comes over them."""
        os.kill(self.process.pid, signal.SIGSTOP)  # it starts no other from now on
        for pid in self.processes():
            self._signal(pid, signal.SIGSTOP)

    def resume(self):
        for pid in self.processes():
            self._signal(pid, signal.SIGCONT)

    def kill(self):
        """kill -9 of everything, as a power cut would."""
        self.pause()
        processes = self.processes()
        for pid in processes:
            self._signal(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        # The next start refuses while one of them still has the shared memory.
        eventually(lambda: all(self._status(pid)[:1] in ([], ["Z"]) for pid in processes),
                   within=10)

    def destroy(self):
        if self.process:
            if self.process.poll() is None:
                self.resume()
                self.stop("immediate")
            return
        # What was killed leaves its segment of shared memory behind, which the file names.
        lock = self.data / "postmaster.pid"
        if lock.exists():
            segment = lock.read_text().splitlines()[6].split()[1]
            subprocess.run(["ipcrm", "-m", segment], stderr=subprocess.DEVNULL)

    # Its databases.

    def psql(self, sql, database="postgres"):
        """The rows that SQL gives, run as the cluster's owner: tuples of text, None for NULL."""
        output = self._run(
            "psql", *self.connection(), "--dbname", database, "--no-psqlrc", "--quiet", "--csv",
            "--tuples-only", "--pset", f"null={NULL}", "--set", "ON_ERROR_STOP=1", "--command", sql)
        return [tuple(None if cell == NULL else cell for cell in row)
                for row in csv.reader(io.StringIO(output, newline=""))]

    def create_database(self, name, template=None):
        """A new database of Gatehouse's role, empty or a copy of one that nobody uses."""
        self.psql(f'CREATE DATABASE "{name}" OWNER {ROLE}'
                  + (f' TEMPLATE "{template}"' if template else ""))
        return Database(self, name)

    def url(self, database, via=None, **options):
        """Where Gatehouse's role finds a database: here, or at the first of `via`, clusters and
        proxies, that has it. With `host="localhost"` over TLS.
        """
        hosts = via or [self]
        options = {"host": ",".join(each.host for each in hosts),
                   "port": ",".join(str(each.port) for each in hosts), **options}
        return f"postgresql://{ROLE}@/{database}?" + urllib.parse.urlencode(options, safe="/,")

    # Another cluster that has the same.

    def standby(self):
        """A new cluster that follows this one: what is acknowledged from now on is in both."""
        other = PostgreSQL(self.owner, self.durable, self.tls, primary=self)
        # Only now: the copy, once it is promoted, shall wait for nobody.
        self.psql("ALTER SYSTEM SET synchronous_standby_names = '*'")
        self.psql("SELECT pg_reload_conf()")
        eventually(lambda: ("sync",) in self.psql("SELECT sync_state FROM pg_stat_replication"),
                   within=30)
        return other

    def promote(self):
        """Makes a standby a primary."""
        assert self.psql("SELECT pg_promote(true, 60)") == [("t",)]
        assert self.psql("SELECT pg_is_in_recovery()") == [("f",)]
        return self


class Database:
    """One database of a cluster, which belongs to Gatehouse's role."""

    def __init__(self, cluster, name, via=None, **options):
        self.cluster = cluster
        self.name = name
        self.way = (via, options)

    def through(self, *via, **options):
        """The same database, to be found as `PostgreSQL.url` says."""
        return Database(self.cluster, self.name, via, **options)

    def settings(self):
        """Gatehouse's settings that lead here."""
        via, options = self.way
        return {"store.url": self.cluster.url(self.name, via, **options),
                "store.password_file": str(self.cluster.password_file)}

    def psql(self, sql):
        return self.cluster.psql(sql, self.name)
