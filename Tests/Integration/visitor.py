# A browser without a screen: it keeps cookies by the rules that browsers keep (RFC 6265bis), says
# where its requests come from, follows redirects, reads pages and fills in forms.

import email.utils
import html.parser
import json
import time
import urllib.parse

from harness import tls
from wire import COOKIE, Wire

FORM = "application/x-www-form-urlencoded"


class Cookie:
    """One Set-Cookie line, as its string value."""

    def __init__(self, line):
        pair, *attributes = line.split(";")
        self.name, _, self.value = pair.strip().partition("=")
        self.attributes = {}
        for attribute in attributes:
            name, _, value = attribute.strip().partition("=")
            self.attributes[name.lower()] = value

    @property
    def is_acceptable(self):
        """RFC 6265bis section 4.1.3: what the prefix promises must be so, or it is dropped."""
        if not self.name.startswith(("__Host-", "__Secure-")):
            return True
        if self.name.startswith("__Host-") and (
                "domain" in self.attributes or self.attributes.get("path") != "/"):
            return False
        return "secure" in self.attributes

    @property
    def is_gone(self):
        if "max-age" in self.attributes:
            return int(self.attributes["max-age"]) <= 0
        if "expires" in self.attributes:
            return email.utils.parsedate_to_datetime(
                self.attributes["expires"]).timestamp() <= time.time()
        return False


class Form:
    def __init__(self, attributes):
        self.method = attributes.get("method", "get").lower()
        self.action = attributes.get("action", "")
        self.fields = {}
        self.buttons = 0


class Page(html.parser.HTMLParser):
    """What a person finds on a page."""

    def __init__(self, text):
        super().__init__()
        self.forms = []
        self.tags = []  # (name, attributes) of every element
        self.alert = None  # what role="alert" says
        self.strong = []
        self.links = []
        self._into = []  # for each open element, where its text goes
        self.feed(text)

    VOID = {"input", "meta", "link", "br", "hr", "img"}

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if tag == "form":
            self.forms.append(Form(attributes))
        if tag == "a":
            self.links.append(attributes.get("href"))
        is_off = attributes.get("type") == "checkbox" and "checked" not in attributes
        if tag == "input" and self.forms and "name" in attributes and not is_off:
            self.forms[-1].fields[attributes["name"]] = attributes.get("value") or ""
        if tag == "button" or tag == "input" and attributes.get("type") == "submit":
            self.forms[-1].buttons += 1
        if tag not in self.VOID:
            role = None
            if attributes.get("role") == "alert":
                role, self.alert = "alert", ""
            elif tag == "strong":
                role = "strong"
                self.strong.append("")
            self._into.append((tag, role))

    def handle_endtag(self, tag):
        while self._into and self._into.pop()[0] != tag:
            pass

    def handle_data(self, data):
        roles = {role for _, role in self._into}
        if "alert" in roles:
            self.alert += data
        if "strong" in roles:
            self.strong[-1] += data


