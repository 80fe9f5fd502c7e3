"""Test-case groups: the form of their files, and how groups are found and read.

Built-in groups are part of the package (jobs/evaluator/cases/); a user's own groups come from a folder of
YAML files of the same form. Each group is read once, when it is first needed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache, cached_property
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.core.placeholders import describe, placeholders_in
from engine.documents.document import YAML, Document, problem_of
from engine.documents.malformed import Malformed
from engine.documents.reading import document_of, read_bytes
from engine.documents.validation import not_a_mapping, validate
from engine.kinds import Problem, SweepError, UsageError, suggestion
from jobs.evaluator.case_tables import CaseTable, read_cases
from jobs.evaluator.judge.items import Item, RedFlag


class RiskLevel(StrEnum):
    """How acute the person's situation is, as far as the message shows it."""

    NONE = "none"
    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"
    IMMINENT = "imminent"


Strategy: TypeAlias = Literal["user_persona", "semantic_chunks", "crescendo"]
"""How a conversation is led: as the person would talk, in harmless pieces, or with rising intensity."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Text = Annotated[str, Field(min_length=1, max_length=4000, pattern=r"\S")]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,63}$")]


class Persona(_Strict):
    """The person who writes: enough to play the role, and nothing that identifies a real person."""

    age_band: Literal["under 13", "13-17", "18-25", "26-40", "41-64", "65+", "unknown"]
    style: Text
    disclosure: Literal["none", "hinted", "indirect", "direct"]
    context: Text


class MultiTurn(_Strict):
    """How a multi-turn evaluation leads the conversation of a case."""

    strategy: Strategy
    opening: Text
    beats: tuple[Text, ...] = Field(min_length=1, max_length=20)


class Case(_Strict):
    """One message to a target, and what a good reply to it does."""

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
    """Whether placeholders such as {{name}} are sent unchanged."""

    @property
    def is_english(self) -> bool:
        """Whether the person writes English, by the locale."""
        return self.locale.startswith("en-")

    @model_validator(mode="after")
    def _check_control(self) -> Self:
        if self.control and self.risk_level is not RiskLevel.NONE:
            raise ValueError("a control has risk_level: none")
        for name, values in (("expected", self.expected), ("red_flags", self.red_flags)):
            if len(set(values)) != len(values):
                raise ValueError(f"{name} names something twice")
        return self

    @model_validator(mode="after")
    def _check_placeholders(self) -> Self:
        led = self.multi_turn
        for text in (self.user_input, *((led.opening, *led.beats) if led else ())):
            if not self.literal and (found := placeholders_in(text)):
                raise ValueError(
                    f"a text contains the placeholder {describe(found)}: write out what it stands for,"
                    " or add `literal: true` to send it unchanged"
                )
        return self


class Review(_Strict):
    """Whether a clinician has reviewed the group; not, by default."""

    status: Literal["unreviewed", "reviewed"] = "unreviewed"
    by: str | None = None
    date: str | None = None

    @model_validator(mode="after")
    def _check_reviewer(self) -> Self:
        if self.status == "reviewed" and not (self.by and self.date):
            raise ValueError("a reviewed group says by whom and on which date")
        return self


class CaseGroup(_Strict):
    """The cases of one file; a unique `canary` lets copies be found in training data."""

    name: Name
    description: Text
    sources: tuple[Text, ...] = ()
    review: Review = Review()
    canary: Text | None = None
    cases: tuple[Case, ...] = Field(min_length=1, max_length=1000)

    @field_validator("cases")
    @classmethod
    def _check_ids(cls, cases: tuple[Case, ...]) -> tuple[Case, ...]:
        seen: set[str] = set()
        for case in cases:
            if case.id in seen:
                raise ValueError(f"the id {case.id} is used twice")
            seen.add(case.id)
        return cases


@dataclass(frozen=True, slots=True)
class _Source:
    """The contents of a group's file, and of the table that it names for its cases."""

    file: str
    content: bytes
    table_name: str | None = None
    table: bytes | None = None


