"""Characters of names: every script and emoji, but nothing that is invisible or misleading."""

import re
import unicodedata

# Scripts such as Devanagari and Persian, and many emoji, need joiners.
_JOINERS = "\u200c\u200d"
_FLAG = re.compile("\U0001f3f4[\U000e0030-\U000e007a]{1,10}\U000e007f")
"""The flag of a part of a country: England's, Scotland's."""
_BLANK = re.compile(
    "[\\s\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]*"
)


def control_characters(name: str) -> str:
    """The first character that is not allowed in a name, such as U+202E; "" if there is none.

    Not allowed are control characters, line separators, direction overrides and invisible characters.
    """
    if name.isascii() and name.isprintable():
        return ""
    return next((f"U+{ord(one):04X}" for one in _FLAG.sub("", name) if _is_control(one)), "")


def is_blank(name: str) -> bool:
    """Whether a name has no visible character, such as one of spaces and joiners; it could not be seen in a table."""
    return _BLANK.fullmatch(name.translate(dict.fromkeys(map(ord, _JOINERS)))) is not None


def _is_control(character: str) -> bool:
    match unicodedata.category(character):
        case "Cc" | "Cs" | "Zl" | "Zp":
            return True
        case "Cf":
            return character not in _JOINERS
        case "Cn":
            # Allow characters of a later Unicode version, but not code points that are never assigned.
            return ord(character) & 0xFFFE == 0xFFFE or "\ufdd0" <= character <= "\ufdef"
        case _:
            return False
