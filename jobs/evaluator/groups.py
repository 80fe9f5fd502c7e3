"""Test-case groups: what a file of cases holds, and how groups are found and read.

Built-in groups travel with the package (jobs/evaluator/cases/); a user's own come from a folder of
YAML files in the same shape. A group is read when it is first asked for, and once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.core.placeholders import described, placeholders_in
from engine.documents.malformed import Malformed
from engine.job import UsageError, rule_broken
from jobs.evaluator.case_tables import CaseTable, read_cases
from jobs.evaluator.judge.items import Item, RedFlag

_FILE_SIZE_MAX = 1 << 20
_TABLE_SIZE_MAX = 8 << 20
_MISTAKES_SHOWN = 8


class RiskLevel(StrEnum):
    """How acute the person's situation is, from what the message gives away."""

    NONE = "none"
    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"
    IMMINENT = "imminent"


Strategy: TypeAlias = Literal["user_persona", "semantic_chunks", "crescendo"]
"""How a conversation goes: as the person would talk, in harmless pieces, or ever heavier."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Text = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"\S")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,63}$")]


class Persona(_Strict):
    """Who writes: enough to play the person on, nothing that identifies anybody."""

    age_band: Literal["under 13", "13-17", "18-25", "26-40", "41-64", "65+", "unknown"]
    style: Text
    disclosure: Literal["none", "hinted", "indirect", "direct"]
    context: Text


class MultiTurn(_Strict):
    """How a conversation is to be led, for evaluations of several turns."""

    strategy: Strategy
    opening: Text
    beats: tuple[Text, ...] = Field(min_length=1, max_length=20)


class Case(_Strict):
    """One message to a target, and what a good reply to it would do."""

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*-[0-9]{2,4}$")]
    user_input: Text
    persona: Persona
    objective: Text
    risk_level: RiskLevel
    expected: tuple[Item, ...] = Field(min_length=1)
    red_flags: tuple[RedFlag, ...] = ()
    control: bool = False
    locale: Annotated[str, Field(pattern=r"^[a-z]{2}-[A-Z]{2}$")] = "en-US"
    multi_turn: MultiTurn | None = None
    literal: bool = False
    """Whether placeholders such as {{name}} are sent as they stand."""

    @property
    def is_english(self) -> bool:
        """Whether the person writes English, by the locale."""
        return self.locale.startswith("en-")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.control and self.risk_level is not RiskLevel.NONE:
            raise ValueError("a control has risk_level: none")
        for name, values in (("expected", self.expected), ("red_flags", self.red_flags)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names something twice")
        return self

    @model_validator(mode="after")
    def _written_out(self) -> Self:
        led = self.multi_turn
        for text in (self.user_input, *((led.opening, *led.beats) if led else ())):
            if not self.literal and (found := placeholders_in(text)):
                raise ValueError(
                    f"a text holds the placeholder {described(found)}: write out what it stands for,"
                    " or add `literal: true` to send it as it stands"
                )
        return self


class Review(_Strict):
    """Whether a clinician has read the group: honest by default."""

    status: Literal["unreviewed", "reviewed"] = "unreviewed"
    by: str | None = None
    date: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.status == "reviewed" and not (self.by and self.date):
            raise ValueError("a reviewed group says by whom and on which date")
        return self


class CaseGroup(_Strict):
    """The cases of one file. `canary` marks copies in training data."""

    name: Name
    description: Text
    sources: tuple[Text, ...] = ()
    review: Review = Review()
    canary: Text | None = None
    cases: tuple[Case, ...] = Field(min_length=1, max_length=1000)

    @field_validator("cases")
    @classmethod
    def _unique(cls, cases: tuple[Case, ...]) -> tuple[Case, ...]:
        seen: set[str] = set()
        for case in cases:
            if case.id in seen:
                raise ValueError(f"the id {case.id} is used twice")
            seen.add(case.id)
        return cases


class _PlainLoader(yaml.SafeLoader):
    """Data only: no aliases, so that a small file stays small, and no key twice, so that nothing is lost."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            where = self.get_mark()
            raise yaml.YAMLError(f"aliases are not allowed (line {where.line + 1})")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                problem = "a key stands there twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass(frozen=True, slots=True)
class _Source:
    """What a group is made of: its file, and the table that it names for its cases."""

    file: str
    content: bytes
    table_name: str | None = None
    table: bytes | None = None


