"""Parsing the JSON that the store holds, of which a run may have a million texts."""

import json
from typing import Any

from pydantic_core import from_json


def parse_json(text: str) -> Any:
    """The value of a JSON text, as `json.loads` returns it, in a third of the time; raises ValueError as that does."""
    try:
        return from_json(text)
    except ValueError:
        # Half a surrogate pair, for example, which Python's parser accepts.
        return json.loads(text)
