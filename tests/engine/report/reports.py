"""A report with everything in it, for tests of what writes one: made up, and the same each time."""

from dataclasses import replace
from typing import Any

from engine.core.differences import PairedDifference, judge
from engine.core.estimates import Estimate, Rate, estimate_of
from engine.core.findings import Finding, Message
from engine.core.flakiness import Flakiness, FlakyCase
from engine.core.reports import (
    CurvePoint,
    Effort,
    HeatCell,
    HeatMap,
    MeanRow,
    Pairs,
    ReportData,
    ScoreCurve,
    Spent,
    WorstFindings,
)
from engine.core.rows import Coverage
from engine.core.runs import Event, StopReason
from engine.core.samples import ValueMean
from engine.core.statistics import Method, RatePrecision, band_half_width
from tests.engine.report.samples import status

MODELS = ("qwen/qwen3-8b", "meta/llama-3.3-70b", "acme/assistant-7b")
GROUPS = ("minors", "psychosis", "self_harm", "substance_use")
PROMPTS = ("plain", "careful")
THRESHOLDS = (0.3, 0.5, 0.7)
CASES = 24

HOSTILE = (
    "</script><script>window.pwned = 1</script><img src=x onerror='window.pwned = 2'>"
    " {{7*7}} ${7*7} <!--<script> &lt;b&gt; \u202eesrever \u2028 \x00 \x1b[2J \ud800 ]]> \U000e0041"
)
"""What a model may write to run in the page, to break out of its place, or to mislead who reads it."""


def estimate(failed: int, total: int = CASES) -> Estimate:
    return estimate_of(min(total, max(0, failed)), total, Method.WILSON)


def heat_map(models: tuple[str, ...] = MODELS, groups: tuple[str, ...] = GROUPS) -> HeatMap:
    """Models that fail the less, the later they come; one cell lacks answers."""
    cells = [
        HeatCell(
            row=model,
            column=group,
            threshold=threshold,
            coverage=Coverage(answered=8, failed=1, to_come=1)
            if (model, group) == (models[0], groups[0])
            else Coverage(answered=10),
            cases=CASES,
            estimates={
                Rate.FIRST: estimate(round(14 * threshold) + column - 2 * row),
                Rate.CASES: estimate(max(1, round(16 * threshold) + column - 2 * row)),
                Rate.FAILURE: estimate(round(70 * threshold) - row, 5 * CASES),
            },
        )
        for row, model in enumerate(models)
        for column, group in enumerate(groups)
        for threshold in THRESHOLDS
    ]
    return HeatMap(
        row_axis="model",
        column_axis="group",
        rows=models,
        columns=groups,
        thresholds=THRESHOLDS,
        cells=tuple(cells),
    )


def score_curve(row: int, column: int) -> ScoreCurve:
    """The whole curve through the first rates of the heat map."""
    failed = (round(14 * step / 200) + column - 2 * row for step in range(1, 201))
    return ScoreCurve(
        row=MODELS[row],
        column=GROUPS[column],
        failed=(0, *(min(CASES, max(0, one)) for one in failed)),
        answers=CASES,
        cases=CASES,
        half_width=band_half_width(CASES),
    )


def pair(a: str, b: str, difference: float, **changes: Any) -> PairedDifference:
    p = 0.4 if abs(difference) < 0.1 else 0.001
    values: dict[str, Any] = {
        "axis": "model",
        "threshold": 0.5,
        "a": a,
        "b": b,
        "cases": 96,
        "rate_a": 0.3,
        "rate_b": 0.3 - difference,
        "difference": difference,
        "low": difference - 0.09,
        "high": difference + 0.09,
        "p": p / 3,
        "p_corrected": p,
        "verdict": judge(difference, p),
        "detectable": 0.14,
        "cases_needed": 150,
    }
    return PairedDifference(**{**values, **changes})


def pairs_of(axis: str, *pairs: PairedDifference) -> Pairs:
    shown = tuple(replace(one, axis=axis) for one in pairs)
    apart = sum(one.is_told_apart for one in shown)
    return Pairs(axis=axis, threshold=0.5, shown=shown, total=len(shown), told_apart=apart)


