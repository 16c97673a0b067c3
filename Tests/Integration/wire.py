# Raw HTTP/1.1: a client that sends exactly the bytes it is given, and two servers to look behind.

import http.server
import json
import socket
import threading
import time

COOKIE = "__Host-gatehouse"
IDENTITY = ["x-auth-user", "x-auth-username", "x-auth-session", "x-auth-time", "x-auth-methods",
            "x-auth-level", "x-auth-actor", "x-auth-reason"]


class Response:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # [(lower-case name, value)], in order, duplicates kept
        self.body = body

    def header(self, name):
        """The value of the one header of this name, None without it."""
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name} was sent {len(values)} times"
        return values[0] if values else None

    def __repr__(self):
        return f"<{self.status} {dict(self.headers)} {self.body!r}>"


class Wire:
    """One connection. `address` is (host, port), or the path of a Unix socket."""

    def __init__(self, address, tls=None, timeout=10):
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass  # A server may answer and close before it has read everything; its answer counts.
        return self

    def receive(self, bodiless=False):
        """The next response; `bodiless` when the request was HEAD."""
        head = self._until(b"\r\n\r\n").decode("latin-1")
        lines = head[:-4].split("\r\n")
        version, status, _ = lines[0].split(" ", 2)
        assert version == "HTTP/1.1", lines[0]
        headers = [(name.lower(), value.strip())
                   for name, value in (line.split(":", 1) for line in lines[1:])]
        response = Response(int(status), headers, b"")
        if response.status == 100:
            return self.receive(bodiless)
        if not bodiless and response.status not in (204, 304):
            response.body = self._exactly(int(response.header("content-length")))
        return response

    def request(self, data):
        return self.send(data).receive()

    def check(self, *tokens, target="/check"):
        return self.request(check_head(*tokens, target=target))

    def closed_by_peer(self):
        """Whether the peer closes, without another byte, before the time-out."""
        try:
            return not self.buffer and self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _until(self, end):
        while end not in self.buffer:
            self._more()
        at = self.buffer.index(end) + len(end)
        result, self.buffer = self.buffer[:at], self.buffer[at:]
        return result

    def _exactly(self, count):
        while len(self.buffer) < count:
            self._more()
        result, self.buffer = self.buffer[:count], self.buffer[count:]
        return result

    def _more(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed without a whole answer, after {self.buffer!r}")
        self.buffer += data


def head(*lines):
    """A request head of these lines, each ended as RFC 9112 wants it."""
    return "".join(line + "\r\n" for line in (*lines, "")).encode("latin-1")


def cookie(*tokens):
    return "Cookie: " + "; ".join(f"{COOKIE}={token}" for token in tokens)


def check_head(*tokens, target="/check"):
    return head(f"GET {target} HTTP/1.1", "Host: gatehouse", *([cookie(*tokens)] if tokens else []))


def eventually(condition, within, every=0.01):
    """Asks until `condition` is true, and returns the seconds it took; fails after `within`. What takes
    long to find out is asked less often: whoever is waited for needs the processor.
    """
    start = time.monotonic()
    while True:
        asked = time.monotonic()
        value = condition()
        if value:
            return asked - start
        if asked - start > within:
            raise AssertionError(f"not so after {within} s; the last answer was {value!r}")
        time.sleep(max(every, time.monotonic() - asked))


class EchoSite:
    """A site that answers every request with what it received, as JSON, and counts."""

    def __init__(self):
        self.requests = 0
        self.status = 200
        self.extra = []  # headers that it adds to its answers
        site = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self):
                site.requests += 1
                length = int(self.headers.get("Content-Length") or 0)
                body = json.dumps({
                    "method": self.command, "target": self.path, "headers": self.headers.items(),
                    "body": self.rfile.read(length).decode()}).encode()
                self.send_response(site.status)
                if site.status != 304:
                    self.send_header("Content-Length", str(len(body)))
                for name, value in site.extra:
                    self.send_header(name, value)
                self.end_headers()
                if site.status != 304 and self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = answer

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = "%s:%d" % self.server.server_address
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


class ScriptedCheck:
    """A check endpoint with one fixed answer (None: never any) that keeps what it was asked."""

    def __init__(self, answer):
        self.answer = answer
        self.heads = []
        self.accepted = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.accepted += 1
            self.connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        pending = b""
        while True:
            try:
                data = connection.recv(65536)
                if not data:
                    return
                pending += data
                while b"\r\n\r\n" in pending:
                    one, pending = pending.split(b"\r\n\r\n", 1)
                    self.heads.append(one.decode("latin-1").split("\r\n"))
                    if self.answer is not None:
                        connection.sendall(self.answer)
                    if "HTTP/1.1" not in self.heads[-1][0] or "Connection: close" in self.heads[-1]:
                        connection.close()
                        return
            except OSError:
                return

    def stop(self):
        # close() alone doesn't wake a thread that waits in accept().
        self.listener.shutdown(socket.SHUT_RDWR)
        for one in [self.listener, *self.connections]:
            one.close()
