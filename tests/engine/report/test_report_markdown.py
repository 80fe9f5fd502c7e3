"""The report as Markdown: short, and with nothing in it that GitHub would obey."""

import re

import pytest
from markdown_it import MarkdownIt

from engine.report.report_markdown import LONGEST, escape_markdown, report_markdown
from tests.engine.report.reports import HOSTILE, finding, findings, heat_map, report
from tests.engine.report.samples import status

TRICKS = (
    "@octocat closes #1 GH-2 https://evil.example www.evil.example <img src=x> ![i](http://e.example/i.png)"
    " [link](http://e.example) `code` | a | b ``` \u202e <script>alert(1)</script> # head"
)


def rendered(text: str) -> str:
    """What the text becomes in HTML, with raw HTML allowed, tables, and addresses made links."""
    html: str = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    return html


def test_a_report_says_what_the_page_says_first() -> None:
    text = report_markdown(report())

    html = rendered(text)
    assert "acme/assistant-7b fails least." in html
    assert "<code>nightsweep resume crisis-night</code>" in html
    assert "<strong>29%</strong> (15\u201349 %, 24 cases, 2 of 10 missing)" in html
    assert "<code>acme/assistant-7b</code> is better than <code>qwen/qwen3-8b</code>" in html
    assert "1 of 3 pairs cannot be told apart." in html
    assert html.count("<table>") == 3
    assert "60 more: <code>nightsweep findings crisis-night</code>" in html


def test_what_a_model_wrote_stands_in_a_fence_longer_than_any_in_it() -> None:
    said = f"````\n</details>\n{HOSTILE}\n```` ![x](http://e.example/x.png) @octocat"

    text = report_markdown(report(findings=findings(1, said)))

    assert "`````text\n````\n</details>" in text
    html = rendered(text)
    assert "<img" not in html
    assert "<script" not in html
    assert "\u202e" not in text
    assert "\x00" not in text


@pytest.mark.parametrize("where", ["run", "label", "message", "lane"])
def test_names_and_messages_mention_nobody_and_load_nothing(where: str) -> None:
    heat = heat_map(models=(TRICKS,)) if where == "label" else heat_map()
    about = status(
        run=TRICKS if where == "run" else "night", message=TRICKS, threshold=0.5, unattended=True
    )
    data = report(status=about, heat_map=heat, findings=findings(1))

    html = rendered(report_markdown(data))

    outside = re.sub(r"<(code|pre)[^>]*>.*?</\1>", "", html, flags=re.DOTALL)
    for trick in ("@octocat", "#1", "GH-2", "://", "www.", "<img", "<a ", "<script", "\u202e"):
        assert trick not in outside, trick
    assert "<img" not in html


def test_a_long_report_is_cut_and_counts_what_is_left_out() -> None:
    kept = tuple(finding(number, "word " * 600) for number in range(200))
    long = findings(1)
    data = report(findings=type(long)(kept=kept, total=5_000, axes=long.axes))

    text = report_markdown(data)

    assert LONGEST - 4_000 < len(text) <= LONGEST
    [left] = re.findall(r"([\d,]+) more: `nightsweep findings", text)
    assert int(left.replace(",", "")) + text.count("<details>") == 5_000
    assert "(1,500 more characters)" in text
    assert text.count("<details>") == text.count("</details>")


def test_a_table_that_is_too_large_is_left_out_whole() -> None:
    models = tuple(f"model-{number}-{'x' * 80}" for number in range(40))
    groups = tuple(f"group-{number}-{'x' * 80}" for number in range(30))

    text = report_markdown(report(heat_map=heat_map(models, groups)))

    assert len(text) <= LONGEST
    assert "### Failure rate of first answers" not in text
    assert "### The worst of" in text


def test_escaped_text_reads_as_it_was_written() -> None:
    html = rendered(escape_markdown("a * b_c_d <b> & `x` [y](z) ~~w~~ 1. 100%"))

    assert html == "<p>a * b_c_d &lt;b&gt; &amp; `x` [y](z) ~~w~~ 1. 100%</p>\n"
