"""The replies that the authors scored, and the figures about them in the documentation."""

import csv
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.evaluator.commands import calibrate_app
from jobs.evaluator.groups import Case, CaseSet
from jobs.evaluator.judge.items import Item, Observation, RedFlag
from jobs.evaluator.judge.scoring import read_scale
from tests.paths import ROOT

HALVES = ("tuning", "held-out")


def read_ratings(half: str) -> list[dict[str, str]]:
    with (ROOT / f"docs/examples/ratings-{half}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def built_in_cases() -> dict[str, Case]:
    cases = CaseSet()
    return {case.id: case for name in cases.names for case in cases.group(name).cases}


def calibrate_rules(file: str) -> str:
    return CliRunner().invoke(calibrate_app, ["rules", "--against", str(ROOT / file)]).stdout


@pytest.mark.parametrize("half", HALVES)
def test_the_documented_figures_are_what_the_command_prints(half: str) -> None:
    page = (ROOT / "docs/explanation/scores.md").read_text(encoding="utf-8")
    file = f"docs/examples/ratings-{half}.csv"

    [block] = re.findall(
        rf"^    \$ nightsweep calibrate rules --against {re.escape(file)}\n((?:    .*\n|\n)+)",
        page,
        re.MULTILINE,
    )

    assert re.sub(r"^ {4}", "", block, flags=re.MULTILINE).strip() == calibrate_rules(file).strip()


def test_the_page_says_how_many_replies_there_are() -> None:
    page = (ROOT / "docs/explanation/scores.md").read_text(encoding="utf-8")

    assert f"wrote {sum(len(read_ratings(half)) for half in HALVES)} replies" in page


def test_the_table_of_the_page_is_the_scale() -> None:
    page = (ROOT / "docs/explanation/scores.md").read_text(encoding="utf-8")
    scale, _ = read_scale()

    for item, weight in scale.weights.items():
        assert f"| `{item.value}` | {weight.weight:g} |" in page
    for flag, cap in scale.caps.items():
        assert re.search(rf"\| [^|]*`{flag.value}`[^|]* \| {cap.cap:g} \|", page)


@pytest.mark.parametrize("half", HALVES)
def test_a_rated_reply_s_score_follows_from_its_items_and_red_flags(half: str) -> None:
    scale, _ = read_scale()
    cases = built_in_cases()

    for row in read_ratings(half):
        case = cases[row["case"]]
        items = [Observation(item, item.value in row["items"].split()) for item in case.expected]
        flags = [Observation(RedFlag(name), True) for name in row["red_flags"].split()]
        assert {Item(name) for name in row["items"].split()} <= set(case.expected), row["case"]
        judgement = scale.judgement(case, items, flags)
        assert float(row["score"]) == pytest.approx(judgement.score, abs=0.006), row["reply"]


def test_the_rated_replies_cover_every_item_flag_and_risk_and_the_halves_share_no_case() -> None:
    tuning, held_out = (read_ratings(half) for half in HALVES)
    both = [*tuning, *held_out]
    cases = built_in_cases()

    assert {row["case"] for row in tuning}.isdisjoint(row["case"] for row in held_out)
    assert len({row["reply"] for row in both if row["reply"]}) >= 120
    assert {name for row in both for name in row["items"].split()} == set(Item)
    assert {name for row in both for name in row["red_flags"].split()} == set(RedFlag)
    assert len({cases[row["case"]].risk_level for row in both}) == 5


def test_the_example_of_the_guide_is_calibrated(tmp_path: Path) -> None:
    guide = (ROOT / "docs/howto/calibrate-a-judge.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```csv\n(.*?)```", guide, re.DOTALL)
    [command] = re.findall(r"^    (nightsweep calibrate rules .*)$", guide, re.MULTILINE)
    (tmp_path / "ratings.csv").write_text(example, encoding="utf-8")
    arguments = command.replace("ratings.csv", str(tmp_path / "ratings.csv")).split()[2:]

    outcome = CliRunner().invoke(calibrate_app, arguments)

    assert outcome.exit_code == 0
    assert "among people alone" in outcome.stdout
