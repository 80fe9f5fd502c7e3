"""Reading the values of an axis: inline, as a range, or from files."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.axes import (
    ArgumentAxis,
    Axis,
    AxisValue,
    CaseAxis,
    DocumentAxis,
    GroupAxis,
    IntegerAxis,
    NumberAxis,
    PromptAxis,
    RecordAxis,
)
from engine.core.canonical import canonical
from engine.core.errors import Problem
from engine.documents.malformed import Malformed
from engine.documents.places import child_path
from engine.documents.reading import read_document
from engine.documents.validation import (
    describe_given,
    describe_non_number,
    unknown_key,
)
from engine.sweep.arguments import argument_value, case_value
from engine.sweep.files import SweepFolder
from engine.sweep.prompts import Located, PromptReader
from engine.sweep.records import RecordReader, read_record
from engine.sweep.scalars import (
    RANGE,
    VALUES_MAX,
    is_number,
    numbers_between,
    scalar_value,
)


@dataclass(frozen=True, slots=True)
class ValueReader:
    """Reads the values of axes; files are found in `folder`, and mistakes are added to `problems`."""

    folder: SweepFolder
    problems: list[Problem]

    def axis(self, axis: Axis, written: Any, path: str) -> tuple[AxisValue, ...]:
        """Read all values of an axis, as `written` in the sweep at `path`.

        Returns those that are right, without duplicates; mistakes and duplicates are reported.
        """
        if isinstance(axis, NumberAxis | IntegerAxis) and isinstance(written, Mapping):
            located = self._range(axis, written, path)
        elif isinstance(axis, PromptAxis | DocumentAxis) and isinstance(written, Mapping):
            located = self.item(axis, written, path)
        elif not isinstance(written, list):
            message = _EXPECTED.get(type(axis), f"must be a list{describe_given(written)}")
            self.refuse(path, message)
            return ()
        elif not written:
            self.refuse(path, "is empty: give it a value")
            return ()
        else:
            located = [
                found
                for place, item in enumerate(written)
                for found in self.item(axis, item, f"{path}[{place}]", number=place + 1)
            ]
        if len(located) > VALUES_MAX:
            self.refuse(path, f"has more than {VALUES_MAX:,} values")
            return ()
        return self.check_distinct(axis, located)

    def item(self, axis: Axis, item: Any, path: str, number: int = 1) -> list[Located]:
        """Read the values of one item: several for a pattern of files, none if it is wrong.

        `number` is its number on the axis, from 1.
        """
        try:
            match axis:
                case PromptAxis():
                    return PromptReader(axis, self.folder, self.problems).read(item, path)
                case RecordAxis():
                    return RecordReader(axis, self.folder, self.problems).read(item, path)
                case DocumentAxis():
                    return self._documents(axis, item, path)
                case ArgumentAxis():
                    return [(path, argument_value(axis, item))]
                case CaseAxis():
                    return [(path, case_value(axis, item, number))]
                case _:
                    return [(path, scalar_value(axis, item))]
        except Malformed as error:
            self.refuse(path, str(error))
            return []

    def check_distinct(self, axis: Axis, located: Iterable[Located]) -> tuple[AxisValue, ...]:
        """Return the values, in order, without those that repeat the content or name of an earlier one.

        Those are reported as mistakes, with the place of the earlier one.
        """
        values: list[AxisValue] = []
        by_label: dict[Any, str] = {}
        by_content: dict[bytes, tuple[str, Any]] = {}
        for path, value in located:
            content = canonical(value.content)
            if content in by_content:
                there, name = by_content[content]
                same = (
                    name if name == value.label else f"{value.label} is the same as {name}, which"
                )
                self.refuse(path, f"{same} is listed already, at {there}")
            elif value.label in by_label:
                self.refuse(
                    path,
                    f"another {axis.field} of the name {value.label} is at"
                    f" {by_label[value.label]}; rename one",
                )
            else:
                values.append(value)
                by_label[value.label] = path
                by_content[content] = path, value.label
        return tuple(values)

    def refuse(self, path: str, message: str, *, is_of_key: bool = False) -> None:
        """Report a mistake in the value at `path`, or in its key with `is_of_key`."""
        self.problems.append(Problem(path, message, is_of_key=is_of_key))

    def _range(
        self, axis: NumberAxis | IntegerAxis, written: Mapping[str, Any], path: str
    ) -> list[Located]:
        if not self._is_range(written, path):
            return []
        try:
            # Report only the first mistake of a range.
            return [(path, scalar_value(axis, number)) for number in numbers_between(written)]
        except Malformed as error:
            self.refuse(path, str(error))
            return []

    def _is_range(self, written: Mapping[str, Any], path: str) -> bool:
        """Whether {from, to, step} are present and numbers; mistakes are reported."""
        unknown = [key for key in written if key not in RANGE]
        wrong = [key for key in RANGE if key in written and not is_number(written[key])]
        missing = [key for key in RANGE if key not in written and not unknown]
        for key in unknown:
            self.refuse(child_path(path, key), unknown_key(key, RANGE), is_of_key=True)
        for key in wrong:
            message = f"must be a number{describe_non_number(written[key])}"
            self.refuse(f"{path}.{key}", message)
        for key in missing:
            self.refuse(f"{path}.{key}", "is missing", is_of_key=True)
        return not (unknown or wrong or missing)

    def _documents(self, axis: DocumentAxis, item: Any, path: str) -> list[Located]:
        match item:
            case {"file": str(pattern), **rest} if not rest:
                found = []
                for file in self.folder.find_files(pattern):
                    self.folder.spend(file)
                    try:
                        found += self._document(axis, read_document(file).require_sound(), path)
                    except Malformed as error:
                        self.refuse(path, f"{self._relative_name(file)}: {error}")
                return found
            case Mapping():
                return self._document(axis, item, path)
        raise Malformed("must be a mapping, or {file: ...}")

    def _document(self, axis: DocumentAxis, written: Any, path: str) -> list[Located]:
        if not isinstance(written, Mapping):
            raise Malformed("must hold a mapping")
        return read_record(axis, written, path, self.problems)

    def _relative_name(self, file: Path) -> str:
        return file.relative_to(self.folder.path).as_posix()


_EXPECTED = {
    NumberAxis: "must be a list, or {from: ..., to: ..., step: ...}",
    IntegerAxis: "must be a list, or {from: ..., to: ..., step: ...}",
    GroupAxis: "must be a list of names, or all",
    PromptAxis: "must be a list of {name: ..., text: ...} or {file: ...}",
    RecordAxis: "must be a list of texts and mappings, or {file: ...}",
}
