"""The cases of a group as rows of a table; fields common to all are written once in the group's file."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from engine.documents.malformed import Malformed
from engine.documents.reading import decode_text
from engine.documents.tables import Row, Table, read_table, table_format

_INPUT = "user_input"
_INPUT_COLUMNS = (*(_INPUT, "input", "prompt", "text", "content", "question", "message", "query"),)
_WORD_LISTS = ("expected", "red_flags")
_BEATS = "multi_turn.beats"
_CLAIMS = ("control", "literal")
_FIELDS = (
    *("id", _INPUT, "objective", "risk_level", "locale", *_WORD_LISTS, *_CLAIMS),
    *("persona", "persona.age_band", "persona.style", "persona.disclosure", "persona.context"),
    *("multi_turn", "multi_turn.strategy", "multi_turn.opening", _BEATS),
)
_NUMBER = re.compile(r"[0-9]{1,4}")
_YES = ("true", "yes", "1", "x")
_NO = ("false", "no", "0")


class CaseTable(BaseModel):
    """How a group uses its table: `columns` by field of a case, and `common` fields of every case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: Annotated[str, Field(pattern=r"^[^/\\]+$")]
    """A file in the same folder as the group's."""
    columns: Mapping[str, str] = {}
    common: Mapping[str, Any] = {}

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: Mapping[str, str]) -> Mapping[str, str]:
        for name in columns:
            if name not in _FIELDS:
                raise ValueError(f"a case has no {name:.100}; it has {', '.join(_FIELDS)}")
        return columns


@dataclass(slots=True)
class TableCases:
    """The cases in the form of the group's file, and the mistakes, each with its place in the table."""

    table: Table
    cases: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    mistakes: list[tuple[str, str]] = field(default_factory=list)


def read_cases(group: str, spec: CaseTable, content: bytes) -> TableCases:
    """The cases of a table, not yet validated, with their ids, places, common fields and filled placeholders.

    Rows with a mistake are left out and listed in `mistakes`. Raises Malformed if the table as a whole
    cannot be used: it has no known format or no column of messages.
    """
    written_as = table_format(PurePath(spec.file))
    if written_as is None:
        raise Malformed("is not a table: .csv, .tsv, .jsonl, .json, .yaml or .toml")
    table = read_table(decode_text(content), written_as)
    columns = dict(_columns(table, spec.columns))
    if _INPUT not in columns and _INPUT not in spec.common:
        raise Malformed(
            f"no column is called {_INPUT} or the like: name it in cases.columns.{_INPUT};"
            f" {table.describe_columns()}"
        )
    found = TableCases(table)
    for number, row in enumerate(table.rows, 1):
        try:
            case = {"id": f"{group}-{number:02}", **deepcopy(dict(spec.common))}
            _take_cells(case, row, columns, group)
            if not case.get("literal"):
                _fill(case, row, table, columns)
            found.cases.append((row.place, case))
        except Malformed as error:
            found.mistakes.append((row.place, str(error)))
    return found


def _columns(table: Table, asked: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The column of each field that has one."""
    for name in _FIELDS:
        key = f"cases.columns.{name}"
        found = (
            table.find_column(asked[name])
            if name in asked
            else table.find_usual_column((name,), key)
            or (table.find_usual_column(_INPUT_COLUMNS, key) if name == _INPUT else None)
        )
        if found is not None:
            yield name, found


def _take_cells(case: dict[str, Any], row: Row, columns: Mapping[str, str], group: str) -> None:
    for name, column in columns.items():
        cell = row.cells.get(column)
        if cell is None or (isinstance(cell, str) and not cell.strip()):
            continue
        *above, last = name.split(".")
        part = case
        for one in above:
            part = part.setdefault(one, {})
            if not isinstance(part, dict):
                raise Malformed(f"{one} must be a mapping")
        value = _value(name, cell, column, group)
        there = part.get(last)
        part[last] = {**there, **value} if isinstance(value, dict) and there else value


def _value(name: str, cell: Any, column: str, group: str) -> Any:
    if name == "id" and _NUMBER.fullmatch(str(cell)):
        return f"{group}-{int(cell):02}"
    if not isinstance(cell, str):
        return cell if isinstance(cell, bool | list | dict) else str(cell)
    cell = cell.strip()
    if name in _WORD_LISTS:
        return [word for word in re.split(r"[\s,;|]+", cell) if word]
    if name == _BEATS:
        return [beat.strip() for beat in re.split(r"[\n|]", cell) if beat.strip()]
    if name in _CLAIMS:
        if cell.casefold() not in (*_YES, *_NO):
            raise Malformed(f"{column} must be yes or no")
        return cell.casefold() in _YES
    return cell


def _fill(case: dict[str, Any], row: Row, table: Table, columns: Mapping[str, str]) -> None:
    """Replace placeholders in what is sent by other cells of the row."""

    def fill(text: Any, name: str) -> Any:
        if not isinstance(text, str):
            return text  # reported when the case is validated
        otherwise = "or set literal to send the text unchanged"
        return table.fill_in(text, row, apart_from=columns.get(name), otherwise=otherwise)

    if _INPUT in case:
        case[_INPUT] = fill(case[_INPUT], _INPUT)
    led = case.get("multi_turn")
    if isinstance(led, dict) and "opening" in led:
        led["opening"] = fill(led["opening"], "multi_turn.opening")
    if isinstance(led, dict) and isinstance(led.get("beats"), list):
        led["beats"] = [fill(beat, _BEATS) for beat in led["beats"]]
