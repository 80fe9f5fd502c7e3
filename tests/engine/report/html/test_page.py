"""The HTML file of a report: its policy, its size, and what it says without a script."""

import gzip
import hashlib
import re
from base64 import b64decode, b64encode
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from io import BytesIO
from random import Random

import pytest

from engine.core.reports import ReportData
from engine.report.html.page import write_page
from tests.engine.report.reports import finding, findings, heat_map, report
from tests.engine.report.samples import status
from tests.vendor import LICENCES

MB = 1_000_000


def page_of(data: ReportData) -> str:
    stream = BytesIO()
    write_page(data, stream)
    return stream.getvalue().decode()


class Elements(HTMLParser):
    """The elements of a page, with their attributes, and its scripts and styles as a browser runs them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.code: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:
            return
        tag, attributes = self.found[-1]
        if (attributes.get("id") or "").startswith("library-"):
            data = gzip.decompress(b64decode(data)).decode()
        elif tag == "script" and attributes.get("type") != "module":
            return
        self.code.append((tag, data))


@pytest.fixture(scope="module")
def text() -> str:
    return page_of(report())


def test_only_the_scripts_and_styles_of_the_page_are_allowed_by_its_policy(text: str) -> None:
    elements = Elements(text)
    [policy] = [
        attributes["content"] or ""
        for tag, attributes in elements.found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]

    directives = dict(one.split(" ", 1) for one in policy.split("; "))
    for tag, allowed in (("script", "script-src"), ("style", "style-src")):
        hashes = {
            f"'sha256-{b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"
            for of, code in elements.code
            if of == tag
        }
        assert hashes == set(directives.pop(allowed).split())
    assert directives == {
        "default-src": "'none'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_the_licences_of_the_libraries_are_in_the_page(text: str) -> None:
    assert LICENCES.read_text() in text


def test_the_policy_comes_before_all_that_it_rules(text: str) -> None:
    tags = [tag for tag, _ in Elements(text).found]

    assert tags[:4] == ["html", "head", "meta", "meta"]
    assert "Content-Security-Policy" in text[: text.index("<title")]


def test_nothing_in_the_page_loads_runs_or_styles_inline(text: str) -> None:
    for tag, attributes in Elements(text).found:
        assert tag not in ("iframe", "img", "object", "embed", "base")
        assert "src" not in attributes
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))


def test_names_of_the_run_and_its_values_are_escaped_wherever_they_stand() -> None:
    name = 'x" onload="alert(1)"><img src=x>\u202e'
    heat = heat_map(models=(name,), groups=(name,))
    data = report(
        status=status(run=name, message=name, threshold=0.5),
        heat_map=heat,
        findings=findings(1),
    )

    text = page_of(data)

    assert "<img" not in text
    assert 'onload="alert' not in text
    assert "\u202e" not in text


def test_a_large_run_gives_a_file_below_five_megabytes() -> None:
    random = Random(1)
    words = [f"{random.getrandbits(40):x}" for _ in range(4_000)]

    def reply() -> str:
        return " ".join(random.choices(words, k=170))

    kept = tuple(finding(number, reply()) for number in range(5_000))
    models = tuple(f"vendor/model-{number}-with-a-long-name" for number in range(40))
    groups = tuple(f"group_{number}" for number in range(30))
    data = report(
        heat_map=heat_map(models, groups),
        findings=replace(findings(1), kept=kept, total=5_000),
    )

    stream = BytesIO()
    write_page(data, stream)

    assert 3.5 * MB < len(stream.getvalue()) < 5 * MB
    text = stream.getvalue().decode()
    [left_out] = re.findall(r"([\d,]+) of them are not in this file", text)
    assert 0 < int(left_out.replace(",", "")) < 5_000


def test_without_a_script_the_page_says_what_matters(text: str) -> None:
    body = unescape(re.sub(r"<[^>]*>", " ", text[: text.index('<script type="application/json"')]))

    for words in (
        "the quota is used up",
        "nightsweep retry crisis-night",
        "3,754",
        "first_rate at threshold 0.5",
        "a difference of 14 points would have shown",
        "8 fail sometimes",
        "window.pwned = 1",
    ):
        assert words in body, words


def test_a_run_whose_cases_have_no_names_is_not_ranked() -> None:
    text = page_of(report(pairs=()))

    assert "The answers do not name their cases" in text
    assert "fails least" not in text


def without_bands(data: ReportData, lines: int) -> ReportData:
    """The report with an unknown number of cases in its first lines."""
    curves = data.score_curves
    unknown = [replace(one, cases=None, half_width=None) for one in curves[:lines]]
    return replace(data, score_curves=(*unknown, *curves[lines:]))


def without_intervals(data: ReportData, lines: int) -> ReportData:
    """The report with rates of unknown intervals in the first of the lines that have no whole curve."""
    whole = {(one.row, one.column) for one in data.score_curves}
    joined = dict.fromkeys(
        line for one in data.curves if (line := (one.row, one.column)) not in whole
    )
    changed = list(joined)[:lines]
    return replace(
        data,
        curves=tuple(
            replace(one, estimate=one.estimate._replace(low=None, high=None, interval=None))
            if (one.row, one.column) in changed
            else one
            for one in data.curves
        ),
    )


ALL = 1_000
UNKNOWN_CASES = "because it is unknown how many different cases their answers are about."


@pytest.mark.parametrize(
    ("unknown", "without_interval", "sentences", "has_bands"),
    [
        (1, 0, [f"1 of these 8 lines has no band, {UNKNOWN_CASES}"], True),
        (3, 0, [f"3 of these 8 lines have no band, {UNKNOWN_CASES}"], True),
        (ALL, 0, [f"(dots), too. They have no bands, {UNKNOWN_CASES}"], True),
        (0, 1, ["Lines whose rates have no intervals have no band."], True),
        (
            ALL,
            ALL,
            [
                f"(dots), too. They have no bands, {UNKNOWN_CASES}",
                "they have no bands, because their rates have no intervals.",
            ],
            False,
        ),
    ],
)
def test_a_page_says_why_lines_have_no_band(
    unknown: int, without_interval: int, sentences: list[str], has_bands: bool
) -> None:
    data = without_intervals(without_bands(report(), unknown), without_interval)

    text = page_of(data)

    for sentence in sentences:
        assert sentence in text
    assert ('id="bands"' in text) is has_bands


def test_a_page_whose_lines_all_have_bands_does_not_speak_of_lines_without(text: str) -> None:
    assert 'id="bands"' in text
    assert "no band" not in text


def test_a_run_without_rates_findings_or_events_has_a_page_too() -> None:
    data = report(
        heat_map=None,
        curves=(),
        score_curves=(),
        pairs=(),
        flakiness=None,
        means=(),
        effort=(),
        events=(),
        findings=replace(
            findings(1), kept=(), total=0, unavailable="What failed cannot be read: x"
        ),
    )

    text = page_of(data)

    assert "Nothing happened that the engine had to act on." in text
    assert "What failed cannot be read: x" in text
    assert 'id="rates"' not in text
    assert 'id="thresholds"' not in text
