"""Test-case groups: what a file of cases holds, and how groups are found and read.

Built-in groups travel with the package (jobs/evaluator/cases/); a user's own come from a folder of
YAML files in the same shape. A group is read when it is first asked for, and once.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from engine.job import UsageError
from jobs.evaluator.judge.items import Item, RedFlag

_FILE_SIZE_MAX = 1 << 20
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


class CaseSet:
    """The built-in groups and, over them, those of a user's folder; a name of the user's wins."""

    def __init__(self, folder: str | None = None) -> None:
        self._folder = folder
        self._groups: dict[str, CaseGroup] = {}

    @cached_property
    def _sources(self) -> Mapping[str, tuple[str, bytes]]:
        """File name and content by group name (the file's stem)."""
        found = _yaml_files(files("jobs.evaluator") / "cases")
        if self._folder is not None:
            own = Path(self._folder)
            try:
                if not own.is_dir():
                    raise UsageError(
                        f"{own} is not a folder of test-case groups (service.cases, --cases)"
                    )
                mine = _yaml_files(own)
            except OSError as error:
                raise UsageError(
                    f"{own} cannot be read: {error.strerror} (service.cases, --cases)"
                ) from error
            if not mine:
                raise UsageError(f"no .yaml file in {own} (service.cases, --cases)")
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
        for name, (_, content) in self._sources.items():
            whole.update(f"{name}:{len(content)}:".encode())
            whole.update(content)
        return whole.hexdigest()

    def group(self, name: str) -> CaseGroup:
        """The group of this name; UsageError when there is none or its file is wrong."""
        if name not in self._groups:
            if name not in self._sources:
                raise UsageError(
                    f"there is no test-case group {name!r}; there are: {', '.join(self.names)}"
                )
            self._groups[name] = _read(name, *self._sources[name])
        return self._groups[name]


def _yaml_files(folder: Traversable) -> dict[str, tuple[str, bytes]]:
    found = {}
    for entry in folder.iterdir():
        hidden = entry.name.startswith(".")
        if hidden or not entry.name.endswith((".yaml", ".yml")) or not entry.is_file():
            continue
        name = entry.name.rpartition(".")[0]
        if name in found:
            raise UsageError(f"{entry}: there are two files for the group {name}, keep one")
        with entry.open("rb") as file:
            content = file.read(_FILE_SIZE_MAX + 1)
        if len(content) > _FILE_SIZE_MAX:
            raise UsageError(f"{entry}: a group of test cases is at most {_FILE_SIZE_MAX} bytes")
        found[name] = (str(entry), content)
    return found


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


def _read(name: str, source: str, content: bytes) -> CaseGroup:
    document = read_yaml(source, content)
    if not isinstance(document, dict):
        raise UsageError(f"{source}: must be a mapping with name, description and cases")
    try:
        group = CaseGroup.model_validate(document)
    except ValidationError as error:
        raise UsageError(_mistakes(source, error)) from error
    if group.name != name:
        raise UsageError(f"{source}: name: {group.name!r} is not the file's name, {name!r}")
    return group


def _mistakes(source: str, error: ValidationError) -> str:
    lines = []
    mistakes = error.errors(include_input=False, include_url=False)
    broken = {mistake["loc"][0] for mistake in mistakes if len(mistake["loc"]) > 1}
    for mistake in mistakes:
        # What is too short only because its parts are wrong is not a mistake of its own.
        if mistake["type"] == "too_short" and mistake["loc"][-1] in broken:
            continue
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in mistake["loc"])
        lines.append(f"{source}: {path.lstrip('.') or 'the file'}: {mistake['msg']}")
    hidden = len(lines) - _MISTAKES_SHOWN
    if hidden > 0:
        lines[_MISTAKES_SHOWN:] = [f"{source}: and {hidden} more mistakes"]
    return "\n".join(lines)
