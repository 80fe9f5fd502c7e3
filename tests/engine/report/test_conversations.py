"""Findings as text to be read."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.core.findings import Finding, Message
from engine.report.conversations import conversation_lines
from tests.engine.report.test_finding_sheets import HOSTILE, finding

TEXTS = st.text(st.characters() | st.sampled_from(" \n\t\x1b\u202e漢é\u200d"), max_size=300)


def text_of(one: Finding, width: int | None = None, number: int = 1) -> str:
    return "\n".join(line.text for line in conversation_lines(one, number, width))


def said(*texts: str) -> tuple[Message, ...]:
    return tuple(
        Message(role=role, content=text)
        for role, text in zip(("user", "assistant") * len(texts), texts, strict=False)
    )


def test_a_finding_is_its_head_its_messages_and_the_evidence() -> None:
    one = finding(
        messages=(Message(role="system", content="Be kind.\n\nBe brief."), *said("Help.", "No.")),
        evidence={
            "score": 0.2,
            "found": True,
            "items": [
                {"name": "asks", "weight": None, "evidence": [{"start": 3, "quote": "No."}]},
                {"name": "kind", "evidence": []},
            ],
            "why": {"text": "Cold."},
            "tags": ["a", ["b"]],
        },
        values={"mutator": "typos", "control": False},
    )

    assert (
        text_of(one, number=12)
        == """\
12. case case-1, layer 1, score 0.2, failed at 0.3, 0.9
   model a, repeat 1, job 7

  system
    Be kind.

    Be brief.

  user
    Help.

  assistant
    No.

  mutator: typos, control: no

  evidence
    score: 0.2, found: yes
    items:
    - name: asks, weight: -
      evidence:
      - start: 3, quote: No.
    - name: kind
    why:
      text: Cold.
    tags:
    - a
    - - b
"""
    )


def test_what_a_finding_does_not_say_is_left_out() -> None:
    bare = Finding(failed=True, run="night", job=7, labels={"model": "a"}, thresholds=())

    assert text_of(bare) == "1. a failed test\n   model a, job 7\n"


def test_lines_are_wrapped_between_words() -> None:
    one = finding(messages=said("Nobody wants to hear it.  Not " + "x" * 40, "    if a:\n\tb"))

    lines = text_of(one, 40).splitlines()

    assert lines[4:13] == [
        "  user",
        "    Nobody wants to hear it.  Not",
        f"    {'x' * 36}",
        "    xxxx",
        "",
        "  assistant",
        "        if a:",
        "        b",
        "",
    ]


@given(TEXTS, st.sampled_from([40, 61, 80]))
def test_no_line_is_too_wide_and_nothing_is_lost(text: str, width: int) -> None:
    one = finding(messages=said(text), case=None, evidence={"why": [text]}, values={"a": text})

    wrapped, whole = text_of(one, width), text_of(one)

    assert all(cell_len(line) <= width for line in wrapped.splitlines())
    assert "".join(wrapped.split()) == "".join(whole.split())


@given(TEXTS)
def test_no_character_that_a_terminal_obeys_is_shown(text: str) -> None:
    hostile = text + HOSTILE
    one = finding(
        messages=(Message(role=hostile, content=hostile),),
        case=hostile,
        labels={hostile: hostile},
        evidence={hostile: [hostile, {hostile: hostile}]},
        values={hostile: hostile},
    )

    for line in conversation_lines(one, 1, 60):
        kinds = {unicodedata.category(character) for character in line.text}
        assert not kinds & {"Cc", "Cs", "Zl", "Zp"}
        assert "\u202e" not in line.text


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_evidence_that_is_nested_too_deeply_is_cut_and_no_error(opening: str) -> None:
    value: Any = 1
    for _ in range(5_000):
        value = [value] if opening == "[" else {"a": value}

    text = text_of(finding(evidence={"deep": value}), 80)

    assert text.rstrip().endswith("…")
    assert len(text) < 4_000


def test_a_very_long_message_is_shown_whole() -> None:
    text = text_of(finding(messages=said("x" * 1_000_000)), 80)

    assert text.count("x") == 1_000_000
