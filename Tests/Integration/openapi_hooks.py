# What test_openapi.py has Schemathesis do besides: sign in before a request, and note its answer. It
# asks as somebody without a session, as a script on the site's pages, or as a program with a token.

import itertools
import json
import os

import requests
import schemathesis

BASE = os.environ["OPENAPI_BASE"]
MODE = os.environ["OPENAPI_MODE"]
ANSWERS = open(os.environ["OPENAPI_ANSWERS"], "a", buffering=1)
# That of the examples in the description, so that they are right.
PASSWORD = "a fine day for sailing"
BROWSER = {"Sec-Fetch-Site": "same-origin",
           "Origin": BASE.replace("http://", "https://").removesuffix("/auth")}


class Session:
    """A user who is signed in, and another one as soon as that session has ended."""

    numbers = itertools.count()
    leaving = itertools.count()

    def __init__(self):
        self.parts = None

    def get(self, case, context):
        if self.parts is None or not self.is_live():
            body = {"username": f"{MODE}{next(self.numbers)}", "password": PASSWORD}
            made = requests.post(f"{BASE}/v1/register", json=body, timeout=20)
            assert made.status_code == 201, made.text
            body["transport"] = MODE
            answer = requests.post(f"{BASE}/v1/login", json=body, timeout=20)
            assert answer.status_code == 200, answer.text
            if MODE == "cookie":
                # Out of the header: a jar keeps `Secure` ones from plain HTTP.
                lines = answer.raw.headers.getlist("set-cookie")
                cookies = dict(line.split(";")[0].split("=", 1) for line in lines)
                self.parts = (BROWSER, cookies)
            else:
                self.parts = ({"Authorization": "Bearer " + answer.json()["token"]}, {})
        # Every second time there is a deletion to see, or to cancel.
        if case.operation.path == "/v1/account/deletion" and next(self.leaving) % 2:
            answer = requests.delete(f"{BASE}/v1/account", json={"password": PASSWORD},
                                     headers=self.headers(), timeout=20)
            assert answer.status_code == 202, answer.text
        return self.parts

    def headers(self):
        headers, cookies = self.parts
        line = {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items())} if cookies else {}
        return headers | line

    def set(self, case, data, context):
        headers, cookies = data
        case.headers.update(headers)
        case.cookies.update(cookies)

    def is_live(self):
        answer = requests.get(f"{BASE}/v1/session", headers=self.headers(), timeout=20)
        assert answer.status_code in (200, 401), answer.text
        return answer.status_code == 200


if MODE != "anonymous":
    # Asked for anew before each request: whatever was sent before may have ended the session.
    schemathesis.auth(refresh_interval=None)(Session)


@schemathesis.hook
def after_call(context, case, response):
    answer = [case.operation.label, response.request.method, response.status_code]
    print(json.dumps(answer), file=ANSWERS)