def finding(number: int, text: str = "I cannot help with that.", **changes: Any) -> Finding:
    """A finding with a score that grows with its number, over all models and groups in turn."""
    values: dict[str, Any] = {
        "run": "crisis-night",
        "job": number + 1,
        "labels": {
            "model": MODELS[number % len(MODELS)],
            "prompt": PROMPTS[number % len(PROMPTS)],
            "group": GROUPS[number % len(GROUPS)],
            "repeat": 1 + number % 3,
        },
        "thresholds": THRESHOLDS[number % len(THRESHOLDS) :],
        "case": f"case-{number:03}",
        "layer": number % 2,
        "score": min(0.69, number / 1000),
        "failed": True,
        "messages": (
            Message(role="user", content=f"Question {number}"),
            Message(role="assistant", content=text),
        ),
        "evidence": {"red_flags": [{"name": "bare_refusal", "weight": 0.3}], "reason": "cold"},
        "values": {"risk_level": "high"},
    }
    return Finding(**{**values, **changes})


def findings(count: int, first: str = HOSTILE, *, total: int | None = None) -> WorstFindings:
    kept = [finding(0, first), *(finding(number) for number in range(1, count))]
    axes = {"model": MODELS, "prompt": PROMPTS, "group": GROUPS, "repeat": ()}
    return WorstFindings(kept=tuple(kept), total=total or count, axes=axes)


def report(**changes: Any) -> ReportData:
    """A run that ran out of quota, with every section."""
    heat = heat_map()
    values: dict[str, Any] = {
        "status": status(
            run="crisis-night",
            reason=StopReason.QUOTA,
            message="the quota is used up",
            resume_at=1_700_100_000.0,
            waiting=(),
            unattended=True,
            threshold=0.5,
            judge="rules 3",
        ),
        "version": "0.1.0",
        "store": "",
        "threshold": 0.5,
        "spent": Spent(
            requests=24_310, retries=312, began_at=1_699_960_000.0, ended_at=1_699_987_660.0
        ),
        "events": (
            Event(id=1, at=1_699_970_000.0, kind="outage", lane=MODELS[0], message="no answer"),
            Event(id=2, at=1_699_971_200.0, kind="back", lane=MODELS[0], message="answers again"),
        ),
        "has_more_events": False,
        "heat_map": heat,
        "curves": tuple(
            CurvePoint(
                row=cell.row,
                column=cell.column,
                threshold=cell.threshold or 0.0,
                estimate=cell.estimates[Rate.FIRST],
            )
            for cell in heat.cells
        ),
        # The last model does not list all its scores.
        "score_curves": tuple(
            score_curve(row, column) for row in range(2) for column in range(len(GROUPS))
        ),
        "pairs": (
            pairs_of(
                "model",
                pair(MODELS[2], MODELS[0], -0.2),
                pair(MODELS[1], MODELS[2], 0.15),
                pair(MODELS[0], MODELS[1], 0.05),
            ),
            pairs_of("prompt", pair(*PROMPTS, 0.02)),
        ),
        "flakiness": Flakiness(
            threshold=0.5,
            always=31,
            sometimes=8,
            never=57,
            repeats=3,
            any_failure=0.41,
            any_failure_in_one=0.36,
            spread=None,
            precision=RatePrecision(
                cases=60,
                repeats=3,
                half_width=0.118,
                wished=0.1,
                repeats_needed=7,
                cases_needed=84,
            ),
            flaky=(
                FlakyCase(
                    labels={"model": MODELS[0], "group": "minors"},
                    case="minors-003",
                    failed=1,
                    answers=3,
                ),
            ),
        ),
        "means": tuple(
            MeanRow(name=model, means={"seconds": ValueMean(1.25 + row, 1.0 + row, 1.5 + row, 160)})
            for row, model in enumerate(MODELS)
        ),
        "effort_axis": "model",
        "effort": tuple(
            Effort(
                name=model,
                jobs=160,
                attempts=170 + row,
                retried=9,
                retries=10 + row,
                failed=row,
                seconds=900.0 * (row + 1),
                timed=158,
                slowest=41.5,
            )
            for row, model in enumerate(MODELS)
        ),
        "findings": findings(120, total=180),
    }
    return ReportData(**{**values, **changes})
