"""A table of texts that fits a width: its columns, its head and its lines."""

from codecs import StreamWriter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size

GAP = "  "
UNKNOWN = "-"
_NARROWEST = 6


@dataclass(slots=True)
class Column:
    """A column as far as it was seen: its width, and whether its value ever changes."""

    width: int
    first: str | None = None
    varies: bool = False

    def see(self, cell: str) -> bool:
        """Take note of a cell; returns whether the column looks different since."""
        if cell == self.first:
            return False
        width, varied = self.width, self.varies
        self.width = max(width, cell_len(cell))
        if self.first is None:
            self.first = cell
            return True
        self.varies = True
        return not varied or self.width > width


@dataclass(slots=True)
class Layout:
    """The axes shown above the table, those that head sections, and the widths of the columns."""

    constants: dict[str, str] = field(default_factory=dict)
    sections: list[str] = field(default_factory=list)
    widths: dict[str, int] = field(default_factory=dict)
    numbers: frozenset[str] = frozenset()
    """Columns of numbers, which are aligned to the right."""

    @property
    def total(self) -> int:
        """The width of all columns with the gaps between them."""
        return sum(self.widths.values()) + len(GAP) * max(0, len(self.widths) - 1)

    def fit(self, width: int, axes: Collection[str]) -> None:
        """Make the columns fit a width: the leading axes head sections, then the widest columns get narrower."""
        shown = [name for name in self.widths if name in axes]
        while len(shown) > 1 and self.total > width:
            section = shown.pop(0)
            self.sections.append(section)
            del self.widths[section]
        while self.total > width:
            widest = max(self.widths, key=lambda name: self.widths[name])
            if self.widths[widest] <= _NARROWEST:
                break
            self.widths[widest] -= 1


def write_head(what: str, layout: Layout, stream: StreamWriter, width: int) -> None:
    """Write what the table is of and its constants, a line for the names of columns, and one below them."""
    line = ""
    for part in (what, *(f"{name} {value}" for name, value in layout.constants.items())):
        if line and cell_len(line) + 2 + cell_len(part) > width:
            stream.write(line + "\n")
            line = ""
        line = f"{line}, {part}" if line else cut(part, width)
    if line:
        stream.write(line + "\n\n")
    stream.write(format_line(list(layout.widths), layout) + "\n")
    stream.write(cut(GAP.join("-" * column for column in layout.widths.values()), width) + "\n")


def format_section(layout: Layout, cells: Sequence[str], width: int) -> str:
    """The heading of a section: the names and values of its axes."""
    named = ", ".join(f"{n} {v}" for n, v in zip(layout.sections, cells, strict=True))
    return cut(named, width)


def format_line(cells: Sequence[str], layout: Layout) -> str:
    """A line of the table, each cell cut or padded to its column."""
    shown = []
    for (name, width), cell in zip(layout.widths.items(), cells, strict=True):
        text = cut(cell, width)
        room = " " * (width - cell_len(text))
        shown.append(room + text if name in layout.numbers else text + room)
    return GAP.join(shown).rstrip()


def cut(text: str, width: int) -> str:
    """The text in at most so many cells of a terminal; one that is longer ends in `…`."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)).rstrip() + "…"
