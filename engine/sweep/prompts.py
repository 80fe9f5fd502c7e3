"""Reading the system prompts of a sweep file: inline, from files, or from the rows of a table."""

import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from engine.core.axes import AxisValue, PromptAxis
from engine.core.errors import Problem
from engine.core.placeholders import describe, placeholders_in
from engine.documents.malformed import Malformed
from engine.documents.places import child_path
from engine.documents.reading import read_text
from engine.documents.tables import (
    NAME_COLUMNS,
    TEXT_COLUMNS,
    Row,
    Table,
    TableFormat,
    guess_table_format,
    read_table,
    table_format,
)
from engine.documents.validation import unknown_key, validate
from engine.sweep.files import SweepFolder
from engine.sweep.scalars import label

Located: TypeAlias = tuple[str, AxisValue]
"""A value and its path in the sweep."""

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers", ".parquet")
_EXPECTED = "must be {name: ..., text: ...} or {file: ...}"
_AS_IT_STANDS = "or add `literal: true` to send it unchanged"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    fill: Annotated[
        str | None,
        Field(description="A table: one prompt for each row, whose cells fill the placeholders."),
    ] = None
    name_column: Annotated[
        str | None, Field(description="The column of the table that names the prompts.")
    ] = None
    literal: Annotated[
        bool, Field(description="Whether placeholders such as {{name}} are sent unchanged.")
    ] = False


class _Inline(_Part):
    """An inline system prompt."""

    name: Annotated[Any, Field(description="What rows and rules call the prompt.")]
    text: Annotated[
        str | None,
        Field(
            description="The system prompt. Null, where the evaluation takes it: a baseline without one."
        ),
    ]


class _File(_Part):
    """A text file, which is one prompt, or a table, with a prompt in each row."""

    file: Annotated[
        str,
        Field(description="A file's name, or a pattern such as prompts/*.md, from the sweep on."),
    ]
    name: Annotated[Any, Field(description="Another name than the text file's own.")] = None
    column: Annotated[str | None, Field(description="The column of a table with the prompts.")] = (
        None
    )
    format: Annotated[
        Literal["text", "csv", "tsv", "jsonl", "json", "yaml", "toml"] | None,
        Field(description="How the file is read, whatever its ending says."),
    ] = None


PROMPT_FORMS: tuple[type[BaseModel], ...] = (_Inline, _File)
"""The forms of an item on an axis of prompts."""


