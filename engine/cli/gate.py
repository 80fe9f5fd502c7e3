"""The command that fails a build: a run's failure rates against limits."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from heapq import heappush, heappushpop
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from engine.cli import exit_codes, output
from engine.cli.completion import complete_run
from engine.cli.opening import open_for_reading
from engine.cli.options import (
    DEFAULT_STORE,
    AcrossJudgesOption,
    JsonOption,
    RunArgument,
    StoreOption,
    ThresholdsOption,
    parse_axes,
)
from engine.core.errors import UsageError
from engine.core.gates import DEFAULT_MARGIN, Certainty, Decision, GateRules
from engine.core.listing import quantity

if TYPE_CHECKING:
    from engine.core.findings import Finding
    from engine.core.gates import GateVerdict
    from engine.report.cells import CellTally
    from engine.report.failed_cases import FailedCases
    from engine.session import Run

_EXIT_CODES = {
    Decision.PASSED: exit_codes.ANSWERED,
    Decision.FAILED: exit_codes.FAILED,
    Decision.UNDECIDED: exit_codes.INCOMPLETE,
}

FailAboveOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--fail-above",
        metavar="RATE",
        envvar="NIGHTSWEEP_GATE_FAIL_ABOVE",
        help="Fail if more than this share of the tests failed, such as 0.2.",
    ),
]
ByOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--by",
        metavar="AXES",
        envvar="NIGHTSWEEP_GATE_BY",
        help="Check each combination of these axes on its own, such as models,groups.",
    ),
]
RequireCoverageOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--require-coverage",
        metavar="SHARE",
        envvar="NIGHTSWEEP_GATE_REQUIRE_COVERAGE",
        help="The least share of the cells that must have numbers.",
    ),
]
CertaintyOption: TypeAlias = Annotated[
    Certainty,
    typer.Option(
        "--certainty",
        envvar="NIGHTSWEEP_GATE_CERTAINTY",
        help="Compare the rate, or fail if it is surely above, or unless it is surely below.",
    ),
]
AgainstOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="RUN",
        envvar="NIGHTSWEEP_GATE_AGAINST",
        help="Fail if worse than this run of the store by more than the margin.",
        autocompletion=complete_run,
    ),
]
MarginOption: TypeAlias = Annotated[
    float,
    typer.Option(
        "--margin",
        metavar="SHARE",
        envvar="NIGHTSWEEP_GATE_MARGIN",
        help="By how much the rate may be above that of --against.",
    ),
]
EachCaseOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--each-case",
        metavar="SHARE",
        envvar="NIGHTSWEEP_GATE_EACH_CASE",
        help="Fail if any case passes in less than this share of its answers, such as 0.8.",
    ),
]
WorstOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        "--worst",
        metavar="COUNT",
        min=0,
        envvar="NIGHTSWEEP_GATE_WORST",
        help="If it fails, print only so many failed cases, the worst first; without it, all.",
    ),
]
JunitOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--junit",
        metavar="FILE",
        envvar="NIGHTSWEEP_GATE_JUNIT",
        help="Write a JUnit file (mode 0600) with a test case for each check and each cell.",
    ),
]


def gate(
    run: RunArgument = None,
    fail_above: FailAboveOption = None,
    by: ByOption = None,
    require_coverage: RequireCoverageOption = 1.0,
    certainty: CertaintyOption = Certainty.RATE,
    against: AgainstOption = None,
    margin: MarginOption = DEFAULT_MARGIN,
    across_judges: AcrossJudgesOption = False,
    each_case: EachCaseOption = None,
    threshold: ThresholdsOption = None,
    worst: WorstOption = None,
    junit: JunitOption = None,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Pass or fail a run by its failure rates, for CI.

    Exits with 1 above a limit, and with 3 if too few cells have numbers or nothing was measured.

    In GitHub Actions it also writes annotations and a job summary.
    """
    from engine.cli.running import run_command

    rules = GateRules(
        fail_above=fail_above,
        by=parse_axes(by),
        require_coverage=require_coverage,
        certainty=certainty,
        margin=margin,
        each_case=each_case,
        thresholds=tuple(threshold or ()),
    )

    async def decide() -> "GateVerdict":
        async with open_for_reading(store) as engine:
            found = await engine.run(run)
            other = None if against is None else await engine.run(against)
            verdict = await found.gate(rules, against=other, across_judges=across_judges)
            await _report(found, verdict, junit, store=store, worst=worst, as_json=as_json)
            return verdict

    verdict = run_command(decide)
    raise typer.Exit(_EXIT_CODES[verdict.decision])


