"""The findings of a run as a sheet: one record for each failed test."""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, ClassVar

from engine.core.findings import Finding, JudgedTest
from engine.report.columns import ColumnType
from engine.report.document import axis_document
from engine.report.sheet import Sheet

_USER, _ASSISTANT = "user", "assistant"
_LAST = ("job", "identity")
"""Known columns that come after the values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingSheet(Sheet[Finding]):
    """The findings of a run.

    `user_input` is the last message of the user, and `reply` the last of the assistant; `conversation` has all
    messages. `names` has the value of a finding that a column of `values` shows, by column.
    """

    noun: ClassVar[str] = "findings"
    known: ClassVar[Mapping[str, ColumnType]] = {
        "thresholds": str,
        "case": str,
        "number": int,
        "parent": int,
        "layer": int,
        "score": float,
        "user_input": str,
        "reply": str,
        "conversation": str,
        "evidence": str,
        "job": int,
        "identity": str,
    }

    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, ColumnType]:
        found = super(FindingSheet, self).columns
        return found | {name: found.pop(name) for name in _LAST}

    def to_document(self, row: Finding) -> dict[str, Any]:
        found = axis_document(row, self.axes.contents)
        found["thresholds"] = list(row.thresholds)
        found.setdefault("case", row.case)
        for name in ("number", "parent", "layer", "score"):
            found[name] = getattr(row, name)
        found["user_input"] = last_message(row, _USER)
        found["reply"] = last_message(row, _ASSISTANT)
        found["conversation"] = _conversation(row)
        found["evidence"] = row.evidence
        for column in self.values:
            found[column] = row.values.get(self.value_name(column))
        found["job"] = row.job
        found["identity"] = row.identity
        return found

    def to_flat_document(self, row: Finding) -> dict[str, Any]:
        found = super(FindingSheet, self).to_flat_document(row)
        for name, read in _JSON_TEXTS.items():
            found[name] = read(row)
        return found

    def known_reader(self, name: str) -> Callable[[Finding], Any]:
        return _READERS.get(name) or attrgetter(name)

    def value_name(self, column: str) -> str:
        return self.names.get(column, column)

    def count_characters(self, row: Finding) -> int:
        # The last messages are in columns of their own, too.
        return 2 * sum(len(message.content) for message in row.messages)


def name_value_columns(names: Collection[str], axes: Collection[str]) -> dict[str, str]:
    """The columns of values with these names: `value_` comes before a name that another column has, in any case."""
    taken = {name.lower() for name in (*axes, *FindingSheet.known)}
    found: dict[str, str] = {}
    for name in sorted(names):
        column = name
        while column.lower() in taken:
            column = f"value_{column}"
        taken.add(column.lower())
        found[name] = column
    return found


def last_message(test: JudgedTest, role: str) -> str | None:
    """The last message of a role; None without one."""
    return next((one.content for one in reversed(test.messages) if one.role == role), None)


def _conversation(test: JudgedTest) -> list[dict[str, str]]:
    return [{"role": one.role, "content": one.content} for one in test.messages]


def _to_json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


_JSON_TEXTS: Mapping[str, Callable[[Finding], str | None]] = {
    "thresholds": lambda row: _to_json_text(list(row.thresholds)),
    "conversation": lambda row: _to_json_text(_conversation(row)),
    "evidence": lambda row: None if row.evidence is None else _to_json_text(row.evidence),
}
_READERS: Mapping[str, Callable[[Finding], Any]] = {
    **_JSON_TEXTS,
    "user_input": lambda row: last_message(row, _USER),
    "reply": lambda row: last_message(row, _ASSISTANT),
}
