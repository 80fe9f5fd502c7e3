"""Nightsweep: LLM safety-evaluation sweeps that lose nothing.

The names below are the public Python API; what is not among them may change.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from engine.shadowing import install_finder

if TYPE_CHECKING:
    from engine.blocking import BlockingRun, open_run
    from engine.core.cases import CaseRow
    from engine.core.cell_counts import CellCount
    from engine.core.comparisons import (
        CaseChange,
        Change,
        ChangedText,
        Comparison,
        FlippedCase,
        RateChange,
        Shift,
        ValueChange,
    )
    from engine.core.differences import PairedDifference
    from engine.core.errors import (
        IdentityChanged,
        Interrupted,
        JobError,
        NightsweepError,
        Permanent,
        Place,
        Problem,
        QuotaExceeded,
        RateLimited,
        StoreError,
        StoreLost,
        SweepError,
        Transient,
        UsageError,
    )
    from engine.core.estimates import Estimate, Rate
    from engine.core.findings import Finding, JudgedTest, Message
    from engine.core.flakiness import Flakiness
    from engine.core.gates import (
        CaseShare,
        Certainty,
        Decision,
        GateCheck,
        GateRule,
        GateRules,
        GateVerdict,
        OverallRate,
    )
    from engine.core.inspection import (
        Attempt,
        EventFilter,
        JobDetails,
        JobFilter,
        JobInfo,
        JobResult,
        UnreadReply,
    )
    from engine.core.listed_tests import ListedTest, Listing
    from engine.core.model import Measurement
    from engine.core.outcomes import Outcome
    from engine.core.provenance import Difference
    from engine.core.rows import Row, Source
    from engine.core.runs import Event, RunState, StopReason
    from engine.core.status import Backup, Deleted, Plan, Pruned, RunInfo, Status
    from engine.functions import BlockingContext, FunctionJob, JobContext, job
    from engine.registry import Registry
    from engine.results.analysis import Analysis
    from engine.results.summaries import Summary
    from engine.session import Engine, Run, check, open_engine
    from engine.settings import Settings
    from engine.sweep import Sweep
    from engine.sweep.chat import chat

__all__ = [
    "Analysis",
    "Attempt",
    "Backup",
    "BlockingContext",
    "BlockingRun",
    "CaseChange",
    "CaseRow",
    "CaseShare",
    "CellCount",
    "Certainty",
    "Change",
    "ChangedText",
    "Comparison",
    "Decision",
    "Deleted",
    "Difference",
    "Engine",
    "Estimate",
    "Event",
    "EventFilter",
    "Finding",
    "Flakiness",
    "FlippedCase",
    "FunctionJob",
    "GateCheck",
    "GateRule",
    "GateRules",
    "GateVerdict",
    "IdentityChanged",
    "Interrupted",
    "JobContext",
    "JobDetails",
    "JobError",
    "JobFilter",
    "JobInfo",
    "JobResult",
    "JudgedTest",
    "ListedTest",
    "Listing",
    "Measurement",
    "Message",
    "NightsweepError",
    "Outcome",
    "OverallRate",
    "PairedDifference",
    "Permanent",
    "Place",
    "Plan",
    "Problem",
    "Pruned",
    "QuotaExceeded",
    "Rate",
    "RateChange",
    "RateLimited",
    "Registry",
    "Row",
    "Run",
    "RunInfo",
    "RunState",
    "Settings",
    "Shift",
    "Source",
    "Status",
    "StopReason",
    "StoreError",
    "StoreLost",
    "Summary",
    "Sweep",
    "SweepError",
    "Transient",
    "UnreadReply",
    "UsageError",
    "ValueChange",
    "chat",
    "check",
    "job",
    "open_engine",
    "open_run",
]

# Imported when first asked for: `nightsweep --help` needs none of them.
_HOMES = {
    **dict.fromkeys(
        (
            "CaseChange",
            "Change",
            "ChangedText",
            "Comparison",
            "FlippedCase",
            "RateChange",
            "Shift",
            "ValueChange",
        ),
        "engine.core.comparisons",
    ),
    **dict.fromkeys(
        (
            "IdentityChanged",
            "Interrupted",
            "JobError",
            "NightsweepError",
            "Permanent",
            "Place",
            "Problem",
            "QuotaExceeded",
            "RateLimited",
            "StoreError",
            "StoreLost",
            "SweepError",
            "Transient",
            "UsageError",
        ),
        "engine.core.errors",
    ),
    **dict.fromkeys(
        ("Backup", "Deleted", "Plan", "Pruned", "RunInfo", "Status"),
        "engine.core.status",
    ),
    **dict.fromkeys(
        (
            "Attempt",
            "EventFilter",
            "JobDetails",
            "JobFilter",
            "JobInfo",
            "JobResult",
            "UnreadReply",
        ),
        "engine.core.inspection",
    ),
    **dict.fromkeys(("BlockingRun", "open_run"), "engine.blocking"),
    "CaseRow": "engine.core.cases",
    "CellCount": "engine.core.cell_counts",
    "Difference": "engine.core.provenance",
    **dict.fromkeys(("BlockingContext", "FunctionJob", "JobContext", "job"), "engine.functions"),
    **dict.fromkeys(("ListedTest", "Listing"), "engine.core.listed_tests"),
    "Measurement": "engine.core.model",
    "Outcome": "engine.core.outcomes",
    **dict.fromkeys(("JudgedTest", "Finding", "Message"), "engine.core.findings"),
    **dict.fromkeys(
        (
            "CaseShare",
            "Certainty",
            "Decision",
            "GateCheck",
            "GateRule",
            "GateRules",
            "GateVerdict",
            "OverallRate",
        ),
        "engine.core.gates",
    ),
    **dict.fromkeys(("Row", "Source"), "engine.core.rows"),
    **dict.fromkeys(("Event", "RunState", "StopReason"), "engine.core.runs"),
    **dict.fromkeys(("Engine", "Run", "check", "open_engine"), "engine.session"),
    "Registry": "engine.registry",
    **dict.fromkeys(("Estimate", "Rate"), "engine.core.estimates"),
    "Analysis": "engine.results.analysis",
    "Flakiness": "engine.core.flakiness",
    "PairedDifference": "engine.core.differences",
    "Summary": "engine.results.summaries",
    "Settings": "engine.settings",
    "Sweep": "engine.sweep",
    "chat": "engine.sweep.chat",
}

install_finder()


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
