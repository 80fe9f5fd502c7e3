"""A gate's decision as a JUnit file, whatever stands in the texts."""

from collections.abc import Sequence
from io import BytesIO
from xml.etree import ElementTree as ET

from engine.core.gates import CaseShare, Certainty, Decision, GateRule, GateRules, GateVerdict
from engine.core.rows import Row
from engine.report.failed_cases import FailedCases
from engine.report.junit import write_junit
from tests.engine.report.gates import HOSTILE, check, failed_cases, finding, tally, verdict
from tests.engine.report.samples import answered, given, unanswered


async def written(
    rows: Sequence[Row], of: GateVerdict | None = None, cases: FailedCases | None = None
) -> ET.Element:
    """The file as a parser reads it."""
    of = of or verdict()
    stream = BytesIO()
    counted = tally(rows, of.rules)
    await write_junit(stream, of, counted, given(rows), "threshold", cases or FailedCases())
    return ET.fromstring(stream.getvalue().decode("utf-8"))  # noqa: S314  # we have just written it


def cells_of(root: ET.Element) -> list[ET.Element]:
    return list(root.findall("testsuite[@name='cells']/testcase"))


async def test_each_cell_is_a_test_case_and_a_missing_one_an_error() -> None:
    rows = (
        answered(1, 10, model="a", threshold=0.5, repeat=1),
        answered(3, 10, model="b", threshold=0.5, repeat=1),
        unanswered("failed", "Unknown model", model="c", threshold=0.5, repeat=1),
        answered(0, 0, model="d", threshold=0.5, repeat=1),
    )

    root = await written(rows)

    good, bad, missing, empty = cells_of(root)
    assert good.attrib["name"] == "model a, threshold 0.5, repeat 1"
    assert list(good) == []
    assert [one.tag for one in bad] == ["failure"]
    assert bad[0].attrib["message"] == "3 of 10 tests failed: 30.00%; limit 20.00%"
    assert [one.tag for one in missing] == ["error"]
    assert missing[0].attrib["message"] == "no answer (failed: Unknown model)"
    assert empty[0].attrib["message"] == "nothing was measured: the answer has no tests"
    [suite] = root.findall("testsuite[@name='cells']")
    assert [suite.attrib[name] for name in ("tests", "failures", "errors")] == ["4", "1", "2"]


async def test_a_failed_cell_shows_its_failed_tests_the_worst_first() -> None:
    rows = (answered(3, 10, model="a", threshold=0.5, repeat=1),)
    cases = failed_cases(
        finding("mild", score=0.4), finding("worst", score=0.0), finding("other", model="b")
    )

    [cell] = cells_of(await written(rows, cases=cases))

    text = cell[0].text or ""
    assert text.index("assistant: worst") < text.index("assistant: mild")
    assert "other" not in text
    assert "[1 more failed tests]" in text


async def test_each_check_is_a_test_case_so_that_the_file_fails_when_the_gate_does() -> None:
    of = verdict(
        check(Decision.PASSED),
        check(
            rule=GateRule.EACH_CASE,
            reason="1 of 2 cases",
            cases=(CaseShare(case="greeting", passed=1, answers=4),),
        ),
        check(Decision.UNDECIDED, reason="nothing was measured"),
    )

    root = await written((), of)

    passed, failed, undecided = root.findall("testsuite[@name='gate']/testcase")
    assert list(passed) == []
    assert failed[0].tag == "failure"
    assert failed[0].text == "greeting: 1 of 4 answers passed"
    assert undecided[0].tag == "error"


async def test_hostile_texts_stay_text_in_a_file_that_every_parser_reads() -> None:
    rows = (
        answered(3, 10, model=HOSTILE, threshold=0.5, repeat=1),
        unanswered("failed", HOSTILE, model="b", threshold=0.5, repeat=1),
    )
    cases = failed_cases(finding(HOSTILE, model=HOSTILE), finding("x" * 1_000_000, model=HOSTILE))

    failed, missing = cells_of(await written(rows, cases=cases))

    text = failed[0].text or ""
    assert "]]></failure><script>" in text
    assert "<script>\r\n::error::mine\n##[error]mine\n" in text
    assert "\ufffd[2Jred \ufffd" in text
    assert "\ufffdgnp \ufffd \ufffd |" in text
    assert "[998,000 more characters]" in text
    assert "]]></failure><script>" in failed.attrib["name"]
    assert "]]></failure><script>" in missing[0].attrib["message"]


async def test_a_cell_whose_rate_has_no_interval_is_skipped_where_the_gate_must_be_sure() -> None:
    rules = GateRules(fail_above=0.2, certainty=Certainty.SURELY_BELOW)
    of = verdict(rules=rules)
    row = Row(
        labels={"model": "a"},
        state="succeeded",
        source=answered(0, 1).source,
        passed=9,
        failed=1,
        total=10,
        failure_rate=0.1,
    )

    [cell] = cells_of(await written((row,), of))

    assert [one.tag for one in cell] == ["skipped"]
