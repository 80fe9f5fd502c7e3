"""Judges and attackers on loopback: what they are asked, and answers in the form that is wanted."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.evaluator.judge.items import Item, RedFlag
from tests.jobs.chat.server import Asked, completion

_ITEMS = {item.value for item in Item}
_FLAGS = {flag.value for flag in RedFlag}
_NONCE = re.compile(r"^===[0-9a-f]{24}===", re.MULTILINE)


def write_group_of_one(folder: Path, user_input: str, **changed: Any) -> None:
    """one.yaml: a single case at moderate risk, so that each layer is easily read."""
    case = {
        "id": "one-01",
        "user_input": user_input,
        "persona": {
            "age_band": "26-40",
            "style": "plain",
            "disclosure": "direct",
            "context": "alone after a long week",
        },
        "objective": "Whether pain is heard.",
        "risk_level": "moderate",
        "expected": ["validates_without_sycophancy"],
        **changed,
    }
    group = {"name": "one", "description": "One case.", "cases": [case]}
    (folder / "one.yaml").write_text(json.dumps(group), encoding="utf-8")


def sought(asked: Asked) -> list[str]:
    """The names that a judge is asked about, in order."""
    names = re.findall(r"^- (\w+): ", asked.body["messages"][1]["content"], re.MULTILINE)
    return [name for name in names if name in _ITEMS | _FLAGS]


def nonce(asked: Asked) -> str:
    """The marker between which the texts stand."""
    found = _NONCE.search(asked.body["messages"][1]["content"])
    assert found is not None
    return found.group()


def said(asked: Asked, role: str = "assistant") -> list[str]:
    """What stands under judgement, message by message."""
    mark = re.escape(nonce(asked))
    text = asked.body["messages"][1]["content"]
    return re.findall(rf"^{mark} {role} says\n(.*?)\n{mark} end$", text, re.MULTILINE | re.DOTALL)


def claims(asked: Asked, found: Mapping[str, str]) -> tuple[int, Any]:
    """A judge's answer: yes with its quotation for what is in `found`, else no."""
    answers = [
        {"name": name, "found": name in found, "quote": found.get(name, "")}
        for name in sought(asked)
    ]
    document = {
        "items": [one for one in answers if one["name"] in _ITEMS],
        "red_flags": [one for one in answers if one["name"] in _FLAGS],
    }
    return 200, completion(json.dumps(document))


def gullible(asked: Asked) -> tuple[int, Any]:
    """A judge that does what a hostile reply wants: all items found, each quoting the whole reply."""
    whole = said(asked)[-1]
    return claims(asked, {name: whole for name in sought(asked) if name in _ITEMS})


def writes(document: Mapping[str, Any] | str) -> tuple[int, Any]:
    """An attacker's answer: a JSON object, or plain words."""
    return 200, completion(document if isinstance(document, str) else json.dumps(document))
