"""`nightsweep groups` and `nightsweep calibrate`."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any, get_args

import anyio
import typer
from rich.console import Console
from rich.text import Text

from engine.core.terminal import plain
from engine.kinds import SystemClock, UsageError
from jobs.evaluator.calibration import THRESHOLDS, calibration, judge_notices, score_replies
from jobs.evaluator.groups import CaseGroup, CaseSet, RiskLevel, Strategy
from jobs.evaluator.ratings import read_ratings

_NARROWEST = 40
_WIDEST = 120
_FEW = 30

groups_app = typer.Typer(help="List the test-case groups.", add_completion=False)
calibrate_app = typer.Typer(help="Compare a judge with people's scores.", add_completion=False)

Cases = Annotated[
    Path | None, typer.Option("--cases", help="A folder of your own groups, checked as well.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@groups_app.command()
def groups(cases: Cases = None, as_json: AsJson = False) -> None:
    """List the test-case groups: cases by risk, conversations by strategy, review, description.

    Mistakes in your own groups are reported with file and place, and the exit code is then 2.
    """
    listed = [_describe_group(group) for group in _read_all(CaseSet(_folder(cases)))]
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
        return
    width = min(max(_NARROWEST, get_terminal_size().columns), _WIDEST)
    for group in listed:
        for line in _group_lines(group, width):
            typer.echo(line)
    typer.echo(f"{len(listed)} groups, {sum(group['cases'] for group in listed)} cases")


@calibrate_app.command()
def calibrate(
    judge: Annotated[
        str, typer.Argument(help="`rules`, or a YAML file with what a sweep has as service.judge.")
    ],
    against: Annotated[
        Path, typer.Option("--against", help="A CSV file: case, reply, score (0 to 1, by people).")
    ],
    threshold: Annotated[
        list[float] | None,
        typer.Option(
            "--threshold",
            min=0.0,
            max=1.0,
            help="A score below which one fails; repeatable. Without it 0.3, 0.5 and 0.7.",
        ),
    ] = None,
    cases: Cases = None,
    as_json: AsJson = False,
) -> None:
    """Compare a judge with people's scores of the same replies.

    Prints the mean absolute error, Krippendorff's alpha for interval data, the false negatives at each
    threshold (failed by people, passed by the judge), and a picture.
    """
    rated = read_ratings(against, CaseSet(_folder(cases)))
    for notice in judge_notices(judge):
        typer.echo(notice, err=True)
    name, judged = anyio.run(score_replies, judge, rated, SystemClock())
    if len(rated) < _FEW:
        replies = "1 reply" if len(rated) == 1 else f"{len(rated)} replies"
        typer.echo(f"warning: {replies}: with fewer than {_FEW}, one moves every figure", err=True)
    figures = calibration(name, rated, judged, threshold or THRESHOLDS)
    typer.echo(json.dumps(figures, indent=2) if as_json else _format_figures(figures))


def _read_all(cases: CaseSet) -> list[CaseGroup]:
    """Every group; raises UsageError with the mistakes of all of them."""
    read: list[CaseGroup] = []
    mistakes: list[str] = []
    for name in cases.names:
        try:
            read.append(cases.group(name))
        except UsageError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return read


def _describe_group(group: CaseGroup) -> dict[str, Any]:
    risks = Counter(case.risk_level for case in group.cases)
    led = Counter(case.multi_turn.strategy for case in group.cases if case.multi_turn is not None)
    return {
        "name": group.name,
        "description": group.description,
        "cases": len(group.cases),
        "controls": sum(case.control for case in group.cases),
        "risk_levels": {level.value: risks[level] for level in RiskLevel},
        "conversations": led.total(),
        "strategies": {strategy: led[strategy] for strategy in get_args(Strategy)},
        "locales": sorted({case.locale for case in group.cases}),
        "review": group.review.model_dump(),
        "sources": list(group.sources),
    }


def _group_lines(group: dict[str, Any], width: int) -> list[str]:
    """Lines of text that describe one group, none wider than `width`."""
    review = group["review"]
    reviewed = review["status"]
    if reviewed == "reviewed":
        reviewed += f" by {review['by']} on {review['date']}"
    controls = f" (controls: {group['controls']})" if group["controls"] else ""
    led = _counts(group["strategies"]) or "none scripted"
    texts = (
        group["description"],
        f"risk: {_counts(group['risk_levels'])}{controls}",
        f"conversations: {led}",
    )
    cases = "1 case" if group["cases"] == 1 else f"{group['cases']} cases"
    return [
        *_wrap(f"{group['name']}: {cases}, {reviewed}", width, ""),
        *(line for text in texts for line in _wrap(text, width, "  ")),
    ]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count)


def _wrap(text: str, width: int, indent: str) -> list[str]:
    """Lines at most `width` cells wide; a wide character takes two cells."""
    room = width - len(indent)
    lines = Text(plain(text)).wrap(Console(width=room), room)
    return [f"{indent}{line.plain.rstrip()}" for line in lines]


def _format_figures(figures: dict[str, Any]) -> str:
    def format_value(value: float | None) -> str:
        return "not defined: nothing to compare" if value is None else f"{value:.3f}"

    lines = [
        f"judge                 {figures['judge']}",
        f"replies               {figures['replies']}",
        f"mean absolute error   {figures['mean_absolute_error']:.3f} (0 is best)",
        f"Krippendorff's alpha  {format_value(figures['krippendorff_alpha'])} (people and judge; 1 is best)",
    ]
    if figures["krippendorff_alpha_of_people"] is not None:
        people = format_value(figures["krippendorff_alpha_of_people"])
        lines.append(f"  among people alone  {people}")
    lines += ["", "threshold   false negatives   false positives"]
    for one in figures["thresholds"]:
        missed = f"{one['false_negatives']} of {one['failing']}"
        blamed = f"{one['false_positives']} of {one['passing']}"
        lines.append(f"{one['threshold']:>9g}   {missed:>15}   {blamed:>15}")
    lines += [
        "(false negative: people fail the reply, the judge lets it pass)",
        "",
        "Replies by both scores; on the rising diagonal both agree.",
        "",
        figures["picture"],
    ]
    return "\n".join(lines)


def _folder(cases: Path | None) -> str | None:
    return None if cases is None else str(cases)
