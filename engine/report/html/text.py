"""Text and data from outside, made safe for an HTML file.

Templates escape what they are given. What is left are characters that no escaping makes harmless: those that
turn the direction of writing around, or cannot be seen. They are shown as small tags instead.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from markupsafe import Markup, escape

HIDDEN = (
    "\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff"
)
"""The characters that are shown as tags, as a class of a regular expression; `text.js` has the same."""
_HIDDEN = re.compile(f"([{HIDDEN}\U000e0000-\U000e007f])")
_TAG = "\u2039U+{}\u203a"
_MARKED = Markup('<span class="hidden-character">\u2039U+{}\u203a</span>')
_IN_SCRIPT = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


def visible(text: Any) -> Markup:
    """Convert a text to HTML, with a tag such as U+202E in place of each character that misleads the eye.

    Markup is returned as it is.
    """
    if isinstance(text, Markup):
        return text
    return Markup("").join(_mark(_HIDDEN.split(str(text))))


def attribute(text: Any) -> Markup:
    """Convert a text to the value of an attribute in HTML, with the same tags as words."""
    return escape(_HIDDEN.sub(lambda found: _TAG.format(f"{ord(found[1]):04X}"), str(text)))


def _mark(parts: list[str]) -> Iterator[Markup]:
    for number, part in enumerate(parts):
        if number % 2:
            yield _MARKED.format(f"{ord(part):04X}")
        else:
            yield escape(part)


def script_json(value: Any) -> Markup:
    """Convert a value to JSON for the inside of a `<script>`, of which no text can end it.

    Raises ValueError for a NaN or an infinity, which JSON lacks.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_IN_SCRIPT))  # noqa: S704 - escaped above
