"""Characters that cannot be seen, or that turn the direction of writing around, shown as tags."""

import re

HIDDEN = (
    "\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u180e\\u200b\\u200e\\u200f"
    "\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\ud800-\\udfff"
)
"""These characters as a class of a regular expression; `text.js` has the same."""
PATTERN = re.compile(f"([{HIDDEN}\U000e0000-\U000e007f])")


def tag_of(character: str) -> str:
    """The tag that stands for a character, such as U+202E in angle quotes."""
    return f"\u2039U+{ord(character):04X}\u203a"


def show_hidden(text: str) -> str:
    """The text with a tag in place of each such character; line breaks, tabs and joiners stay."""
    return PATTERN.sub(lambda found: tag_of(found[1]), text)
