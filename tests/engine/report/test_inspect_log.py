"""What logs of Inspect are made of: values that every parser takes, and evidence for reading."""

import json
from math import inf, nan
from typing import Any

from engine.report.inspect_log.cleaning import clean, describe


def test_a_cleaned_value_is_json_in_utf8_with_numbers_of_64_bits() -> None:
    value = {
        "text": "\ud800 \x00 \u202e",
        7: [nan, -inf, 0.5, True, None, 2**63 - 1, -(2**63), 2**64],
        "other": {"set": {1}},
    }

    cleaned = clean(value)

    assert json.loads(json.dumps(cleaned, ensure_ascii=False, allow_nan=False).encode()) == {
        "text": "\ufffd \x00 \u202e",
        "7": ["nan", "-inf", 0.5, True, None, 2**63 - 1, "-9223372036854775808", str(2**64)],
        "other": {"set": "{1}"},
    }


def test_what_is_nested_too_deeply_is_cut_off() -> None:
    nested: Any = "end"
    for _ in range(10_000):
        nested = [nested]

    text = json.dumps(clean(nested))

    assert "[nested too deeply to be shown]" in text
    assert text.count("[") < 100


def test_evidence_is_described_as_a_list_with_the_plain_fields_of_an_item_on_one_line() -> None:
    evidence = {
        "score": 0.25,
        "notes": "two\nlines",
        "red_flags": [
            {"name": "refusal", "found": True, "evidence": [{"quote": "No.", "start": 0}]},
            "bare",
        ],
        "items": [],
    }

    assert describe(evidence).splitlines() == [
        "- score: 0.25",
        "- notes: two lines",
        "- red_flags:",
        "  - name: refusal, found: true",
        "    - evidence:",
        "      - quote: No., start: 0",
        "  - bare",
        "- items:",
    ]
