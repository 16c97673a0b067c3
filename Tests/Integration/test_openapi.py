# The OpenAPI description against a running server: Schemathesis makes requests of it, right ones and
# broken ones, as somebody without a session, as a script on the site's pages and as a program; every
# answer must be one that is described. What it can't make is sent here.

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

import jsonschema_rs
import requests
import schemathesis
import yaml

from harness import ENVIRONMENT, ROOT, SEED, SOAK, Gatehouse, scratch
from test_front_door import PASSWORD

HERE = pathlib.Path(__file__).resolve().parent

# Requests of each operation, in each of two phases; a run takes seconds.
EXAMPLES = 10 * SOAK


def examples(value):
    """(schema, example) of every one in a description."""
    if isinstance(value, list):
        for each in value:
            yield from examples(each)
    if isinstance(value, dict):
        if "schema" in value:
            for example in value.get("examples", {}).values():
                yield value["schema"], example["value"]
            if "example" in value:
                yield value["schema"], value["example"]
        elif isinstance(value.get("examples"), list):
            for example in value["examples"]:
                yield value, example
        for each in value.values():
            yield from examples(each)


class OpenAPI(unittest.TestCase):
    def setUp(self):
        # Hashes as cheap as they may be, and room for all of them: no 503, no 429.
        schema = scratch(self) / "people.yaml"
        schema.write_text("purposes: {newsletters: {title: News, text: x, default: opt-in}}\n")
        self.gatehouse = Gatehouse(self, front={
            "password.argon2_memory": "12MiB", "password.queue": 1000,
            "people.schema": str(schema)}).start()
        self.base = "http://%s:%d/auth" % self.gatehouse.front
        answer = requests.get(f"{self.base}/v1/openapi.yaml", timeout=20)
        self.assertEqual(answer.status_code, 200, answer.text)
        self.served = yaml.safe_load(answer.text)
        self.file = self.gatehouse.directory / "openapi.json"
        self.file.write_text(json.dumps(self.served))
        self.schema = schemathesis.openapi.from_dict(self.served)
        # The user of the description's examples.
        example = {"username": "ada", "password": PASSWORD}
        answer = requests.post(f"{self.base}/v1/register", json=example, timeout=20)
        self.assertEqual(answer.status_code, 201, answer.text)

    def operations(self):
        return [result.ok() for result in self.schema.get_all_operations()]

    def run_schemathesis(self, mode):
        """{operation: {status}} of everything that was asked and answered in a mode."""
        answers = self.gatehouse.directory / f"answers-{mode}"
        process = subprocess.run(
            [sys.executable, "-m", "schemathesis.cli", "--config-file", HERE / "openapi.toml",
             "--no-color", "run", self.file, "--url", self.base, "--checks", "all",
             "--max-examples", str(EXAMPLES), "--seed", str(SEED if SOAK > 1 else 1)],
            env={**ENVIRONMENT, "SCHEMATHESIS_HOOKS": str(HERE / "openapi_hooks.py"),
                 "OPENAPI_MODE": mode, "OPENAPI_BASE": self.base, "OPENAPI_ANSWERS": str(answers)},
            cwd=self.gatehouse.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=400 * SOAK)
        self.assertEqual(process.returncode, 0, process.stdout)
        statuses = collections.defaultdict(set)
        for line in answers.read_text().splitlines():
            operation, method, status = json.loads(line)
            self.assertLess(status, 500, operation)
            if operation.startswith(method + " "):
                statuses[operation].add(status)
        self.assertEqual(set(statuses), {operation.label for operation in self.operations()})
        return statuses

    def successes(self, secured_by):
        """The statuses of success of the operations that take this way to authenticate, or none."""
        for operation in self.operations():
            security = operation.definition.raw["security"]
            if {} in security or any(secured_by in one for one in security):
                for status in operation.definition.raw["responses"]:
                    if status.startswith("2"):
                        yield operation.label, int(status)

    def test_without_a_session(self):
        statuses = self.run_schemathesis("anonymous")
        for operation, status in self.successes(None):
            self.assertIn(status, statuses[operation], operation)
        for operation in self.operations():
            if {} not in operation.definition.raw["security"]:
                with self.subTest(operation.label):
                    self.assertIn(401, statuses[operation.label])
                    self.assertFalse({200, 201, 204} & statuses[operation.label])

    def test_with_a_cookie(self):
        statuses = self.run_schemathesis("cookie")
        for operation, status in self.successes("session"):
            self.assertIn(status, statuses[operation], operation)

    def test_with_a_bearer_token(self):
        statuses = self.run_schemathesis("bearer")
        for operation, status in self.successes("bearer"):
            self.assertIn(status, statuses[operation], operation)

    def test_what_schemathesis_does_not_send(self):
        many = {f"x-{number}": "1" for number in range(70)}
        for operation in self.operations():
            url = self.base + operation.path.format(session="0" * 32, grant="0" * 32)
            takes_body = "requestBody" in operation.definition.raw
            json_type = {"Content-Type": "application/json"}
            cases = [(421, {"Host": "elsewhere.example"}, None), (400, {"Host": "a b"}, None),
                     (431, many, None)]
            if takes_body:
                cases += [(415, {"Content-Type": "text/plain"}, b"{}"),
                          (403, json_type | {"Origin": "https://elsewhere.example"}, b"{}")]
            if "413" in operation.definition.raw["responses"]:
                cases.append((413, json_type, b" " * 70_000))
                cases.append((400, json_type, b"\xff"))
            for status, headers, body in cases:
                with self.subTest(operation.label, status=status):
                    answer = requests.request(
                        operation.method, url, headers=headers, data=body, timeout=20)
                    self.assertEqual(answer.status_code, status, answer.text)
                    operation.validate_response(answer)

    def test_the_commands_of_the_documentation(self):
        page = (ROOT / "Sources/GatehouseCore/GatehouseCore.docc/API.md").read_text()
        [commands] = re.findall(r"^```sh\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
        site = "https://www.example.org/auth"
        self.assertIn(site, commands)
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands.replace(site, self.base)],
            capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        made, session = map(json.loads, result.stdout.splitlines())
        self.assertEqual(made["user"], session["user"])

    def test_the_description_is_valid_and_so_are_its_examples(self):
        description = schemathesis.openapi.from_dict(self.served)
        description.validate()
        self.assertEqual(self.served["servers"], [{"url": "/auth"}])
        count = 0
        for schema, example in examples(self.served):
            # The schema stands among the others that it names.
            validator = jsonschema_rs.Draft202012Validator(
                {"allOf": [schema], "components": self.served["components"]},
                validate_formats=True)
            validator.validate(example)
            count += 1
        self.assertGreater(count, 10)


if __name__ == "__main__":
    unittest.main()
