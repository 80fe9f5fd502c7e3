"""Small tables of facts as HTML, for notebooks; every text is escaped."""

from collections.abc import Iterable, Mapping
from html import escape

from engine.core.terminal import plain

_STYLE = "text-align:left;vertical-align:top"
_LONG = ";max-width:60em;overflow-wrap:anywhere"
"""Long words, such as those of an error, are broken; the names of facts are short."""


def facts_html(title: str, facts: Mapping[str, str], *, share: float | None = None) -> str:
    """A table with a line for each fact that is not empty; above it the title and, with a `share`, a bar.

    `share` is the part that is done, from 0 to 1.
    """
    bar = ""
    if share is not None:
        bar = f'<div><progress max="1" value="{share:.4f}" style="width:20em"></progress> {share:.0%}</div>'
    rows = "".join(_row(name, value) for name, value in facts.items() if value)
    return f"<div><b>{_text(title)}</b>{bar}<table>{rows}</table></div>"


def _row(name: str, value: str) -> str:
    lines = "<br>".join(map(_text, value.split("\n")))
    return (
        f'<tr><th style="{_STYLE}">{_text(name)}</th><td style="{_STYLE}{_LONG}">{lines}</td></tr>'
    )


def _text(text: str) -> str:
    return escape(plain(text))


def lines_of(items: Iterable[str], most: int = 5) -> str:
    """Texts as lines, of which the first `most` are shown and the others counted."""
    listed = list(items)
    more = [f"and {len(listed) - most:,} more"] if len(listed) > most else []
    return "\n".join([*listed[:most], *more])
