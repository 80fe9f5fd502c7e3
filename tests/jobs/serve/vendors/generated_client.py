"""Makes calls with the client that openapi-python-client has generated; run in a process of its own.

Takes the base URL, and on stdin a JSON list of calls: `call` is the module, `model` and `body` its
request, `arguments` the rest. Prints the status, the type and the content of each answer, and the
fields of each request as its class has them.
"""

import inspect
import json
import sys
from importlib import import_module
from typing import Any


def main(base_url: str) -> None:
    package: Any = import_module("generated_client")
    models = import_module("generated_client.models")
    client = package.Client(base_url=base_url, timeout=None, raise_on_unexpected_status=True)
    results = []
    for each in json.load(sys.stdin):
        call: Any = import_module(f"generated_client.api.{each['call']}")
        arguments = dict(each.get("arguments", {}))
        fields: list[str] = []
        if "model" in each:
            request: Any = getattr(models, each["model"])
            fields = list(inspect.signature(request).parameters)
            # By its arguments, as it is written in code, and not from a dictionary that keeps anything.
            arguments["body"] = request(**each["body"])
        answer = call.sync_detailed(client=client, **arguments)
        parsed = answer.parsed
        results.append(
            {
                "status": answer.status_code,
                "type": type(parsed).__name__,
                "fields": fields,
                "parsed": [one.to_dict() for one in parsed]
                if isinstance(parsed, list)
                else parsed.to_dict(),
            }
        )
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
