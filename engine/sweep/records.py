"""Reading the records of a sweep file: inline, from the rows of tables, or from the lines of text files."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.core.axes import AxisValue, DocumentAxis, RecordAxis
from engine.core.errors import Problem
from engine.documents.malformed import Malformed
from engine.documents.tables import Row, Table, TableFormat, read_table, table_format
from engine.documents.validation import problems_of, validate
from engine.sweep.files import SweepFolder
from engine.sweep.prompts import Located, text_of_file
from engine.sweep.scalars import label

_EXPECTED = "must be text, a mapping, or {file: ...}"
_LINES = "lines"


class RecordFile(BaseModel):
    """A table with a record in each row, or a text file with one in each line."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    file: Annotated[
        str,
        Field(description="A file's name, or a pattern such as inputs/*.csv, from the sweep on."),
    ]
    column: Annotated[str | None, Field(description="The column of a table with the texts.")] = None
    name_column: Annotated[
        str | None, Field(description="The column of a table that names the records.")
    ] = None
    format: Annotated[
        Literal["lines", "csv", "tsv", "jsonl", "json", "yaml", "toml"] | None,
        Field(description="How the file is read, whatever its ending says."),
    ] = None


@dataclass(frozen=True, slots=True)
class RecordReader:
    """Reads the items of an axis of records; mistakes are added to `problems`."""

    axis: RecordAxis
    folder: SweepFolder
    problems: list[Problem]

    def read(self, item: Any, path: str) -> list[Located]:
        """Read the records of one item; raises Malformed for a mistake in the item as a whole."""
        match item:
            case str():
                return self._record({self.axis.text_field: item}, path)
            case {"file": _}:
                file = validate(RecordFile, item, path, self.problems)
                return [] if file is None else self._of_files(file, path)
            case Mapping():
                return self._record(item, path)
        raise Malformed(_EXPECTED)

    def _record(self, written: Mapping[str, Any], path: str) -> list[Located]:
        return read_record(self.axis, written, path, self.problems)

    def _of_files(self, part: RecordFile, path: str) -> list[Located]:
        found: list[Located] = []
        for file in self.folder.find_files(part.file):
            self.folder.spend(file)
            where = f"{path}: {file.relative_to(self.folder.path).as_posix()}"
            try:
                for row in self._rows(part, file):
                    found += self._of_row(row, f"{where}: {row.place}" if row.place else where)
            except Malformed as error:
                self._refuse(where, str(error))
        return found

    def _of_row(self, row: Row, path: str) -> list[Located]:
        try:
            return self._record(row.cells, path)
        except Malformed as error:
            self._refuse(path, str(error))
            return []

    def _rows(self, part: RecordFile, file: Path) -> Iterator[Row]:
        """The rows of a file, with the columns that the item names under the names of the axis."""
        text = text_of_file(file)
        written_as = part.format or (
            _LINES if file.suffix.lower() == ".txt" else table_format(file)
        )
        if written_as is None:
            raise Malformed(f"add `format`: {_LINES}, {', '.join(TableFormat)}")
        if written_as == _LINES:
            if part.column is not None or part.name_column is not None:
                raise Malformed("has a record in each line and no columns")
            yield from self._lines(text)
            return
        table = read_table(text, TableFormat(written_as))
        names = self._renamed(part, table)
        for row in table.rows:
            cells = {names.get(name, name): cell for name, cell in row.cells.items()}
            yield Row(row.place, cells)

    def _lines(self, text: str) -> Iterator[Row]:
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                yield Row(f"line {number}", {self.axis.text_field: line.strip()})

    def _renamed(self, part: RecordFile, table: Table) -> Mapping[str, str]:
        asked = {self.axis.text_field: part.column, self.axis.name_field: part.name_column}
        names: dict[str, str] = {}
        for field, column in asked.items():
            if column is None:
                continue
            found = table.find_column(column)
            if found != field and field in table.columns:
                raise Malformed(f"has a column {field} besides {found}: rename one of them")
            names[found] = field
        return names

    def _refuse(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


def read_record(
    axis: DocumentAxis, written: Mapping[str, Any], path: str, problems: list[Problem]
) -> list[Located]:
    """Read one document or record as its axis does; raises Malformed for a mistake in it as a whole.

    Mistakes in its parts are added to `problems`, and then nothing is returned.
    """
    try:
        name, content = axis.read(written)
    except ValidationError as error:
        # pydantic's message would quote the values, which may include keys.
        problems.extend(problems_of(error, None, path, written))
        return []
    except ValueError as error:
        raise Malformed(str(error)) from None
    return [(path, AxisValue(label=label(name), content=content))]
