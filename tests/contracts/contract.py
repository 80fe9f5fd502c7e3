"""The services' contracts as checks: is this request, is this answer, what they promise?"""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

CONTRACT_FILE = Path(__file__).with_name("circuit_breaker_labs-1.0.8.contract.json")
MODEL_HEALTH = "/redteam/v3/model-health"

_ENDPOINT_CONFIGURATION: dict[str, Any] = {
    "type": "object",
    "required": ["testing_for", "model_name", "model_config"],
    "properties": {
        "testing_for": {"type": "string"},
        "model_name": {"type": "string", "minLength": 1},
        "certifications": {"type": "array", "items": {"type": "string"}},
        "model_config": {
            "type": "object",
            "required": ["model_provider"],
            # The second is the form of the vendor's package.
            "anyOf": [{"required": ["endpoint"]}, {"required": ["endpoint_url"]}],
            "properties": {
                "endpoint_url": {"type": "string", "pattern": "^https?://"},
                "apikey": {"type": "string", "minLength": 1},
                "model_provider": {"type": "string"},
                "endpoint": {
                    "type": "object",
                    "required": ["scheme", "host"],
                    "properties": {
                        "scheme": {"enum": ["http", "https"]},
                        "host": {"type": "string", "minLength": 1},
                        "port": {"type": "integer", "minimum": 1, "maximum": 65535},
                        "base_path": {"type": "string"},
                    },
                },
                "auth_data": {"type": "object"},
                "apikeys": {"type": "array", "items": {"type": "string", "minLength": 1}},
            },
        },
    },
}


class Contract:
    """Checks against the published contract of version 1.0.8 and Enkrypt's model health."""

    def __init__(self) -> None:
        document = json.loads(CONTRACT_FILE.read_text(encoding="utf-8"))
        components = document["components"]

        def validator(content: Mapping[str, Any]) -> Draft202012Validator:
            schema = content["content"]["application/json"]["schema"]
            return Draft202012Validator({**schema, "components": components})

        self.headers: dict[tuple[str, str], tuple[str, ...]] = {}
        self.bodies: dict[tuple[str, str], Draft202012Validator] = {}
        self.answers: dict[tuple[str, str, int], Draft202012Validator] = {}
        for path, operations in document["paths"].items():
            for verb, operation in operations.items():
                key = (verb.upper(), path)
                self.headers[key] = tuple(
                    parameter["name"] for parameter in operation.get("parameters", ())
                )
                if "requestBody" in operation:
                    self.bodies[key] = validator(operation["requestBody"])
                for status, answer in operation["responses"].items():
                    self.answers[(*key, int(status))] = validator(answer)
        health = ("POST", MODEL_HEALTH)
        self.headers[health] = ("apikey",)
        self.bodies[health] = Draft202012Validator(
            {
                "type": "object",
                "required": ["endpoint_configuration"],
                "properties": {"endpoint_configuration": _ENDPOINT_CONFIGURATION},
            }
        )

    def problems(
        self, verb: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> list[dict[str, Any]]:
        """What is wrong with a request, each in FastAPI's shape: loc, msg, type; empty if nothing."""
        key = (verb, path)
        if key not in self.headers:
            return [{"loc": ["path"], "msg": f"no such call: {verb} {path}", "type": "path"}]
        found: list[dict[str, Any]] = [
            {"loc": ["header", name], "msg": "Field required", "type": "missing"}
            for name in self.headers[key]
            if not headers.get(name)
        ]
        validator = self.bodies.get(key)
        if validator is None:
            return found
        if not headers.get("Content-Type", "").startswith("application/json"):
            found.append({"loc": ["header", "content-type"], "msg": "not JSON", "type": "type"})
        try:
            document = json.loads(body)
        except ValueError as error:
            return [*found, {"loc": ["body"], "msg": str(error), "type": "json_invalid"}]
        found += [_problem(error) for error in validator.iter_errors(document)]
        return found

    def answer_problems(self, verb: str, path: str, status: int, document: Any) -> list[str]:
        """What is wrong with an answer of the 1.0.8 contract; empty if nothing."""
        validator = self.answers.get((verb, path, status))
        if validator is None:
            return [f"{verb} {path}: status {status} is not in the contract"]
        return [error.message for error in validator.iter_errors(document)]


def _problem(error: ValidationError) -> dict[str, Any]:
    return {
        "loc": ["body", *error.absolute_path],
        "msg": error.message,
        "type": str(error.validator),
    }


@cache
def contract() -> Contract:
    """The contract, read and compiled once."""
    return Contract()
