import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.terminal import plain, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;owned\x07title", "title"),
        ("\x1b]52;c;ZXZpbA==\x1b\\clipboard", "clipboard"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPdevice\x1b\\control", "control"),
        ("\x9b2Jeight bits", "eight bits"),
        ("\x1bcreset", "reset"),
        ("unfinished \x1b[12", "unfinished 12"),
        ("unfinished \x1b]0;title", "unfinished "),
        ("two\r\nlines\tand\u2028more", "two lines and more"),
        ("over\x08\x08write\x7f", "overwrite"),
        ("user\u202etxt.exe", "usertxt.exe"),
        ("\u2066isolated\u2069\u200f\u061c", "isolated"),
        ("hidden \U000e0041\u200b", "hidden "),
        ("half a pair \ud800", "half a pair \ufffd"),
        ("日本 ümläut 👩\u200d💻", "日本 ümläut 👩\u200d💻"),
    ],
)
def test_what_could_harm_a_terminal_is_gone_and_the_rest_stays(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text(st.characters(codec=None)))
def test_no_text_leaves_anything_that_controls(text: str) -> None:
    shown = plain(text)

    shown.encode("utf-8")
    assert all(
        unicodedata.category(character) not in ("Cc", "Cf", "Cs") or character in "\u200c\u200d"
        for character in shown
    )


@pytest.mark.parametrize("opener", ["\x1b]", "\x1b[", "\x1b[1", "\x1bP", "\x9d", "\x1b ", "\n"])
def test_hostile_text_costs_linear_time(opener: str) -> None:
    assert len(plain(opener * 200_000)) <= len(opener) * 200_000


@pytest.mark.parametrize(
    ("width", "lines"),
    [
        (None, ["  7 jobs: connection refused (POST chat/completions at host)", "", "x" * 30]),
        (200, ["  7 jobs: connection refused (POST chat/completions at host)", "", "x" * 30]),
        (
            24,
            [
                "  7 jobs: connection",
                "    refused (POST",
                "    chat/completions at",
                "    host)",
                "",
                "x" * 30,
            ],
        ),
    ],
)
def test_prose_is_wrapped_between_words_to_a_width_and_never_without_one(
    width: int | None, lines: list[str]
) -> None:
    paragraphs = ["  7 jobs: connection refused (POST chat/completions at host)", "", "x" * 30]

    assert wrapped(paragraphs, width) == lines


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("make one with `nightsweep run SWEEP`", ["make one with", "  `nightsweep run SWEEP`"]),
        ("there is no file 'my first sweep'", ["there is no file", "  'my first sweep'"]),
        ("'my sweep', not 'the other'", ["'my sweep', not", "  'the other'"]),
        ("the stores' run isn't in use", ["the stores' run isn't in", "  use"]),
        (
            "use `nightsweep status --store a.db`",
            ["use `nightsweep status", "  --store a.db`"],
        ),
    ],
)
def test_a_command_or_a_quoted_value_stays_on_a_line_if_it_fits_on_one(
    line: str, lines: list[str]
) -> None:
    assert wrapped([line], 25) == lines
