"""`engine.chat`: the sweep of a chat file, made of arguments."""

import doctest
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import engine.sweep.chat
from engine import Sweep, SweepError, chat

RECORDS = [
    {"id": "fr", "text": "France?", "expected": "Paris"},
    {"id": "jp", "text": "Japan?", "expected": "Tokyo"},
]
URL = "http://127.0.0.1:1/v1"


def test_arguments_make_the_sweep_of_a_file() -> None:
    made = chat(
        "capitals",
        models=["m1", "m2"],
        inputs=RECORDS,
        system_prompts={"bare": None, "kind": "Be kind."},
        temperatures=[0, 1],
        top_p=[0.5],
        max_tokens=[8],
        seeds=range(3),
        repeats=2,
        scorers=["equals"],
        base_url=URL,
        api_key="env:KEY",
        rate_per_min=60,
        tokens_per_min=1_000,
        max_in_flight=4,
        prices={"m1": {"input": 1, "output": 2}},
        headers={"x-title": "t"},
        extra_body={"provider": {"sort": "price"}},
        reasoning={"effort": "low"},
        service={"timeout_s": 9},
        limits={"max_in_flight": 3},
        retry={"attempts": 2},
        exclude=[{"models": "m2", "seeds": 2}],
    )
    written = Sweep.parse(
        {
            "name": "capitals",
            "service": {
                "kind": "chat",
                "base_url": URL,
                "api_key": "env:KEY",
                "rate_per_min": 60,
                "tokens_per_min": 1_000,
                "max_in_flight": 4,
                "prices": {"m1": {"input": 1, "output": 2}},
                "headers": {"x-title": "t"},
                "extra_body": {"provider": {"sort": "price"}},
                "reasoning": {"effort": "low"},
                "scorers": ["equals"],
                "timeout_s": 9,
            },
            "evaluation": "completion",
            "matrix": {
                "models": ["m1", "m2"],
                "inputs": RECORDS,
                "system_prompts": [
                    {"name": "bare", "text": None},
                    {"name": "kind", "text": "Be kind."},
                ],
                "temperatures": [0, 1],
                "top_p": [0.5],
                "max_tokens": [8],
                "seeds": [0, 1, 2],
                "repeats": 2,
            },
            "limits": {"max_in_flight": 3},
            "retry": {"attempts": 2},
            "exclude": [{"models": "m2", "seeds": 2}],
        }
    )

    assert made.dump() == written.dump()
    assert made.plan().cells == 2 * 2 * 2 * 2 * (3 + 2)


class PandasLike:
    """A frame with the method of pandas, which has missing values as NaN."""

    columns = ("id", "text", "expected", "note")

    def to_dict(self, orient: str) -> list[dict[str, Any]]:
        assert orient == "records"
        return [{**record, "note": math.nan} for record in RECORDS]


class PolarsLike:
    """A frame with the method of polars."""

    columns = ("id", "text", "expected", "note")

    def to_dicts(self) -> list[dict[str, Any]]:
        return [{**record, "note": None} for record in RECORDS]


@pytest.mark.parametrize("frame", [PandasLike(), PolarsLike(), iter(RECORDS)])
def test_inputs_may_be_a_data_frame_or_any_iterable(frame: Any) -> None:
    made = chat("capitals", models="m1", inputs=frame, base_url=URL, scorers=["contains"])

    plain = chat("capitals", models="m1", inputs=RECORDS, base_url=URL, scorers=["contains"])
    assert made.dump() == plain.dump()


@pytest.mark.parametrize(
    ("prompts", "names"),
    [
        (["Be kind.", {"name": "long", "text": "x" * 99}], ["Be kind.", "long"]),
        ({"none": None}, ["none"]),
        (["a\nb " * 30], [("a b " * 15).strip()]),
    ],
)
def test_system_prompts_are_named_or_called_after_their_beginning(
    prompts: Any, names: Sequence[str]
) -> None:
    made = chat("s", models="m1", inputs=["x"], base_url=URL, system_prompts=prompts)

    assert list(dict.fromkeys(job.labels["system_prompt"] for job in made.jobs())) == names


def test_a_file_of_inputs_starts_at_the_folder(tmp_path: Path) -> None:
    (tmp_path / "inputs.txt").write_text("First?\nSecond?\n")

    made = chat("s", models="m1", inputs={"file": "inputs.txt"}, base_url=URL, folder=tmp_path)

    assert [job.labels["input"] for job in made.jobs()] == ["First?", "Second?"]


def test_an_axis_that_is_no_list_is_read_as_in_a_file() -> None:
    steps = {"from": 0, "to": 1, "step": 0.5}

    made = chat("s", models="m1", inputs=["x"], base_url=URL, temperatures=steps)

    assert [job.labels["temperature"] for job in made.jobs()] == [0, 0.5, 1]
    with pytest.raises(SweepError, match=r"matrix\.temperatures: must be a list, or \{from"):
        chat("s", models="m1", inputs=["x"], base_url=URL, temperatures=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("inputs", [3, None, [], [3]])
def test_what_is_no_list_of_inputs_is_a_mistake(inputs: Any) -> None:
    with pytest.raises(SweepError, match=r"matrix\.inputs"):
        chat("s", models="m1", inputs=inputs, base_url=URL)


def test_every_mistake_is_reported_as_in_a_file() -> None:
    with pytest.raises(SweepError) as raised:
        chat("s", models="m1", inputs=["x"], scorers=["equals", "regx"], temperatures=[3])

    assert {one.path for one in raised.value.problems} == {
        "service.scorers[1]",
        "matrix.temperatures[0]",
    }


def test_the_example_of_its_docstring_is_true() -> None:
    assert doctest.testmod(engine.sweep.chat).failed == 0
    assert doctest.testmod(engine.sweep.chat).attempted > 0
