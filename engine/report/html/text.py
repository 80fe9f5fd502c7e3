"""Text and data from outside, made safe for an HTML file.

Templates escape what they are given. What is left are characters that no escaping makes harmless: those that
turn the direction of writing around, or cannot be seen. They are shown as small tags instead.
"""

import json
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup, escape

from engine.report.hidden import PATTERN, show_hidden, tag_of

_MARKED = Markup('<span class="hidden-character">{}</span>')
_IN_SCRIPT = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


def visible(text: Any) -> Markup:
    """Convert a text to HTML, with a tag such as U+202E in place of each character that misleads the eye.

    Markup is returned as it is.
    """
    if isinstance(text, Markup):
        return text
    return Markup("").join(_mark(PATTERN.split(str(text))))


def attribute(text: Any) -> Markup:
    """Convert a text to the value of an attribute in HTML, with the same tags as words."""
    return escape(show_hidden(str(text)))


def _mark(parts: list[str]) -> Iterator[Markup]:
    for number, part in enumerate(parts):
        yield _MARKED.format(tag_of(part)) if number % 2 else escape(part)


def script_json(value: Any) -> Markup:
    """Convert a value to JSON for the inside of a `<script>`, of which no text can end it.

    Raises ValueError for a NaN or an infinity, which JSON lacks.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_IN_SCRIPT))  # noqa: S704 - escaped above
