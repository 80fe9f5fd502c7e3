"""Asks for model health with the package enkryptai-sdk; run in a process of its own, never imported.

Takes the base URL and a key, and on stdin a JSON list of pairs: a method of its client and a
configuration. Prints what the package made of each answer, or the error that it raised.
"""

import json
import sys
from importlib import import_module
from typing import Any


def main(base_url: str, key: str) -> None:
    package: Any = import_module("enkryptai_sdk")
    client = package.RedTeamLegacyClient(api_key=key, base_url=base_url)
    told = []
    for method, configuration in json.load(sys.stdin):
        try:
            told.append(getattr(client, method)(configuration).to_dict())
        except package.RedTeamLegacyClientError as error:
            told.append({"raised": str(error)})
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
