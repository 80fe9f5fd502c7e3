"""Makes calls with the package enkryptai-sdk; run in a process of its own, never imported.

Takes the base URL and a key, and on stdin a JSON list of calls a line: a client of the package, its method
and the arguments. Answers each line with what the package made of each answer, or the error that it raised.
"""

import json
import sys
from importlib import import_module
from typing import Any


def main(base_url: str, key: str) -> None:
    package: Any = import_module("enkryptai_sdk")
    for line in sys.stdin:
        answers = []
        for name, method, *arguments in json.loads(line):
            client = getattr(package, name)(api_key=key, base_url=base_url)
            try:
                answer = getattr(client, method)(*arguments)
            except (package.RedTeamClientError, package.RedTeamLegacyClientError) as error:
                answers.append({"raised": str(error)})
            else:
                answers.append(answer if isinstance(answer, dict) else answer.to_dict())
        sys.stdout.write(f"{json.dumps(answers)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
