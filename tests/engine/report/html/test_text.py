"""Texts and data of models inside an HTML file: whatever they hold, they stay what they are."""

import json
import re
from html import unescape

from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from engine.report.hidden import HIDDEN
from engine.report.html.text import attribute, script_json, visible
from tests.engine.report.reports import HOSTILE
from tests.paths import ROOT

TEXT_JS = ROOT / "engine/report/html/assets/text.js"


def test_a_text_becomes_html_in_which_nothing_is_markup() -> None:
    assert visible("<b>&'\"") == "&lt;b&gt;&amp;&#39;&#34;"
    assert visible(Markup("<b>ours</b>")) == "<b>ours</b>"


def test_characters_that_mislead_are_shown_as_tags() -> None:
    html = visible("a\u202eb\x00c\u200b\ud800\U000e0041")

    assert re.findall(r'<span class="hidden-character">\u2039U\+(\w+)\u203a</span>', html) == [
        "202E",
        "0000",
        "200B",
        "D800",
        "E0041",
    ]
    assert attribute('"\u202e') == "&#34;\u2039U+202E\u203a"


def test_line_breaks_tabs_and_joiners_stay() -> None:
    text = "a\n\tb \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f469\u200d\U0001f4bb"

    assert visible(text) == text


@given(st.text())
def test_json_in_a_script_is_read_as_what_was_written_and_ends_nothing(text: str) -> None:
    written = script_json({"text": text})

    assert json.loads(written) == {"text": text}
    assert not set("<>&\u2028\u2029") & set(written)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_what_is_shown_is_the_text_with_tags_in_it(text: str) -> None:
    hidden = re.compile(f"[{HIDDEN}\U000e0000-\U000e007f]")

    shown = unescape(re.sub(r"<[^>]*>", "", visible(text)))

    expected = hidden.sub(lambda found: f"\u2039U+{ord(found[0]):04X}\u203a", text)
    # HTML reads some numbers of characters as others; our own escapes are none of them.
    assert shown == expected


def test_the_hostile_text_can_be_written_to_a_file() -> None:
    assert "\ud800" in HOSTILE
    assert b"script&gt;" in visible(HOSTILE).encode()


def test_the_browser_marks_the_same_characters() -> None:
    [found] = re.findall(r"/\[(.*?)\\u\{e0000\}", TEXT_JS.read_text())

    assert f"{found}\\ud800-\\udfff" == HIDDEN
