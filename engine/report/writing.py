"""Writes a report in the formats that it has: a page, Markdown, and pictures of its charts."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, TypeAlias

from engine.core.errors import UsageError
from engine.core.reports import ReportData
from engine.report.files import new_file
from engine.report.pictures import check_picture, draw_picture

WriteReport: TypeAlias = Callable[[ReportData, BinaryIO], None]


def _write_html(data: ReportData, stream: BinaryIO) -> None:
    from engine.report.html.page import write_page

    write_page(data, stream)


def _write_markdown(data: ReportData, stream: BinaryIO) -> None:
    from engine.report.report_markdown import report_markdown

    stream.write(report_markdown(data).encode())


REPORT_FORMATS: Mapping[str, WriteReport] = {"html": _write_html, "md": _write_markdown}
"""The formats of a whole report, by the ending of their files."""


def check_paths(
    reports: Sequence[str | Path], pictures: Sequence[str | Path], form: str | None = None
) -> list[tuple[Path, str | None]]:
    """The files of reports and of pictures, each with its format; None for a picture.

    `form` is the format of all reports; without it their endings say it. Raises UsageError for an unknown format,
    and for a picture whose name says no chart.
    """
    found: list[tuple[Path, str | None]] = []
    for path in map(Path, reports):
        chosen = form or path.suffix[1:].lower()
        if chosen not in REPORT_FORMATS:
            endings = ", ".join(f".{one}" for one in REPORT_FORMATS)
            raise UsageError(f"{path}: the name of a report ends in one of {endings}")
        found.append((path, chosen))
    for path in map(Path, pictures):
        check_picture(path)
        found.append((path, None))
    return found


def write_report(data: ReportData, path: Path, form: str | None) -> None:
    """Write a report to a file, or, if `form` is None, a picture of a chart.

    The file, of mode 0600, appears once it is whole. Raises UsageError as `draw_picture` does, and if it cannot be
    written.
    """
    picture = draw_picture(data, path) if form is None else b""
    with new_file(path) as stream:
        if form is None:
            stream.write(picture)
        else:
            REPORT_FORMATS[form](data, stream)
