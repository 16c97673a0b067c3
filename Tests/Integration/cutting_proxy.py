# A proxy between Gatehouse and PostgreSQL that loses what networks lose. It reads the protocol
# (PostgreSQL, chapter 55.7) as far as it takes to cut a connection in the middle of a commit.

import contextlib
import re
import socket
import struct
import threading
import time

from harness import after, free_port, scratch

# The codes of messages before the first typed one.
CANCEL, TLS, GSSAPI = 80877102, 80877103, 80877104

COMMIT = re.compile(rb"(?:^|;)\s*(?:COMMIT|END)\b", re.IGNORECASE)
END_OF_TRANSACTION = re.compile(rb"(?:^|;)\s*(?:COMMIT|END|ROLLBACK|ABORT)\b", re.IGNORECASE)


class Cut:
    """A connection that is to be cut at a commit: before PostgreSQL gets it, or after it has done
    it and before the answer has come. Only one whose transaction has a statement that `statement`,
    a regular expression, is found in.
    """

    def __init__(self, before, statement):
        self.before = before
        self.statement = re.compile(statement, re.IGNORECASE)
        self.happened = threading.Event()

    def wait(self, within=30):
        assert self.happened.wait(within), "no commit was cut"


class CuttingProxy:
    """Listens on a Unix socket, or on loopback with `tcp`, for connections to a cluster.

    A connection with TLS is carried too, but not looked into.
    """

    def __init__(self, owner, cluster, tcp=False):
        self.cluster = cluster
        self.backend = f"{cluster.directory}/.s.PGSQL.{cluster.port}"
        self.port = free_port()
        self.directory = None if tcp else scratch(owner)
        self.host = "127.0.0.1" if tcp else str(self.directory)
        self.lock = threading.Lock()
        self.connections = set()
        self.cuts = []
        self.exchanges = None  # the statements of each round trip of work, once somebody wants them
        self.flowing = threading.Event()  # clear while traffic is held
        self.flowing.set()
        self.delay_seconds = 0
        self.listener = None
        self.accept()
        after(owner, self.close)

    # What it does to connections.

    def refuse(self):
        """Nobody listens any more; what is connected stays."""
        with self.lock:
            listener, self.listener = self.listener, None
        # close() alone doesn't wake a thread that waits in accept().
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()

    def accept(self):
        """Takes connections, as it does at first."""
        assert self.listener is None
        if self.directory:
            path = self.directory / f".s.PGSQL.{self.port}"
            path.unlink(missing_ok=True)
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            self.listener.listen(128)
        else:
            self.listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def cut(self):
        """Cuts every connection there is, and returns how many there were."""
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            connection.cut()
        return len(connections)

    def hold(self):
        """Lets nothing through in either direction, as a cable that was pulled; nobody is told."""
        self.flowing.clear()

    def release(self):
        """Lets through what was held."""
        self.flowing.set()

    def delay(self, seconds):
        """What comes from now on takes this much longer, each way."""
        self.delay_seconds = seconds

    def cut_commit(self, before, statement=""):
        """The next commit of a transaction with such a statement is cut; see `Cut`."""
        cut = Cut(before, statement.encode())
        with self.lock:
            self.cuts.append(cut)
        return cut

    def close(self):
        if self.listener:
            self.refuse()
        self.cut()
        self.flowing.set()

    # How.

    def _accept(self, listener):
        while True:
            try:
                front, _ = listener.accept()
            except OSError:
                return
            Connection(self, front)

    def take_cut(self, connection):
        """The cut that is wanted of a connection's transaction; None if none is, or if the connection
        is gone and only what came before is still being read.
        """
        with self.lock:
            for cut in self.cuts if not connection.is_cut else []:
                if any(cut.statement.search(one) for one in connection.transaction):
                    self.cuts.remove(cut)
                    connection.at_commit = None if cut.before else cut
                    return cut
        return None


