# The operator's page on keys: its blocks are run as they stand, and each section leaves what it says.

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
import unittest

from harness import BINARY, CHEAP, ENVIRONMENT, ROOT, Gatehouse

PAGE = ROOT / "Sources/GatehouseCore/GatehouseCore.docc/OperatingKeys.md"

# Stands for what starts and stops the servers of a machine. The stream of a server must not be one
# that the test waits for.
SYSTEMCTL = """#!/bin/bash
case $1 in stop | restart)
    kill "$(cat "$UNIT/pid")" || exit 1
    while kill -0 "$(cat "$UNIT/pid")" 2>/dev/null; do sleep 0.02; done ;;
esac
case $1 in start | restart)
    setsid gatehouse serve --config "$GATEHOUSE_CONFIG" </dev/null >/dev/null 2>>"$UNIT/log" &
    echo $! > "$UNIT/pid"
    for _ in $(seq 500); do
        curl --silent --fail --unix-socket "$UNIT/admin.sock" http://localhost/readyz && exit
        sleep 0.05
    done
    exit 1 ;;
esac
"""


def sections():
    """The sections of the page that have blocks: [(heading, [block])]."""
    found = []
    for part in PAGE.read_text().split("\n## ")[1:]:
        blocks = re.findall(r"^```sh\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)
        if blocks:
            found.append((part.splitlines()[0], blocks))
    return found


class OperatingKeys(unittest.TestCase):
    def setUp(self):
        # Its server is not started: the page starts its own.
        self.gatehouse = Gatehouse(self, dev=False)
        unit = self.gatehouse.directory
        self.places = {name: unit / name.lower() for name in ["DATA", "KEYS", "BACKUP", "PROGRAMS"]}
        for directory in self.places.values():
            directory.mkdir(mode=0o700)
        programs = self.places["PROGRAMS"]
        (programs / "gatehouse").symlink_to(BINARY)
        (programs / "systemctl").write_text(SYSTEMCTL)
        (programs / "systemctl").chmod(0o700)
        self.assertIsNotNone(shutil.which("sqlite3"), "install sqlite3")
        configuration = unit / "gatehouse.yaml"
        configuration.write_text(f"""
data_dir: {self.places["DATA"]}
root_key.file: {self.places["KEYS"]}/root.key
check.listen: [{self.gatehouse.tcp[0]}:{self.gatehouse.tcp[1]}]
admin.listen: unix:{unit}/admin.sock
password.argon2_memory: {CHEAP["password.argon2_memory"]}
public: {{listen: "unix:{unit}/public.sock", origin: "https://www.example.org", tls: false}}
""")
        self.environment = {
            **ENVIRONMENT, **{name: str(path) for name, path in self.places.items()},
            "PATH": f"{programs}:{os.environ['PATH']}", "UNIT": str(unit),
            "GATEHOUSE_CONFIG": str(configuration)}
        self.run_block("gatehouse keys init && systemctl start gatehouse")
        self.addCleanup(self.stop)
        self.run_block("gatehouse users add ada --test")

    def stop(self):
        subprocess.run([self.places["PROGRAMS"] / "systemctl", "stop"], env=self.environment)

    def run_block(self, text):
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", text], env=self.environment,
                              cwd=self.gatehouse.directory, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, f"{text}\n{done.stdout}{done.stderr}")
        return done.stdout

    def json(self, arguments):
        return json.loads(self.run_block(f"gatehouse {arguments} --json"))

    def issue(self):
        return self.json("sessions issue ada")["sessions"][0]["token"]

    def check(self, token):
        return self.gatehouse.check(token).status

    def root_keys(self):
        return self.json("keys list")["root_keys"]

    def states(self):
        return [row["state"] for row in self.json("keys list")["keys"]]

    def ring(self, directory):
        """The ring and its wraps as they are stored in the database there."""
        with contextlib.closing(sqlite3.connect(directory / "gatehouse.sqlite")) as database:
            return [database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()
                    for table in ["keyring", "keyring_wraps"]]

    def copied_ring(self):
        """What the database's copy has, which is one file for its owner only."""
        copy = self.places["BACKUP"] / "gatehouse.sqlite"
        self.assertEqual(copy.stat().st_mode & 0o777, 0o600)
        ring = self.ring(self.places["BACKUP"])
        self.assertTrue(all(ring))
        return ring

    def key(self, name):
        return self.places["KEYS"] / name

    # Before and after each section.

    def after_routine(self, before):
        self.assertEqual(self.check(before["token"]), 200)
        self.assertEqual(self.states(), ["retiring", "active"])
        self.assertEqual((self.places["BACKUP"] / "root.key").read_bytes(),
                         self.key("root.key").read_bytes())

        self.assertEqual(self.copied_ring(), self.ring(self.places["DATA"]))

    def after_leaked_token_key(self, before):
        self.assertEqual(self.check(before["token"]), 401)
        self.assertEqual(set(self.states()[:-1]), {"revoked"})
        self.assertEqual(self.states()[-1], "active")

    def before_lost_with_copy(self):
        self.key("root.key").unlink()

    def after_lost_with_copy(self, before):
        self.assertEqual(self.check(before["token"]), 200)
        self.assertEqual(self.root_keys(), before["root_keys"])

    def before_backup(self):
        """Something that the copy knows nothing of."""
        self.run_block("gatehouse users add eve")

    def after_backup(self, before):
        self.assertEqual(self.check(before["token"]), 401)
        self.assertEqual(self.root_keys(), before["root_keys"])
        self.assertEqual(self.states(), ["revoked", "revoked", "active"])
        self.assertEqual([user["username"] for user in self.json("users list")["users"]], ["ada"])

    def before_lost_without_copy(self):
        self.lost_ring = self.ring(self.places["DATA"])
        self.key("root.key").unlink()
        (self.places["BACKUP"] / "root.key").unlink()

    def after_lost_without_copy(self, before):
        self.assertEqual(self.check(before["token"]), 401)
        self.assertNotEqual(self.root_keys(), before["root_keys"])
        self.assertEqual(self.states(), ["active"])
        self.assertEqual(self.copied_ring(), self.lost_ring)
        self.assertEqual([user["username"] for user in self.json("users list")["users"]], ["ada"])

    def after_leaked_root_key(self, before):
        self.assert_moved(before)
        self.assertEqual(self.check(before["token"]), 401)
        self.assertFalse(self.key("root.key").exists() or self.key("mistake.key").exists())
        self.assertEqual(len(self.json("passwords pepper list")["peppers"]), 2)

    def after_service(self, before):
        self.assert_moved(before)
        self.assertEqual(self.check(before["token"]), 200)
        # The root key of before opens nothing, and the new one lies nowhere.
        self.assert_refused("root_key.file", self.key("root-3.key"))
        for path in self.gatehouse.directory.rglob("*"):
            if path.is_file() and path.name not in ["gatehouse", "root-3.key"]:
                self.assertNotRegex(path.read_bytes(), rb"gatehouse-root-key-1:[\w-]{43}")

    def after_file(self, before):
        self.assert_moved(before)
        self.assertEqual(self.check(before["token"]), 200)
        self.assert_refused("root_key.command", self.key("unwrap"))

    def assert_moved(self, before):
        self.assertEqual(len(self.root_keys()), 1)
        self.assertNotEqual(self.root_keys(), before["root_keys"])

    def assert_refused(self, setting, value):
        configuration = self.gatehouse.directory / "other.yaml"
        text = re.sub(r"(?m)^root_key\..*$", f"{setting}: {value}",
                      (self.gatehouse.directory / "gatehouse.yaml").read_text())
        configuration.write_text(text)
        done = subprocess.run([BINARY, "keys", "list", "--config", configuration],
                              env=self.environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn(self.root_keys()[0], done.stderr)

    SECTIONS = {
        "Routine": (None, after_routine),
        "A token key may have leaked": (None, after_leaked_token_key),
        "The root key is lost, and there is a copy":
            (before_lost_with_copy, after_lost_with_copy),
        "A backup is put back": (before_backup, after_backup),
        "The root key is lost, and there is no copy":
            (before_lost_without_copy, after_lost_without_copy),
        "The root key may have leaked": (None, after_leaked_root_key),
        "To a key management service": (None, after_service),
        "Back to a file": (None, after_file),
    }

    def test_every_block_of_the_page_does_what_it_says(self):
        found = sections()
        self.assertEqual([heading for heading, _ in found], list(self.SECTIONS))
        for heading, blocks in found:
            prepare, verify = self.SECTIONS[heading]
            before = {"token": self.issue(), "root_keys": self.root_keys()}
            self.assertEqual(self.check(before["token"]), 200, heading)
            # Times are compared in seconds.
            time.sleep(1.1)
            if prepare:
                prepare(self)
            for block in blocks:
                self.run_block(block)
            verify(self, before)
            self.assertEqual(self.check(self.issue()), 200, heading)
            self.assertEqual([finding for finding in self.json("doctor")["findings"]
                              if finding["level"] == "error"], [])
        with sqlite3.connect(self.places["DATA"] / "gatehouse.sqlite") as database:
            [(moves,)] = database.execute(
                "SELECT count(*) FROM audit WHERE kind = 'root_key_removed'")
        # To another file and one more, a mistake and back, to the service, and back to a file.
        self.assertEqual(moves, 5)