@dataclass(frozen=True, slots=True)
class PromptReader:
    """Reads the items of an axis of prompts; mistakes are added to `problems`."""

    axis: PromptAxis
    folder: SweepFolder
    problems: list[Problem]

    def read(self, item: Any, path: str) -> list[Located]:
        """Read the prompts of one item; raises Malformed for a mistake in the item as a whole."""
        match item:
            case {"file": _}:
                file = validate(_File, item, path, self.problems)
                return [] if file is None else self._of_files(file, path)
            case {"text": _}:
                inline = validate(_Inline, item, path, self.problems)
                return [] if inline is None else self._inline(inline, path)
            case Mapping() if unknown := [key for key in item if key not in _KEYS]:
                for key in unknown:
                    self.problems.append(
                        Problem(child_path(path, key), unknown_key(key, _KEYS), is_of_key=True)
                    )
                return []
        raise Malformed(_EXPECTED)

    def _inline(self, part: _Inline, path: str) -> list[Located]:
        try:
            label(part.name)
        except Malformed as error:
            self._refuse(f"{path}.name", str(error))
            return []
        if part.text is None and part.fill is None:
            return [(path, self._baseline(part.name))]
        if self.axis.absent and part.text is not None and not part.text.strip():
            raise Malformed("text is empty: write null for a baseline without a prompt")
        return self._of_text(part, part.name, part.text or "", path)

    def _baseline(self, name: Any) -> AxisValue:
        if not self.axis.absent:
            raise Malformed("text: this evaluation needs a system prompt")
        return AxisValue(label=label(name), content=None)

    def _of_files(self, part: _File, path: str) -> list[Located]:
        files = self.folder.find_files(part.file)
        if part.name is not None and len(files) > 1:
            raise Malformed(f"{part.file}: matches {len(files)} files, which cannot share a name")
        found: list[Located] = []
        for file in files:
            self.folder.spend(file)
            where = f"{path}: {self._relative_name(file)}"
            try:
                found += self._of_file(part, file, where)
            except Malformed as error:
                self._refuse(where, str(error))
        return found

    def _of_file(self, part: _File, file: Path, path: str) -> list[Located]:
        text = text_of_file(file)
        written_as = part.format or table_format(file)
        if written_as is None or written_as == "text":
            if part.column is not None:
                raise Malformed(
                    "is read as one text and has no columns; set `format` if it is a table"
                )
            if part.format is None and (looks := guess_table_format(text)):
                raise Malformed(
                    f"looks like a table: add `format: {looks}` for a prompt of each row,"
                    " or `format: text` for one prompt"
                )
            name = _stem(file) if part.name is None else part.name
            return self._of_text(part, name, text, path)
        if part.name is not None or part.fill is not None:
            key = "name" if part.fill is None else "fill"
            raise Malformed(f"is a table: `{key}` is for a file that is one prompt")
        table = read_table(text, TableFormat(written_as))
        return list(self._of_table(part, table, _stem(file), path))

    def _of_table(self, part: _File, table: Table, stem: str, path: str) -> Iterator[Located]:
        """Make a prompt from each row, with placeholders filled from the row's other cells."""
        column = _text_column(table, part.column)
        names = _name_column(table, part.name_column, apart_from=column)
        for number, row in enumerate(table.rows, 1):
            where = f"{path}: {row.place}" if row.place else path
            try:
                name = f"{stem}-{number}" if names is None else _name_in(row, names)
                if row.cells.get(column, "") is None:
                    yield where, self._baseline(name)
                    continue
                text = row.text(column).rstrip("\n")
                if not part.literal:
                    text = table.fill_in(text, row, apart_from=column, otherwise=_AS_IT_STANDS)
                yield where, AxisValue(label=label(name), content=text)
            except Malformed as error:
                self._refuse(where, str(error))

    def _of_text(self, part: _Part, name: Any, text: str, path: str) -> list[Located]:
        """Make a prompt from a text or, with `fill`, one for each row of a table."""
        text = text.rstrip("\n")
        name = label(name)
        found = [] if part.literal else placeholders_in(text)
        if part.fill is None:
            if part.name_column is not None:
                raise Malformed("`name_column` needs a table")
            if found:
                raise Malformed(
                    f"contains the placeholder {describe(found)}: write out what it stands for, fill it"
                    f" from the columns of a table (`fill: FILE.csv`), {_AS_IT_STANDS}"
                )
            return [(path, AxisValue(label=name, content=text))]
        if not found:
            raise Malformed("has no placeholder to fill, such as {{name}}")
        table, where = self._fill_table(part.fill, path)
        return list(self._variants(part, name, text, table, where))

    def _variants(
        self, part: _Part, name: str, text: str, table: Table, path: str
    ) -> Iterator[Located]:
        names = _name_column(table, part.name_column, apart_from=None)
        for number, row in enumerate(table.rows, 1):
            where = f"{path}: {row.place}" if row.place else path
            try:
                own = str(number) if names is None else _name_in(row, names)
                content = table.fill_in(text, row, apart_from=None, otherwise="or write it out")
                yield where, AxisValue(label=label(f"{name}-{own}"), content=content)
            except Malformed as error:
                self._refuse(where, str(error))

    def _fill_table(self, pattern: str, path: str) -> tuple[Table, str]:
        files = self.folder.find_files(pattern)
        shown = self._relative_name(files[0])
        written_as = table_format(files[0])
        if len(files) > 1 or written_as is None:
            raise Malformed(f"{pattern}: `fill` needs one table ({', '.join(TableFormat)})")
        self.folder.spend(files[0])
        try:
            return read_table(text_of_file(files[0]), written_as), f"{path}: {shown}"
        except Malformed as error:
            raise Malformed(f"{shown}: {error}") from None

    def _relative_name(self, file: Path) -> str:
        return file.relative_to(self.folder.path).as_posix()

    def _refuse(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


_KEYS = tuple(dict.fromkeys([*_Inline.model_fields, *_File.model_fields]))


def text_of_file(file: Path) -> str:
    """The text of a file; raises Malformed if it cannot be read, is empty or is a spreadsheet."""
    if file.suffix.lower() in _SPREADSHEETS:
        raise Malformed("cannot be read; save the table as CSV in UTF-8")
    text = read_text(file)
    if not text.strip():
        raise Malformed("it is empty")
    if "\0" in text:
        raise Malformed("it contains NUL characters")
    return text


def _text_column(table: Table, asked: str | None) -> str:
    if asked is not None:
        return table.find_column(asked)
    found = table.find_usual_column(TEXT_COLUMNS, "column")
    if found is None:
        raise Malformed(
            f"no column is called {', '.join(TEXT_COLUMNS[:3])} or the like: name the column of prompts with"
            f" `column`; {table.describe_columns()}"
        )
    return found


def _name_column(table: Table, asked: str | None, *, apart_from: str | None) -> str | None:
    """The column of names: the requested one, `name`, or one with a usual name; None without any."""
    if asked is not None:
        return table.find_column(asked)
    first = table.find_usual_column(NAME_COLUMNS[:1], "name_column", apart_from=apart_from)
    return first or table.find_usual_column(NAME_COLUMNS, "name_column", apart_from=apart_from)


def _name_in(row: Row, column: str) -> str:
    return " ".join(unicodedata.normalize("NFC", row.text(column)).split())


def _stem(file: Path) -> str:
    """The name of a file's prompt, in NFC: some systems store names with combining characters."""
    return unicodedata.normalize("NFC", file.stem)
