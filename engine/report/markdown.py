"""Texts from models and services in Markdown: shown as they are, without images, links or mentions."""

import re

from engine.core.terminal import plain

_BACKTICKS = re.compile(r"`+")
_FENCE_MIN = 3


def fence(text: str) -> str:
    """The text as a code block, whose fence is longer than any run of backticks in it.

    Line breaks are kept; control characters and direction overrides are removed.
    """
    ticks = "`" * max(_FENCE_MIN, _longest_run(text) + 1)
    lines = "\n".join(map(plain, text.replace("\r\n", "\n").split("\n")))
    return f"{ticks}text\n{lines}\n{ticks}"


def code_span(text: str) -> str:
    """The text on one line as inline code, also in a cell of a table."""
    shown = plain(text)
    if not shown.strip():
        return "(empty)"
    ticks = "`" * (_longest_run(shown) + 1)
    # A table's cells end at a bar, even within code.
    shown = shown.replace("|", "\\|")
    # A space on each side is not shown; without it a backtick at the end would belong to the delimiter.
    return f"{ticks} {shown} {ticks}" if "`" in shown else f"{ticks}{shown}{ticks}"


def table_line(*cells: str) -> str:
    """A line of a table from cells that are Markdown."""
    return f"| {' | '.join(cells)} |"


def _longest_run(text: str) -> int:
    return max(map(len, _BACKTICKS.findall(text)), default=0)