async def _report(
    run: "Run",
    verdict: "GateVerdict",
    junit: Path | None,
    *,
    store: str,
    worst: int | None,
    as_json: bool,
) -> None:
    """Print the verdict and the failed cases; write the JUnit file, and what GitHub shows of the step."""
    from engine.report.failed_cases import FailedCases

    is_in_actions = os.environ.get("GITHUB_ACTIONS") == "true"
    failed_cases = FailedCases()
    if as_json:
        await _collect(run, verdict, failed_cases, wanted=bool(junit) or is_in_actions)
        output.write_json(verdict)
    else:
        with _stopped_commands() if is_in_actions else nullcontext():
            await _print(run, verdict, failed_cases, store=store, worst=worst, wanted=bool(junit))
    if junit is None and not is_in_actions:
        return
    from engine.report.cells import tally_cells

    tally = await tally_cells(run.rows(), verdict.rules, run.facts.folded_field)
    if junit is not None:
        from engine.report.files import new_file
        from engine.report.junit import write_junit

        with new_file(junit) as stream:
            await write_junit(
                stream, verdict, tally, run.rows, run.facts.folded_field, failed_cases
            )
    if is_in_actions:
        _tell_github(verdict, tally, failed_cases, to_stderr=as_json)


async def _print(
    run: "Run",
    verdict: "GateVerdict",
    failed_cases: "FailedCases",
    *,
    store: str,
    worst: int | None,
    wanted: bool,
) -> None:
    """Print the checks, the failed cases if the gate has failed, and the decision, which comes last."""
    from engine.report.failed_cases import failed_case_lines
    from engine.report.gate import decision_line, gate_lines

    output.write_lines(output.fit(gate_lines(verdict), sys.stdout))
    mildest_first: list[tuple[float, int, Finding]] = []
    count = 0

    def show(finding: "Finding") -> None:
        nonlocal count
        count += 1
        if worst is None:
            output.write_lines(failed_case_lines(finding))
        elif worst:
            entry = (0.0 if finding.score is None else -finding.score, -count, finding)
            (heappush if len(mildest_first) < worst else heappushpop)(mildest_first, entry)

    is_failed = verdict.decision is Decision.FAILED
    await _collect(run, verdict, failed_cases, wanted=wanted, show=show if is_failed else None)
    for *_, finding in sorted(mildest_first, key=lambda one: one[:2], reverse=True):
        output.write_lines(failed_case_lines(finding))
    if worst is not None and count > worst:
        command = output.command("findings", run.name, store)
        more = quantity(count - worst, "more failed case")
        output.write_lines([f"{more}: {command}", ""])
    output.write_lines(output.fit([decision_line(verdict)], sys.stdout))


async def _collect(
    run: "Run",
    verdict: "GateVerdict",
    failed_cases: "FailedCases",
    *,
    wanted: bool,
    show: "Callable[[Finding], None] | None" = None,
) -> None:
    """Read the failed tests that the gate is about, and show those of the checks that have failed.

    They are read only if they are shown or `wanted`. If they cannot be read, a message says so, and the verdict
    stands.
    """
    if show is None and not wanted:
        return
    from engine.report.failed_cases import FailedChecks

    checks = FailedChecks.of(verdict)
    try:
        async for finding in run.findings():
            if not checks.is_gated(finding):
                continue
            failed_cases.add(finding)
            if show is not None and checks.has(finding):
                show(finding)
    except UsageError as error:
        output.say_prose(f"the failed cases cannot be shown: {error}")


@contextmanager
def _stopped_commands() -> Iterator[None]:
    """Keep GitHub Actions from obeying the lines that are printed within the block.

    A model could write a workflow command; it cannot know the token that ends this.
    """
    token = token_hex(16)
    output.write_lines([f"::stop-commands::{token}"])
    try:
        yield
    finally:
        output.write_lines([f"::{token}::"])


def _tell_github(
    verdict: "GateVerdict",
    tally: "CellTally",
    failed_cases: "FailedCases",
    *,
    to_stderr: bool,
) -> None:
    """Print annotations, and append to the job summary of the step.

    Annotations go to stdout, where the commands are obeyed again; GitHub reads both streams at its own pace.
    """
    from engine.report.github import annotations

    lines = annotations(verdict, tally)
    if to_stderr:
        output.say(*lines)
    else:
        output.write_lines(lines)
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        _append_summary(Path(path), verdict, tally, failed_cases)


def _append_summary(
    path: Path, verdict: "GateVerdict", tally: "CellTally", failed_cases: "FailedCases"
) -> None:
    from engine.report.github import SUMMARY_MAX, summary

    try:
        # What earlier commands of the step have written counts towards GitHub's limit as well.
        taken = path.stat().st_size if path.exists() else 0
        text = summary(verdict, tally, failed_cases, room=SUMMARY_MAX - taken)
        if not text:
            output.say_prose(f"warning: {path} is full; the job summary does not show this gate")
            return
        with path.open("ab") as stream:
            stream.write(text.encode())
    except OSError as error:
        output.say_prose(
            f"warning: the job summary cannot be written to {path}: {error.strerror or error}"
        )