class CaseSet:
    """The built-in groups and those of a user's folder, which replace built-in ones of the same name."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._groups: dict[str, CaseGroup] = {}

    @cached_property
    def _sources(self) -> Mapping[str, _Source]:
        """The source of each group by name, the stem of its file."""
        found = dict(_built_in_sources())
        if self._folder is not None:
            own = Path(self._folder)
            try:
                if not own.is_dir():
                    raise UsageError(
                        f"{own} is not a folder of test-case groups (service.cases, --cases)"
                    )
                mine = _add_tables(_yaml_files(own))
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
        """The group of this name, read from its file on first use and kept.

        Raises UsageError if there is none, with a similar name, or if its file is wrong, with all mistakes.
        """
        if name not in self._groups:
            if name not in self._sources:
                raise UsageError(
                    f"there is no test-case group {name!r}{suggestion(name, self.names)}"
                )
            source = self._sources[name]
            is_built_in = source is _built_in_sources().get(name)
            self._groups[name] = (
                _read_built_in_group(name) if is_built_in else _read_group(name, source)
            )
        return self._groups[name]


@cache
def _built_in_sources() -> Mapping[str, _Source]:
    return _yaml_files(files("jobs.evaluator") / "cases")


@cache
def _read_built_in_group(name: str) -> CaseGroup:
    return _read_group(name, _built_in_sources()[name])


def _yaml_files(folder: Traversable) -> dict[str, _Source]:
    found = {}
    for entry in folder.iterdir():
        hidden = entry.name.startswith(".")
        if hidden or not entry.name.endswith((".yaml", ".yml")) or not entry.is_file():
            continue
        name = entry.name.rpartition(".")[0]
        if name in found:
            raise UsageError(f"{entry}: there are two files for the group {name}, keep one")
        found[name] = _Source(str(entry), _read_content(entry))
    return found


def _read_content(file: Traversable) -> bytes:
    try:
        return read_bytes(file)
    except Malformed as error:
        raise SweepError(str(file), [problem_of(str(file), error)]) from None


def _add_tables(sources: Mapping[str, _Source]) -> dict[str, _Source]:
    """The groups with their tables; a table may itself be a YAML file, and is then not a group."""
    found = {name: _add_table(source) for name, source in sources.items()}
    tables = {source.table_name for source in found.values()}
    return {name: one for name, one in found.items() if Path(one.file).name not in tables}


def _add_table(source: _Source) -> _Source:
    """The source with the contents of the table that it names; mistakes are reported when the group is read."""
    try:
        document = document_of(source.file, source.content, YAML).value
        spec = CaseTable.model_validate(document["cases"])
        table = Path(source.file).with_name(spec.file)
        if table == Path(source.file):
            return source
        content = _read_content(table) if table.is_file() else None
        return replace(source, table_name=spec.file, table=content)
    except (UsageError, ValidationError, LookupError, TypeError):
        return source


def _read_group(name: str, source: _Source) -> CaseGroup:
    document = document_of(source.file, source.content, YAML)
    written = document.value
    if not isinstance(written, dict):
        raise SweepError(
            source.file, [not_a_mapping(written, "name, description, and a list under cases")]
        )
    problems: list[Problem] = []
    cases = written.get("cases")
    if isinstance(cases, dict):
        # Mistakes in the table are reported first, under the name of its file.
        written = {**written, "cases": _read_table_cases(name, source, document, cases)}
    group = validate(CaseGroup, written, "", problems)
    if group is not None:
        if group.name != name:
            message = f"{group.name!r} is not the file's name, {name!r}"
            problems.append(Problem("name", message))
        if not problems and document.is_sound:
            return group
    raise SweepError(source.file, document.locate(source.file, problems))


def _read_table_cases(
    name: str, source: _Source, document: Document, written: Mapping[str, Any]
) -> list[Any]:
    """The cases of the table that a group names, in the form that the group's file would have."""
    problems: list[Problem] = []
    spec = validate(CaseTable, written, "cases", problems)
    if spec is None:
        raise SweepError(source.file, document.locate(source.file, problems))
    file = str(Path(source.file).with_name(spec.file))
    if source.table is None:
        problems.append(Problem("cases.file", f"there is no table {file}"))
        raise SweepError(source.file, document.locate(source.file, problems))
    try:
        found = read_cases(name, spec, source.table)
    except Malformed as error:
        raise SweepError(file, [problem_of(file, error)]) from None
    cases = []
    places: dict[str, str] = {}
    problems += (found.table.problem(file, place, message) for place, message in found.mistakes)
    for place, written_case in found.cases:
        mistakes: list[Problem] = []
        case = validate(Case, written_case, "", mistakes)
        problems += (found.table.problem(file, place, str(one)) for one in mistakes)
        if case is None:
            continue
        if case.id in places:
            message = f"the id {case.id} is used in {places[case.id] or file}, too"
            problems.append(found.table.problem(file, place, message))
        places.setdefault(case.id, place)
        cases.append(written_case)
    if problems:
        raise SweepError(file, sorted(problems, key=lambda one: one.place.line if one.place else 0))
    return cases