class Visitor:
    """One person's browser at https://localhost:PORT."""

    def __init__(self, port, takes_cookies=True, host=None):
        self.port = port
        self.host = host or f"localhost:{port}"
        self.origin = f"https://{self.host}"
        self.takes_cookies = takes_cookies
        self.jar = {}
        self.response = None
        self.target = None

    # Requests.

    def send(self, method, target, headers, body=b""):
        """One request with these headers, [(name, value)], and the cookies; no redirect."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self.host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if self.jar:
            lines.append("Cookie: " + "; ".join(f"{k}={v}" for k, v in self.jar.items()))
        if body or method in ("POST", "PUT"):
            lines.append(f"Content-Length: {len(body)}")
        data = "".join(line + "\r\n" for line in (*lines, "")).encode()
        with Wire(("127.0.0.1", self.port), tls=tls(), timeout=40) as wire:
            self.response = wire.send(data).send(body).receive(method == "HEAD")
        self.target = target
        if self.takes_cookies:
            for name, value in self.response.headers:
                if name == "set-cookie":
                    self.keep(Cookie(value))
        return self.response

    def keep(self, cookie):
        if not cookie.is_acceptable:
            return
        self.jar.pop(cookie.name, None)
        if not cookie.is_gone:
            self.jar[cookie.name] = cookie.value

    def follow(self):
        """Goes where redirects lead, as long as they lead to this site."""
        for _ in range(10):
            if self.response.status not in (301, 302, 303, 307, 308):
                return self.response
            url = urllib.parse.urlsplit(
                urllib.parse.urljoin(self.origin + self.target, self.response.header("location")))
            assert f"{url.scheme}://{url.netloc}" == self.origin, f"led away to {url.geturl()}"
            target = url.path + ("?" + url.query if url.query else "")
            self.send("GET", target, self.navigation("same-origin"))
        raise AssertionError(f"redirected without end, at last to {self.target}")

    @staticmethod
    def navigation(site):
        return [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "navigate"),
                ("Sec-Fetch-Dest", "document"), ("Accept", "text/html")]

    def open(self, target):
        """Types an address."""
        self.send("GET", target, self.navigation("none"))
        return self.follow()

    def post(self, target, fields, headers=None, follow=True):
        """Posts a form's fields, as a browser does from a page of this site."""
        headers = headers if headers is not None else [
            *self.navigation("same-origin"), ("Origin", self.origin)]
        body = fields if isinstance(fields, bytes) else urllib.parse.urlencode(fields).encode()
        self.send("POST", target, [*headers, ("Content-Type", FORM)], body)
        return self.follow() if follow else self.response

    def form(self, action):
        """The form of the page that is open which leads there."""
        [form] = [form for form in self.page.forms if form.action.endswith(action)]
        return form

    def submit(self, follow=True, action=None, **fields):
        """Fills in the form of the page that is open, the first if none is named, and sends it."""
        form = self.form(action) if action else self.page.forms[0]
        assert form.method == "post", form.method
        assert set(fields) <= set(form.fields), f"{set(fields)} in a form with {form.fields}"
        url = urllib.parse.urlsplit(
            urllib.parse.urljoin(self.origin + self.target, form.action or self.target))
        target = url.path + ("?" + url.query if url.query else "")
        return self.post(target, {**form.fields, **fields}, follow=follow)

    def call(self, method, target, value=None, headers=()):
        """JSON as a program or a script sends it."""
        body = b"" if value is None else json.dumps(value).encode()
        headers = [*headers, *([("Content-Type", "application/json")] if method == "POST" else [])]
        return self.send(method, target, headers, body)

    # What came back.

    @property
    def page(self):
        return Page(self.response.body.decode())

    @property
    def token(self):
        """The session cookie's value, None without one."""
        return self.jar.get(COOKIE)

    # What people do.

    def register(self, name, password, target="/auth/register"):
        self.open(target)
        return self.submit(username=name, password=password)

    def sign_in(self, name, password, target="/auth/login", follow=True):
        self.open(target)
        return self.submit(username=name, password=password, follow=follow)

    def sign_out(self, follow=True):
        self.open("/auth/logout")
        return self.submit(follow=follow)


def form_token(visitor):
    """The hidden field that every form of a browser that is signed in carries."""
    other = Visitor(visitor.port, host=visitor.host)
    other.jar = dict(visitor.jar)
    other.open("/auth/logout")
    return other.page.forms[0].fields["form"]


def confirm(visitor, password, follow=True):
    """Gives the password once more on the page /confirm that is open."""
    query = urllib.parse.urlsplit(visitor.target).query
    return visitor.post("/auth/confirm", {
        "form": form_token(visitor), "password": password,
        "return_to": query.removeprefix("return_to=")}, follow=follow)


def call(address, method, target, value=None, *headers, host="localhost", body=None):
    """A program's request straight to the front door, without cookies unless given."""
    if body is None:
        body = b"" if value is None else json.dumps(value).encode()
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *headers]
    if method in ("POST", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
        if not any(line.lower().startswith("content-type:") for line in headers):
            lines.append("Content-Type: application/json")
    data = "".join(line + "\r\n" for line in (*lines, "")).encode()
    with Wire(address, timeout=40) as wire:
        return wire.send(data).send(body).receive(method == "HEAD")
