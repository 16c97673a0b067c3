# `make demo` keeps its promises: the story as it tells it itself, and a clean end on Ctrl-C.

import os
import re
import shlex
import signal
import subprocess
import unittest

from harness import BINARY, ENVIRONMENT, ROOT, after, free_port, scratch
from wire import eventually


class Demo(unittest.TestCase):
    def setUp(self):
        self.ports = [free_port(), free_port()]
        self.environment = {
            **ENVIRONMENT, "GATEHOUSE_BIN": BINARY,
            "DEMO_TCP_PORT": str(self.ports[0]), "DEMO_UNIX_PORT": str(self.ports[1])}

    def test_the_story_goes_as_told(self):
        result = subprocess.run([ROOT / "Deploy/demo", "--once"], env=self.environment, timeout=60,
                                stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        # What comes before the first story is about certificates, on a first run.
        first, second = (result.stdout.index(f"https://localhost:{port}/, by hand")
                         for port in self.ports)
        for port, story in zip(self.ports, [result.stdout[first:second], result.stdout[second:]]):
            told = re.findall(r"^  (.{22}) (\d{3}) (.+) at (\S+)$", story, re.M)
            self.assertEqual(
                [(what.strip(), status, text) for what, status, text, _ in told],
                [("without a cookie", "200", "<form"),
                 ("registered", "200", "<form"),
                 ("with a wrong password", "401", "password is wrong"),
                 ("signed in", "200", f"Hello, grace{port}."),
                 ("and from now on", "200", f"Hello, grace{port}."),
                 ("signed out", "200", "<form"),
                 ("and from now on", "200", "<form"),
                 ("with a copied cookie", "200", "<form"),
                 ("with the cookie", "200", "Hello, ada."),
                 ("after the revocation", "200", "<form")])
            self.assertEqual(told[3][3], "/tea?with=milk")

    def test_what_it_prints_can_be_pasted_and_ctrl_c_leaves_nothing(self):
        # A session of its own, so that the signal reaches the whole group as from a terminal.
        output = scratch(self) / "output"
        with open(output, "w") as file:
            demo = subprocess.Popen([ROOT / "Deploy/demo"], env=self.environment, stdout=file,
                                    stdin=subprocess.DEVNULL, start_new_session=True)
        after(self, demo.wait)
        after(self, demo.terminate)
        eventually(lambda: "Ctrl-C" in output.read_text(), within=60)
        printed = output.read_text()
        state = re.search(r"removes (\S+)\.$", printed, re.M)[1]
        commands = [shlex.split(line) for line in printed.splitlines()
                    if line.startswith(("  curl ", f"  {BINARY} "))]
        self.assertEqual(len(commands), 4)
        with_cookie, without, revoke, issue = commands

        self.assertIn("Hello, ada.", self.paste(with_cookie))
        self.assertIn("Location: /auth/resume?return_to=/", self.paste(without))
        self.paste([*revoke, "--wait"])
        self.assertNotIn("Hello", self.paste(with_cookie))
        self.assertGreater(len(self.paste(issue)), 20)

        os.killpg(demo.pid, signal.SIGINT)
        self.assertEqual(demo.wait(30), 0)
        self.assertFalse(os.path.exists(state))
        for port in self.ports:
            with self.assertRaises(subprocess.CalledProcessError):
                self.paste(["curl", "--fail", f"https://localhost:{port}/"])

    def paste(self, command):
        return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, timeout=30, check=True,
                              capture_output=True, text=True).stdout
