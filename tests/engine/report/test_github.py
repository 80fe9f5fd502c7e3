"""What GitHub Actions shows of a gate: within its limits, and nothing that a model wrote is obeyed."""

import re
import tracemalloc

from engine.core.gates import Decision
from engine.report.cells import CellTally
from engine.report.failed_cases import FailedCases
from engine.report.github import annotations, summary
from tests.engine.report.gates import HOSTILE, check, failed_cases, finding, tally, verdict
from tests.engine.report.samples import answered, unanswered

MILLION = 1_000_000


def outside_of_code(markdown: str) -> str:
    """The Markdown without its code blocks and code spans, as CommonMark delimits them."""
    lines, fence = [], ""
    for line in markdown.split("\n"):
        if fence:
            if line.strip("`") == "" and len(line) >= len(fence):
                fence = ""
        elif opened := re.match(r"(`{3,})[a-z]*$", line):
            fence = opened[1]
        else:
            lines.append(re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", line))
    assert not fence, "a fence was never closed"
    return "\n".join(lines)


def test_ten_errors_and_ten_warnings_are_shown_and_the_others_counted() -> None:
    checks = [check(labels={"model": f"m{n}"}, rate=0.3 + n / 100) for n in range(30)]
    gaps = [check(Decision.UNDECIDED, labels={"model": f"u{n}"}) for n in range(12)]

    lines = annotations(verdict(*checks, *gaps), CellTally())

    assert sum(line.startswith("::error ") for line in lines) == 10
    assert sum(line.startswith("::warning ") for line in lines) == 10
    assert "model m29" in lines[0]
    assert lines[-1].startswith("::notice ")
    assert "20 more checks and cells above the limit, 2 more" in lines[-1]


def test_cells_above_the_limit_follow_the_failed_checks_the_worst_first() -> None:
    rows = [answered(failed, 10, model=f"m{failed}") for failed in range(11)]

    lines = annotations(verdict(check()), tally(rows))

    errors = [line for line in lines if line.startswith("::error ")]
    assert len(errors) == 9
    assert "model m10" in errors[1]
    assert "model m3" in errors[-1]


def test_single_cells_are_no_errors_where_the_gate_has_passed() -> None:
    passed = verdict(check(Decision.PASSED), decision=Decision.PASSED)

    assert annotations(passed, tally([answered(9, 10, model="a")])) == []


def test_annotations_are_escaped_so_that_each_is_one_command() -> None:
    rows = [unanswered("failed", HOSTILE, model="50%,a:b\n::error::mine")]

    lines = annotations(verdict(check(Decision.PASSED), run="a,b:c\n"), tally(rows))

    [line] = lines
    assert line.startswith("::warning title=nightsweep gate%3A a%2Cb%3Ac ::model 50%25,a:b ")
    assert not set(line) & {"\n", "\r", "\x1b", "\x00", "\u202e"}


def test_the_summary_shows_checks_cells_and_failed_cases() -> None:
    rows = [answered(3, 10, model="a"), unanswered("failed", "Unknown model", model="b")]

    shown = summary(verdict(), tally(rows), failed_cases(finding("No.")))

    assert shown.startswith("## `night`: gate failed\n")
    assert "| failed | `failure rate (threshold 0.5)` |" in shown
    assert "| `model a` | 3 of 10 tests failed: 30.00%; limit 20.00% |" in shown
    assert "| `model b` | `no answer (failed: Unknown model)` |" in shown
    assert "`case case-1, layer 0, score 0.1`" in shown
    assert "```text\nassistant: No.\n```" in shown
    assert "Left out" not in shown


def test_what_models_wrote_stands_in_code_that_it_cannot_end() -> None:
    rows = [
        answered(3, 10, model=HOSTILE),
        answered(3, 10, model="`@someone`"),
        unanswered("failed", HOSTILE, model="b"),
    ]
    cases = failed_cases(finding(HOSTILE, model=HOSTILE), finding("`" * 1000 + "\n@someone"))

    shown = summary(verdict(), tally(rows), cases)

    rest = outside_of_code(shown)
    for trap in ("@someone", "![x]", "# title", "<script>", "evil.example"):
        assert trap in shown
        assert trap not in rest
    assert not set(shown) & {"\x1b", "\x00", "\u202e", "\ud800"}


def test_a_summary_of_100_000_cells_is_cut_at_a_line_and_counts_what_is_left_out() -> None:
    counted = tally(
        answered(5, 10, model="m" * 40, prompt=f"prompt {n}")
        if n % 2
        else unanswered("failed", "x" * 200, model=f"m{n}")
        for n in range(100_000)
    )
    cases = failed_cases(*(finding("long " * 400, score=n / 1000) for n in range(2000)))

    shown = summary(verdict(), counted, cases)

    assert len(shown.encode()) <= MILLION
    assert len(shown.encode()) > MILLION * 0.8
    outside_of_code(shown)
    left_out = shown.rstrip("\n").rsplit("\n", 1)[-1]
    counts = re.fullmatch(
        r"Left out, because GitHub shows no more: ([\d,]+) cells above the limit,"
        r" ([\d,]+) cells without numbers, ([\d,]+) failed cases\.",
        left_out,
    )
    assert counts, left_out
    above, missing, failed = (int(one.replace(",", "")) for one in counts.groups())
    assert above + shown.count("5 of 10 tests failed") == 50_000
    assert missing + shown.count("no answer (failed: ") == 50_000
    assert failed + shown.count("`case case-1") == 2000


def test_what_is_in_the_file_already_counts_towards_its_limit() -> None:
    cases = failed_cases(*(finding("long " * 400) for _ in range(100)))

    shown = summary(verdict(), CellTally(), cases, room=20_000)

    assert 0 < len(shown.encode()) <= 20_000
    assert summary(verdict(), CellTally(), cases, room=900) == ""


def test_the_failed_cases_that_are_kept_are_the_worst_within_bounded_memory() -> None:
    found = FailedCases(most_characters=100_000)

    tracemalloc.start()
    for n in range(3000):
        found.add(finding("x" * 10_000, score=(n * 7919 % 3000) / 3000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    scores = [case.score or 0.0 for case in found.worst()]
    assert found.total == 3000
    assert scores == [n / 3000 for n in range(len(scores))]
    assert len(scores) > 30
    assert peak < 2_000_000
