"""Charts as pictures: drawn from the specs of the page, without a browser."""

from pathlib import Path

import pytest

from engine.core.errors import UsageError
from engine.report.pictures import check_picture, draw_picture
from tests.engine.report.reports import report

SIGNATURES = {".png": b"\x89PNG", ".svg": b"<svg", ".pdf": b"%PDF"}


@pytest.mark.parametrize("ending", SIGNATURES)
def test_the_ending_of_a_name_is_the_format(ending: str) -> None:
    assert draw_picture(report(), Path(f"heatmap{ending}")).startswith(SIGNATURES[ending])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("night-heatmap.svg", ["qwen/qwen3-8b", "psychosis", "42%", "24 asked"]),
        ("thresholds.svg", ["acme/assistant-7b", "substance_use", "0.4"]),
        ("pairs.svg", ["cannot be told apart", "+0%"]),
    ],
)
def test_a_name_says_which_chart_it_is(name: str, words: list[str]) -> None:
    drawn = draw_picture(report(), Path(name)).decode()

    for word in words:
        assert word in drawn, word


def test_cells_that_lack_answers_are_hatched() -> None:
    drawn = draw_picture(report(), Path("heatmap.svg")).decode()

    # Six lines, across the one cell that lacks some.
    assert drawn.count('"rule mark"') == 6


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("heatmap.gif", r"heatmap\.gif: the name of a picture ends in \.png, \.svg, \.pdf"),
        ("x.png", r"x\.png: .* which chart it is: heatmap, thresholds, pairs, as in heatmap\.png"),
    ],
)
def test_a_name_that_says_no_chart_or_format_is_refused(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_picture(Path(name))


def test_a_run_with_nothing_to_draw_is_said_so() -> None:
    with pytest.raises(UsageError, match="the run has nothing to draw in a chart of pairs"):
        draw_picture(report(pairs=()), Path("pairs.png"))
    with pytest.raises(UsageError, match="nothing to draw in a chart of heatmap"):
        draw_picture(report(heat_map=None), Path("heatmap.png"))


def test_addresses_in_labels_are_not_loaded() -> None:
    drawn = draw_picture(report(), Path("heatmap.svg")).decode()

    assert "<image" not in drawn
    assert "href" not in drawn.replace("xlink", "")
