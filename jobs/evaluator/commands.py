"""`nightsweep groups` and `nightsweep calibrate`."""

import json
from pathlib import Path
from typing import Annotated, Any, NoReturn

import anyio
import typer

from engine.clock import SystemClock
from engine.job import UsageError
from engine.report.terminal import plain
from jobs.evaluator.calibration import THRESHOLDS, calibration, judged_scores, read_ratings
from jobs.evaluator.groups import CaseGroup, CaseSet

_WRONG_USAGE = 2

groups_app = typer.Typer(add_completion=False)
calibrate_app = typer.Typer(add_completion=False)

Cases = Annotated[
    Path | None, typer.Option("--cases", help="A folder of your own groups, checked as well.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@groups_app.command()
def groups(cases: Cases = None, as_json: AsJson = False) -> None:
    """List the test-case groups: cases, scripted conversations, review, description.

    Every mistake in a group of yours is told with its file and place; exit code 2 then.
    """
    try:
        listed = [_described(group) for group in _read_all(CaseSet(_folder(cases)))]
    except UsageError as error:
        _refuse(error)
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
        return
    width = max(len(group["name"]) for group in listed)
    for group in listed:
        counts = f"{group['cases']:>4} cases, {group['conversations']:>3} scripted"
        described = f"{group['review']}: {group['description']}"
        typer.echo(plain(f"{group['name']:<{width}} {counts}, {described}"))


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
    try:
        rated = read_ratings(against, CaseSet(_folder(cases)))
        name, judged = anyio.run(judged_scores, judge, rated, SystemClock())
    except UsageError as error:
        _refuse(error)
    figures = calibration(name, rated, judged, threshold or THRESHOLDS)
    typer.echo(json.dumps(figures, indent=2) if as_json else _told(figures))


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


def _described(group: CaseGroup) -> dict[str, Any]:
    return {
        "name": group.name,
        "cases": len(group.cases),
        "controls": sum(case.control for case in group.cases),
        "conversations": sum(case.multi_turn is not None for case in group.cases),
        "review": group.review.status,
        "description": group.description,
    }


def _told(figures: dict[str, Any]) -> str:
    def shown(value: float | None) -> str:
        return "not defined: no score differs" if value is None else f"{value:.3f}"

    lines = [
        f"judge                 {figures['judge']}",
        f"replies               {figures['replies']}",
        f"mean absolute error   {figures['mean_absolute_error']:.3f} (0 is best)",
        f"Krippendorff's alpha  {shown(figures['krippendorff_alpha'])} (people and judge; 1 is best)",
    ]
    if figures["krippendorff_alpha_of_people"] is not None:
        people = shown(figures["krippendorff_alpha_of_people"])
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


def _refuse(error: UsageError) -> NoReturn:
    for line in str(error).splitlines():
        typer.echo(plain(line), err=True)
    raise typer.Exit(_WRONG_USAGE)
