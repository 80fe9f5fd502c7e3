"""Sweeps that judge kept replies again: the same questions, with another judge or other thresholds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from engine.core.errors import Problem, SweepError, UsageError
from engine.documents.document import Document, problem_of
from engine.documents.malformed import Malformed
from engine.documents.reading import read_document
from engine.secrets import anchor
from engine.sweep.dump import dump_sweep, restore_sweep
from engine.sweep.fields import SweepFields
from engine.sweep.scalars import scalar_value
from engine.sweep.schema import check_name

_Sweep = TypeVar("_Sweep", bound=SweepFields)

_RULES = "rules"
_JUDGE = "service.judge"
_NO_LIMITS: Mapping[str, Any] = {
    "rate_per_min": None,
    "models": [],
    "quota_tests": None,
    "requests": None,
    "window": None,
    "deadline": None,
}


def judge_again(
    sweep: _Sweep,
    name: str,
    judging: Mapping[str, Any],
    *,
    thresholds: Sequence[float] | None,
    asks_missing: bool,
) -> _Sweep:
    """See `Sweep.judging_again`."""
    try:
        check_name(name)
    except ValueError as error:
        raise UsageError(f"the name {name!r} {error}") from None
    written = dump_sweep(sweep)
    written |= {
        "name": name,
        "reuse": True,
        "service": sweep.service.judging_again(judging, asks_missing=asks_missing),
    }
    if asks_missing:
        # The first run's deadline has probably passed.
        written["limits"] |= {"deadline": None}
    else:
        written["limits"] |= _NO_LIMITS
        written["health"] = None
    if thresholds is not None:
        axis, values = _thresholds(sweep, thresholds)
        written["matrix"] |= {axis: values}
    try:
        return restore_sweep(type(sweep), written, sweep.registry)
    except SweepError as error:
        # Nothing is stored yet: these are mistakes in the new settings.
        raise SweepError(name, error.problems) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSource:
    """A judge's `settings`, as in a sweep's `service.judge`, and the document that they were read from."""

    settings: Any
    name: str
    document: Document | None = None

    def locate(self, error: SweepError) -> SweepError:
        """Convert a sweep's mistakes in this judge's settings to mistakes in the judge's own file.

        The error is returned as it is if one of its mistakes is elsewhere, or if the judge has no file.
        """
        prefix = f"{_JUDGE}."
        if self.document is None or not all(
            one.path == _JUDGE or one.path.startswith(prefix) for one in error.problems
        ):
            return error
        own = [
            replace(
                one,
                path=one.path.removeprefix(_JUDGE).removeprefix("."),
                at=None if one.at is None else one.at.removeprefix(prefix),
            )
            for one in error.problems
        ]
        return SweepError(self.name, self.document.locate(self.name, own))


def read_judge(judge: str) -> JudgeSource:
    """Read the judge called `rules`, or one that a file describes.

    References to files of keys start at the file's folder. Raises SweepError.
    """
    if judge == _RULES:
        return JudgeSource(settings=judge, name=judge)
    path = Path(judge)
    try:
        document = read_document(path)
    except Malformed as error:
        is_file = path.suffix or path.exists()
        found = (
            problem_of(judge, error) if is_file else Problem("", f"neither `{_RULES}` nor a file")
        )
        raise SweepError(judge, [found]) from None
    if not document.is_sound:
        raise SweepError(judge, document.locate(judge, ()))
    settings = _anchor_references(document.value, path.parent.absolute())
    return JudgeSource(settings=settings, name=judge, document=document)


def _anchor_references(value: Any, folder: Path) -> Any:
    """Make the paths in references to keys, and of `ca_file`, absolute."""
    match value:
        case str():
            return anchor(value, folder)
        case {"ca_file": str(name), **rest}:
            file = folder / Path(name).expanduser()
            return {**_anchor_references(rest, folder), "ca_file": str(file)}
        case Mapping():
            return {key: _anchor_references(item, folder) for key, item in value.items()}
        case list():
            return [_anchor_references(item, folder) for item in value]
        case _:
            return value


def _thresholds(sweep: SweepFields, thresholds: Sequence[float]) -> tuple[str, list[Any]]:
    """The name of the axis of thresholds, and its new values."""
    found = [one.axis for one in sweep.matrix.axes if one.axis.field == sweep.kind.folded_field]
    if not found:
        raise UsageError(f"{sweep.kind.name} has no thresholds")
    [axis] = found
    if any(axis.name in rule for rule in (*sweep.rules.included, *sweep.rules.excluded)):
        raise UsageError(
            f"include or exclude of the sweep name {axis.name}: change them in a sweep file, and run it"
            " under a new name"
        )
    try:
        return axis.name, sorted({scalar_value(axis, value).label for value in thresholds})
    except Malformed as error:
        raise SweepError(sweep.name, [Problem(f"matrix.{axis.name}", str(error))]) from None
