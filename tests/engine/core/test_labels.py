"""Names are written in any script; what cannot be seen or turns the text around is refused."""

import pytest

from engine.core.labels import control_characters, is_blank

IN_ANY_SCRIPT = [
    "مساعد طيب",
    "می\u200cروم",
    "क्\u200dष",
    "ක්\u200dෂ",
    "👩\u200d⚕️ nurse",
    "❤️",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "葛\U000e0100城",
    "ᠠ\u180b",
    "\U0001fae8 shaking",
    "\U0001fadf later Unicode",
    "שלום",
    "안녕",
    "e\u0301",
]


@pytest.mark.parametrize("name", IN_ANY_SCRIPT)
def test_every_script_and_emoji_makes_names(name: str) -> None:
    assert control_characters(name) == ""
    assert not is_blank(name)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a\nb", "U+000A"),
        ("a\x1b[31m", "U+001B"),
        ("a\x85b", "U+0085"),
        ("a\u2028b", "U+2028"),
        ("a\u202eb", "U+202E"),
        ("a\u2066b", "U+2066"),
        ("a\u200eb", "U+200E"),
        ("a\u200bb", "U+200B"),
        ("a\u00adb", "U+00AD"),
        ("a\ufeffb", "U+FEFF"),
        ("a\ufdd0b", "U+FDD0"),
        ("a\U0001ffffb", "U+1FFFF"),
        ("a\ud800b", "U+D800"),
        ("hidden\U000e0061\U000e0062", "U+E0061"),
    ],
)
def test_what_misleads_a_reader_is_found(name: str, found: str) -> None:
    assert control_characters(name) == found


@pytest.mark.parametrize("name", ["", " ", "\u200d", "\u200c \ufe0f", "\u3164", "\u00a0"])
def test_a_name_of_which_nothing_is_seen_is_blank(name: str) -> None:
    assert is_blank(name)