class CaseSet:
    """The built-in groups and, over them, those of a user's folder; a name of the user's wins."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._groups: dict[str, CaseGroup] = {}

    @cached_property
    def _sources(self) -> Mapping[str, _Source]:
        """What each group is made of, by its name (the file's stem)."""
        found = _yaml_files(files("jobs.evaluator") / "cases")
        if self._folder is not None:
            own = Path(self._folder)
            try:
                if not own.is_dir():
                    raise UsageError(
                        f"{own} is not a folder of test-case groups (service.cases, --cases)"
                    )
                mine = _with_tables(_yaml_files(own))
            except OSError as error:
                raise UsageError(
                    f"{own} cannot be read: {error.strerror} (service.cases, --cases)"
                ) from error
            if not mine:
                raise UsageError(
                    f"no .yaml file in {own} (service.cases, --cases); a table of cases is named in"
                    " the file of its group, as `cases: {file: ...}`"
                )
            found |= mine
        return dict(sorted(found.items()))

    @property
    def names(self) -> tuple[str, ...]:
        """The groups' names, sorted."""
        return tuple(self._sources)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every group's name and bytes."""
        whole = sha256()
        for name, source in self._sources.items():
            for part in (source.content, source.table):
                if part is not None:
                    whole.update(f"{name}:{len(part)}:".encode())
                    whole.update(part)
        return whole.hexdigest()

    def group(self, name: str) -> CaseGroup:
        """The group of this name; UsageError when there is none or its file is wrong."""
        if name not in self._groups:
            if name not in self._sources:
                raise UsageError(
                    f"there is no test-case group {name!r}; there are: {', '.join(self.names)}"
                )
            self._groups[name] = _read(name, self._sources[name])
        return self._groups[name]


def _yaml_files(folder: Traversable) -> dict[str, _Source]:
    found = {}
    for entry in folder.iterdir():
        hidden = entry.name.startswith(".")
        if hidden or not entry.name.endswith((".yaml", ".yml")) or not entry.is_file():
            continue
        name = entry.name.rpartition(".")[0]
        if name in found:
            raise UsageError(f"{entry}: there are two files for the group {name}, keep one")
        found[name] = _Source(str(entry), _content(entry, _FILE_SIZE_MAX))
    return found


def _content(file: Traversable, size_max: int) -> bytes:
    with file.open("rb") as opened:
        content = opened.read(size_max + 1)
    if len(content) > size_max:
        raise UsageError(f"{file}: a group of test cases is at most {size_max} bytes")
    return content


def _with_tables(sources: Mapping[str, _Source]) -> dict[str, _Source]:
    """The groups with their tables; one of those may be YAML, too, and is no group."""
    found = {name: _with_table(source) for name, source in sources.items()}
    tables = {source.table_name for source in found.values()}
    return {name: one for name, one in found.items() if Path(one.file).name not in tables}


def _with_table(source: _Source) -> _Source:
    """The source with the bytes of the table that it names; a mistake is told when the group is read."""
    try:
        document = read_yaml(source.file, source.content)
        spec = CaseTable.model_validate(document["cases"])
        table = Path(source.file).with_name(spec.file)
        if table == Path(source.file):
            return source
        content = _content(table, _TABLE_SIZE_MAX) if table.is_file() else None
        return replace(source, table_name=spec.file, table=content)
    except (UsageError, ValidationError, LookupError, TypeError):
        return source


def read_yaml(source: str, content: bytes) -> Any:
    """The value of a YAML document; raises UsageError, which names its place and never quotes it."""
    try:
        return yaml.load(content, _PlainLoader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f" (line {mark.line + 1})"
        problem = f"{error.problem}{line}"
    except yaml.YAMLError as error:
        # Our own of aliases, or the reader's of characters that are no text.
        problem = str(error).partition("\n")[0]
    except RecursionError:
        problem = "nested too deep"
    except ValueError:
        problem = "a number or a date that there cannot be"
    raise UsageError(f"{source}: not readable as YAML: {problem}")


def _read(name: str, source: _Source) -> CaseGroup:
    document = read_yaml(source.file, source.content)
    if not isinstance(document, dict):
        raise UsageError(
            f"{source.file}: must be a mapping with name, description and cases"
            + ("; a list belongs under cases" if isinstance(document, list) else "")
        )
    if isinstance(document.get("cases"), dict):
        document["cases"] = _tabled(name, source, document["cases"])
    try:
        group = CaseGroup.model_validate(document)
    except ValidationError as error:
        raise UsageError(_told(_mistakes(source.file, error))) from error
    if group.name != name:
        raise UsageError(f"{source.file}: name: {group.name!r} is not the file's name, {name!r}")
    return group


def _tabled(name: str, source: _Source, written: Mapping[str, Any]) -> list[Case]:
    """The cases of the table that a group names."""
    try:
        spec = CaseTable.model_validate(written)
    except ValidationError as error:
        raise UsageError(_told(_mistakes(f"{source.file}: cases", error))) from error
    file = Path(source.file).with_name(spec.file)
    if source.table is None:
        raise UsageError(f"{source.file}: cases.file: there is no table {file}")
    try:
        found = read_cases(name, spec, source.table)
    except Malformed as error:
        raise UsageError(f"{file}: {error}") from None
    cases, lines = [], [f"{file}: {mistake}" for mistake in found.mistakes]
    places: dict[str, str] = {}
    for place, written_case in found.cases:
        try:
            case = Case.model_validate(written_case)
        except ValidationError as error:
            lines += _mistakes(f"{file}: {place}", error)
            continue
        if case.id in places:
            lines.append(f"{file}: {place}: the id {case.id} is used in {places[case.id]}, too")
        places.setdefault(case.id, place)
        cases.append(case)
    if lines:
        raise UsageError(_told(lines))
    return cases


def _told(lines: list[str]) -> str:
    hidden = len(lines) - _MISTAKES_SHOWN
    shown = lines[:_MISTAKES_SHOWN]
    return "\n".join([*shown, f"and {hidden} more mistakes"] if hidden > 0 else shown)


def _mistakes(source: str, error: ValidationError) -> list[str]:
    lines = []
    mistakes = error.errors(include_input=False, include_url=False)
    broken = {mistake["loc"][0] for mistake in mistakes if len(mistake["loc"]) > 1}
    for mistake in mistakes:
        # What is too short only because its parts are wrong is not a mistake of its own.
        if mistake["type"] == "too_short" and mistake["loc"][-1] in broken:
            continue
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in mistake["loc"])
        lines.append(f"{source}: {path.lstrip('.') or 'the file'}: {rule_broken(mistake)}")
    return lines
