"""The report in a browser: opened from disk, it shows everything, runs nothing of a model's, and asks for nothing."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from engine.core.reports import WorstFindings
from engine.report.html.page import write_page
from tests import chromium
from tests.engine.report.reports import GROUPS, HOSTILE, MODELS, finding, findings, report
from tests.patience import PATIENCE_S

WAIT_MS = PATIENCE_S * 1000
LONG_LINE = "word " * 200_000
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")


@dataclass(slots=True)
class Opened:
    """A page, with what it said on the console, and what it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def shown(self) -> Locator:
        """The findings in the list."""
        return self.page.locator("#list > li")

    @property
    def count(self) -> Locator:
        return self.page.locator("#count")

    def filters(self) -> str:
        """What the address says after the #."""
        return self.page.url.partition("#")[2]


Open: TypeAlias = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.require(), args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with all its sections, 120 findings of 180, and a hostile one first."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    with path.open("wb") as stream:
        write_page(report(), stream)
    return path


@pytest.fixture
def open_page(browser: Browser, file: Path) -> Iterator[Open]:
    """Open the report, or another file; afterwards, no page has said or asked for anything."""
    pages: list[Opened] = []

    def open_one(
        at: str = "", *, path: Path = file, width: int = 1280, **context: object
    ) -> Opened:
        made = browser.new_context(viewport={"width": width, "height": 900}, **context)  # type: ignore[arg-type]
        made.set_default_timeout(WAIT_MS)
        opened = Opened(made.new_page())
        pages.append(opened)
        opened.page.on("console", lambda message: opened.said.append(message.text))
        opened.page.on("pageerror", lambda error: opened.said.append(str(error)))
        opened.page.on("request", lambda request: opened.asked.append(request.url))
        opened.page.goto(path.as_uri() + at)
        return opened

    expect.set_options(timeout=WAIT_MS)
    yield open_one
    for opened in pages:
        opened.page.context.close()
        assert opened.said == []
        assert [url for url in opened.asked if not url.startswith(("file:", "data:"))] == []


def test_a_report_shows_the_run_from_the_verdict_to_the_findings(open_page: Open) -> None:
    opened = open_page()
    page = opened.page

    expect(page.locator("h1")).to_have_text("crisis-night")
    expect(page.locator(".verdict")).to_contain_text("acme/assistant-7b fails least")
    expect(page.locator(".steps")).to_contain_text("nightsweep resume crisis-night")
    expect(page.locator(".steps")).to_contain_text("54 more cases")
    expect(page.get_by_role("region", name="The night\u2019s events")).to_contain_text("no answer")
    expect(page.locator("#heat tbody tr")).to_have_count(len(MODELS))
    expect(page.locator("#chart-curves svg")).to_be_visible()
    expect(page.locator("#chart-pairs-0 svg")).to_be_visible()
    expect(page.locator("#pairs")).to_contain_text("cannot be told apart")
    expect(page.locator("#flaky")).to_contain_text("minors-003")
    expect(page.locator("#effort")).to_contain_text("15 min")
    expect(opened.count).to_have_text("120 of 120")
    expect(page.locator("#findings")).to_contain_text("60 of them are not in this file")
    expect(page.locator("#findings")).to_contain_text("nightsweep findings crisis-night")


def test_what_a_model_wrote_stays_text(open_page: Open) -> None:
    opened = open_page()

    opened.shown.first.locator("summary").click()
    said = opened.shown.first.locator(".role-assistant .text")

    expect(said).to_contain_text("</script><script>window.pwned = 1</script><img src=x")
    expect(said).to_contain_text("{{7*7}} ${7*7} <!--<script> &lt;b&gt;")
    marked = said.locator(".hidden-character").all_inner_texts()
    assert marked == [
        f"\u2039U+{code}\u203a" for code in ("202E", "2028", "0000", "001B", "D800", "E0041")
    ]
    assert opened.page.evaluate("window.pwned === undefined && !document.querySelector('img')")
    assert "\u202e" not in opened.page.content()


def test_a_very_long_line_is_shown_in_part_until_all_of_it_is_wanted(
    open_page: Open, tmp_path: Path
) -> None:
    path = tmp_path / "long.html"
    with path.open("wb") as stream:
        write_page(report(findings=findings(2, LONG_LINE)), stream)
    opened = open_page(path=path)

    opened.shown.first.locator("summary").click()
    text = opened.shown.first.locator(".role-assistant .text")
    text.get_by_role("button", name="show all 1,000,000 characters").click()

    expect(text.get_by_role("button")).to_have_count(0)
    assert text.evaluate("node => node.textContent.length") == len(LONG_LINE)
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 1280


