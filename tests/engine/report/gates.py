"""Verdicts, tallies and failed tests for the tests of what a gate writes."""

from collections.abc import Iterable
from typing import Any

from engine.core.findings import Finding, Message
from engine.core.gates import Decision, GateCheck, GateRule, GateRules, GateVerdict, OverallRate
from engine.core.rows import Coverage, Row
from engine.report.cells import CellTally
from engine.report.failed_cases import FailedCases

HOSTILE = (
    "\x1b[2Jred \x00 ]]></failure><script>\r\n::error::mine\n##[error]mine\n"
    "```\n`````\n# title\n@someone ![x](http://evil.example/x.png) \u202egnp \ud800 \ufffe |"
)


def check(decision: Decision = Decision.FAILED, **changes: Any) -> GateCheck:
    values: dict[str, Any] = {
        "rule": GateRule.RATE,
        "labels": {},
        "threshold": 0.5,
        "decision": decision,
        "reason": "30.00% (3 of 10 tests failed), limit 20.00%",
        "limit": 0.2,
        "coverage": Coverage(answered=1),
        "failed": 3,
        "total": 10,
        "rate": 0.3,
    }
    return GateCheck(**(values | changes))


def verdict(
    *checks: GateCheck, decision: Decision = Decision.FAILED, **changes: Any
) -> GateVerdict:
    values: dict[str, Any] = {
        "run": "night",
        "decision": decision,
        "reason": "because",
        "rules": GateRules(fail_above=0.2),
        "against": None,
        "overall": (OverallRate(threshold=0.5, failed=3, total=10, rate=0.3),),
        "checks": checks or (check(),),
        "coverage": Coverage(answered=1),
        "judge": "",
    }
    return GateVerdict(**(values | changes))


def finding(text: str = "No.", *, score: float | None = 0.1, **labels: Any) -> Finding:
    return Finding(
        failed=True,
        run="night",
        job=1,
        labels={"model": "a", "repeat": 1, **labels},
        thresholds=(0.5,),
        case="case-1",
        layer=0,
        score=score,
        messages=(Message(role="user", content="Hi"), Message(role="assistant", content=text)),
    )


def failed_cases(*findings: Finding) -> FailedCases:
    found = FailedCases()
    for one in findings:
        found.add(one)
    return found


def tally(rows: Iterable[Row], rules: GateRules | None = None) -> CellTally:
    found = CellTally()
    for row in rows:
        found.add(row, rules or GateRules(fail_above=0.2))
    return found
