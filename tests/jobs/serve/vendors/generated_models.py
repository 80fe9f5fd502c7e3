"""Reads JSON with the classes that datamodel-code-generator has made; run in a process of its own.

Takes on stdin a JSON list of pairs, a class and a document. Prints for each the names of the class's
fields and what it made of the document, or the names of the fields that it refused.
"""

import json
import sys
from importlib import import_module
from typing import Any


def main() -> None:
    pydantic: Any = import_module("pydantic")
    models = import_module("generated_models")
    results = []
    for name, document in json.load(sys.stdin):
        made_of: Any = getattr(models, name)
        found: dict[str, Any] = {"fields": sorted(made_of.model_fields)}
        try:
            found["read"] = made_of.model_validate(document).model_dump(mode="json")
        except pydantic.ValidationError as error:
            found["refused"] = [each["loc"][0] for each in error.errors()]
        results.append(found)
    json.dump(results, sys.stdout)


if __name__ == "__main__":
    main()