def test_a_cell_of_the_heat_map_shows_its_findings_and_back_shows_all(open_page: Open) -> None:
    opened = open_page()
    expect(opened.count).to_have_text("120 of 120")

    row = opened.page.locator("#heat tbody tr").filter(has_text=MODELS[1])
    row.get_by_role("link").nth(1).click()

    expect(opened.count).to_have_text(re.compile(r"^\d+ of 120$"))
    expect(opened.count).not_to_have_text("120 of 120")
    assert opened.filters() == "model=meta%2Fllama-3.3-70b&group=psychosis&threshold=0.5"
    expect(opened.page.locator("#findings-command")).to_have_text(
        "nightsweep findings crisis-night --where model=meta/llama-3.3-70b --where group=psychosis"
        " --where threshold=0.5"
    )
    for labels in opened.page.locator("#list .labels").all_inner_texts():
        assert labels.startswith(f"{MODELS[1]} · ")
        assert " · psychosis · " in labels
    opened.page.go_back()
    expect(opened.count).to_have_text("120 of 120")
    assert opened.filters() == ""


def test_every_filter_stands_in_the_address_and_comes_from_it(open_page: Open) -> None:
    opened = open_page()
    page = opened.page
    for name, value in (("group", GROUPS[0]), ("prompt", "plain"), ("layer", "0"), ("repeat", "2")):
        page.get_by_label(name, exact=True).select_option(value)
    page.get_by_label("search in all texts").fill("question 4")
    page.get_by_label("rate of the heat map").select_option("failure_rate")
    page.get_by_label("threshold of the heat map").select_option("0.3")
    expect(opened.count).not_to_have_text("searching \u2026")
    filters, counted = opened.filters(), opened.count.inner_text()

    again = open_page(f"#{filters}")

    assert counted == "3 of 120"
    expect(again.count).to_have_text(counted)
    expect(again.page.get_by_label("group", exact=True)).to_have_value(GROUPS[0])
    expect(again.page.get_by_label("search in all texts")).to_have_value("question 4")
    expect(again.page.locator("#heat-caption")).to_have_text("failure_rate at threshold 0.3")
    again.page.get_by_role("button", name="show all").click()
    expect(again.count).to_have_text("120 of 120")


def test_words_are_searched_for_in_all_texts_and_marked(open_page: Open) -> None:
    opened = open_page()

    opened.page.get_by_label("search in all texts").fill("ESREVER pwned")
    expect(opened.count).to_have_text("1 of 120")
    opened.shown.first.locator("summary").click()

    expect(opened.shown.first.locator("mark").first).to_have_text("pwned")
    assert opened.filters() == "q=ESREVER+pwned"


def test_a_filter_for_a_value_that_no_finding_has_shows_none(open_page: Open) -> None:
    opened = open_page(f"#model={quote('nobody/<b>')}")

    expect(opened.count).to_have_text("0 of 120")
    expect(opened.page.get_by_label("model", exact=True)).to_have_value("nobody/<b>")


def test_an_axis_of_many_values_is_filtered_by_a_part_of_them(
    open_page: Open, tmp_path: Path
) -> None:
    kept = tuple(
        finding(number, labels={"case": f"question {number:03}", "repeat": 1})
        for number in range(400)
    )
    path = tmp_path / "many.html"
    with path.open("wb") as stream:
        write_page(report(findings=WorstFindings(kept=kept, total=500, axes={"case": ()})), stream)
    opened = open_page(path=path)

    opened.page.get_by_label("case", exact=True).fill("Question 12")
    opened.page.keyboard.press("Enter")

    expect(opened.count).to_have_text("10 of 400")
    assert opened.filters() == "case=Question+12"
    expect(opened.page.locator("#findings-command")).to_have_text(
        "nightsweep findings crisis-night --where 'case=*Question 12*'"
    )