class Connection:
    """One connection, with a thread for each direction."""

    def __init__(self, proxy, front):
        self.proxy = proxy
        self.front = front
        self.back = socket.socket(socket.AF_UNIX)
        self.is_cut = False
        self.is_opaque = False  # in TLS
        self.prepared, self.portals = {}, {}  # by their names: SQL
        self.transaction = []  # the statements of the one that is open
        self.exchange = []  # those that no answer has been asked for
        self.follows = False  # looks for news, whatever else is done
        self.single_bytes = 0  # answers of one byte, to requests for encryption, that are due
        self.at_commit = None  # the cut that waits for the answer to a commit
        with proxy.lock:
            proxy.connections.add(self)
        try:
            self.back.connect(proxy.backend)
        except OSError:
            self.cut()
            return
        for each in [self._forward, self._answer]:
            threading.Thread(target=self._run, args=(each,), daemon=True).start()

    def _run(self, direction):
        try:
            with contextlib.suppress(OSError):
                direction()
        finally:
            self.cut()

    def cut(self):
        with self.proxy.lock:
            self.is_cut = True
            self.proxy.connections.discard(self)
            # Somebody else was first: the cut is for another.
            if self.at_commit:
                self.proxy.cuts.append(self.at_commit)
                self.at_commit = None
        for end in [self.front, self.back]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _pass(self, target, data):
        self.proxy.flowing.wait()
        if self.proxy.delay_seconds:
            time.sleep(self.proxy.delay_seconds)
        target.sendall(data)

    @staticmethod
    def _receive(source):
        data = source.recv(1 << 16)
        if not data:
            raise ConnectionError
        return data

    # From Gatehouse to PostgreSQL.

    def _forward(self):
        buffer, is_typed = b"", False
        while True:
            buffer += self._receive(self.front)
            passed = b""
            # Whole messages; those that came together go on together.
            while not self.is_opaque:
                start = 1 if is_typed else 0
                if len(buffer) < start + 4:
                    break
                end = start + struct.unpack_from("!I", buffer, start)[0]
                if len(buffer) < end:
                    break
                message, buffer = buffer[:end], buffer[end:]
                if is_typed:
                    cut = self._see(message[:1], message[5:])
                    if cut and cut.before:
                        try:
                            if passed:
                                self._pass(self.back, passed)
                        finally:
                            self.cut()
                            cut.happened.set()
                        return
                else:
                    code = struct.unpack_from("!I", message, 4)[0]
                    if code in (TLS, GSSAPI):
                        self.single_bytes += 1
                    is_typed = code not in (TLS, GSSAPI, CANCEL)
                passed += message
            if self.is_opaque:
                passed, buffer = passed + buffer, b""
            if passed:
                self._pass(self.back, passed)

    def _see(self, kind, body):
        """Follows what is prepared and executed; the cut that a commit meets, if it is one."""
        if kind == b"P":
            name, sql = body.split(b"\0", 2)[:2]
            self.prepared[name] = sql
        elif kind == b"B":
            portal, name = body.split(b"\0", 2)[:2]
            self.portals[portal] = self.prepared.get(name, b"")
        elif kind == b"Q":
            cut = self._execute(body.rstrip(b"\0"))
            self._end_exchange()
            return cut
        elif kind == b"E":
            return self._execute(self.portals.get(body.split(b"\0", 1)[0], b""))
        elif kind == b"S":
            self._end_exchange()
        return None

    def _end_exchange(self):
        exchange, self.exchange = self.exchange, []
        if self.proxy.exchanges is not None and not self.follows:
            self.proxy.exchanges.append([sql.decode() for sql in exchange])

    def _execute(self, sql):
        self.exchange.append(sql)
        self.follows = self.follows or b"SELECT store_id" in sql
        self.transaction.append(sql)
        cut = self.proxy.take_cut(self) if COMMIT.search(sql) else None
        if END_OF_TRANSACTION.search(sql):
            self.transaction.clear()
        return cut

    # From PostgreSQL to Gatehouse.

    def _answer(self):
        buffer = b""
        while True:
            buffer += self._receive(self.back)
            passed = b""
            while buffer and not self.is_opaque:
                if self.single_bytes:
                    self.single_bytes -= 1
                    self.is_opaque = buffer[:1] in (b"S", b"G")
                    passed, buffer = passed + buffer[:1], buffer[1:]
                    continue
                if len(buffer) < 5:
                    break
                end = 1 + struct.unpack_from("!I", buffer, 1)[0]
                if len(buffer) < end:
                    break
                message, buffer = buffer[:end], buffer[end:]
                cut = self._cut_at(message)
                if cut:
                    self.cut()
                    cut.happened.set()
                    return
                passed += message
            if self.is_opaque:
                passed, buffer = passed + buffer, b""
            if passed:
                self._pass(self.front, passed)

    def _cut_at(self, message):
        """The cut that waited for this answer to a commit; if the commit failed, it is for another."""
        kind, body = message[:1], message[5:]
        with self.proxy.lock:
            cut = self.at_commit
            if cut and (kind, body) == (b"C", b"COMMIT\0"):
                self.at_commit = None
                return cut
            if cut and (kind == b"E" or (kind, body) == (b"C", b"ROLLBACK\0")):
                self.proxy.cuts.append(cut)
                self.at_commit = None
        return None
