"""Makes calls with the package circuit-breaker-labs; run in a process of its own, never imported.

Takes the base URL, and on stdin a JSON list of calls a line: `call` is the module, `model` and `body` its
request, `arguments` the rest. Answers each line with what the package made of each answer.
"""

import json
import sys
from importlib import import_module
from typing import Any


def main(base_url: str) -> None:
    package: Any = import_module("circuit_breaker_labs")
    for line in sys.stdin:
        client = package.Client(base_url=base_url, timeout=None, raise_on_unexpected_status=True)
        with client:
            answers = [make(call, client) for call in json.loads(line)]
        sys.stdout.write(f"{json.dumps(answers)}\n")
        sys.stdout.flush()


def make(each: dict[str, Any], client: Any) -> dict[str, Any]:
    models = import_module("circuit_breaker_labs.models")
    call: Any = import_module(f"circuit_breaker_labs.api.{each['call']}")
    arguments = dict(each.get("arguments", {}))
    if "model" in each:
        arguments["body"] = getattr(models, each["model"]).from_dict(each["body"])
    answer = call.sync_detailed(client=client, **arguments)
    return {
        "status": answer.status_code,
        "type": type(answer.parsed).__name__,
        "parsed": as_json(answer.parsed),
    }


def as_json(parsed: Any) -> Any:
    return [each.to_dict() for each in parsed] if isinstance(parsed, list) else parsed.to_dict()


if __name__ == "__main__":
    main(sys.argv[1])