def test_the_keyboard_reaches_and_opens_everything(open_page: Open) -> None:
    opened = open_page()
    page = opened.page
    expect(opened.count).to_have_text("120 of 120")

    page.get_by_role("button", name="show 50 more").focus()
    page.keyboard.press("Enter")
    expect(opened.shown).to_have_count(100)
    expect(opened.shown.nth(50).locator("summary")).to_be_focused()
    page.keyboard.press("Enter")
    expect(opened.shown.nth(50).locator(".conversation")).to_be_visible()

    page.locator("#heat td a").first.focus()
    page.keyboard.press("Enter")
    expect(opened.count).not_to_have_text("120 of 120")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(open_page: Open, tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "few.html"
    with path.open("wb") as stream:
        write_page(report(findings=findings(3)), stream)
    opened = open_page(path=path, color_scheme=scheme)
    expect(opened.page.locator("#chart-pairs-1 svg")).to_be_visible()
    opened.shown.first.locator("summary").click()
    expect(opened.shown.first.locator(".conversation")).to_be_visible()
    for explained in opened.page.locator("details.table, details.explanation").all():
        explained.evaluate("node => { node.open = true; }")

    options = {"runOnly": {"type": "tag", "values": list(RULES)}}
    found = Axe().run(opened.page, options=options)

    violations = [
        (one["id"], [node["html"] for node in one["nodes"]][:3])
        for one in found.response["violations"]
    ]
    assert violations == []


def test_the_theme_follows_the_system_until_the_button_is_pressed(open_page: Open) -> None:
    opened = open_page(color_scheme="dark")
    page = opened.page
    zero = page.locator("#chart-pairs-0 svg .role-mark line").first
    expect(zero).to_have_attribute("stroke", "rgb(228, 233, 239)")
    expect(page.locator("body")).to_have_css("background-color", "rgb(20, 24, 31)")

    page.get_by_role("button", name="use light colours").click()

    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(zero).to_have_attribute("stroke", "rgb(23, 32, 43)")


def test_bands_are_drawn_on_demand(open_page: Open) -> None:
    opened = open_page()
    bands = opened.page.locator("#chart-curves svg .mark-area path")
    expect(opened.page.locator("#chart-curves svg .mark-line path").first).to_be_attached()
    expect(bands).to_have_count(0)

    opened.page.get_by_label("95 % bands").check()

    expect(bands.first).to_be_attached()
    assert opened.filters() == "bands=1"


def test_where_all_scores_are_listed_the_line_is_their_whole_distribution(open_page: Open) -> None:
    opened = open_page()
    lines = opened.page.locator("#chart-curves svg .mark-line path")

    # A facet for each group, with a step for each threshold after which the rate of the two models changes.
    expect(lines).to_have_count(3 * len(GROUPS))
    steps = [line.get_attribute("d") or "" for line in lines.all()]
    assert sum(path.count("L") + path.count("H") + path.count("V") > 8 for path in steps) == 8
    expect(opened.page.locator("#thresholds .note")).to_contain_text("distribution of all first")
    expect(opened.page.locator("#thresholds .note")).to_contain_text("do not list all their scores")


def test_a_page_as_narrow_as_a_phone_does_not_scroll_sideways(open_page: Open) -> None:
    opened = open_page(width=390)
    expect(opened.page.locator("#chart-curves svg")).to_be_visible()
    opened.shown.first.locator("summary").click()
    expect(opened.shown.first.locator(".conversation")).to_be_visible()

    assert opened.page.evaluate("document.documentElement.scrollWidth") == 390


def test_without_javascript_the_tables_and_the_worst_findings_are_there(open_page: Open) -> None:
    opened = open_page(java_script_enabled=False)
    page = opened.page

    expect(page.locator("#heat td").first).to_contain_text("29%")
    expect(page.locator("#heat td").first).to_contain_text("2 of 10 missing")
    expect(opened.shown).to_have_count(20)
    opened.shown.first.locator("summary").click()
    expect(opened.shown.first).to_contain_text("window.pwned = 1")
    expect(page.locator("#filters")).to_be_hidden()
    expect(page.locator("#theme")).to_be_hidden()
    expect(page.get_by_text("Without JavaScript")).to_be_visible()


def test_the_hostile_text_is_in_the_file_only_as_data(file: Path) -> None:
    text = file.read_text()

    assert "window.pwned = 1</script>" not in text
    assert HOSTILE[:20] not in text
    document = re.search(r'<script type="application/json" id="report">(.*?)</script>', text)
    assert document is not None
    assert json.loads(document[1])["run"] == "crisis-night"
