"""The interface for authors of job kinds: everything under `jobs/` is written against it.

A *service* is an evaluation API, declared by a `Service` under the entry point group
`nightsweep.services`. It has a pydantic model for the `service:` part of a sweep file, job kinds (one
per evaluation and target), and `open`, which makes the client that they use. A *job kind* declares its
axes, its lane, when thresholds fold, and the coroutine that sends one job.
"""

from engine.clock import Clock, SystemClock
from engine.core.accounts import Accounts, canonical
from engine.core.axes import (
    ArgumentAxis,
    Axis,
    AxisValue,
    CaseAxis,
    DocumentAxis,
    GroupAxis,
    IntegerAxis,
    NumberAxis,
    PromptAxis,
    RecordAxis,
    TextAxis,
)
from engine.core.errors import (
    Disconnected,
    JobError,
    KeyRenewed,
    LimitReached,
    MachineFault,
    NightsweepError,
    NotNow,
    OutOfCredit,
    Permanent,
    Problem,
    QuotaExceeded,
    RateLimited,
    StoreError,
    SweepError,
    TimedOut,
    Transient,
    Unauthorized,
    Unhealthy,
    Unreachable,
    UsageError,
)
from engine.core.findings import JudgedTest, Message
from engine.core.listed_tests import ListedTest, Listing
from engine.core.model import (
    TARGET,
    Allotment,
    Answer,
    CallLimit,
    Check,
    Group,
    Health,
    Job,
    Measurement,
    Sends,
    counted_unanswered,
)
from engine.core.money import CallSize, Price, Took, Usage
from engine.core.nearest import nearest, suggestion
from engine.core.pace import Pace
from engine.core.permits import PermitLimit
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.provenance import Fact, hashed
from engine.core.retry import describe_error, is_away
from engine.core.rows import Row
from engine.core.values import MAX_BYTES as VALUES_BYTES_MAX
from engine.documents.validation import rule_broken
from engine.in_flight import hold_bytes
from engine.kinds.context import JobContext
from engine.kinds.kind import FunctionKind, JobKind
from engine.kinds.service import HealthGate, Service, ServiceSettings, packaged_yaml
from engine.machine import connections_allowed, machine_fault, raise_file_limit
from engine.permits import Permit
from engine.secrets import (
    REDACTED,
    SecretReference,
    checked_reference,
    is_reference,
    key_spellings,
    redact_spellings,
    resolve_secret,
    spellings,
    without_secrets,
)
from engine.starts import start_request, starting_with

__all__ = [
    "REDACTED",
    "TARGET",
    "VALUES_BYTES_MAX",
    "Accounts",
    "Allotment",
    "Answer",
    "ArgumentAxis",
    "Axis",
    "AxisValue",
    "CallLimit",
    "CallSize",
    "CaseAxis",
    "Check",
    "Clock",
    "Disconnected",
    "DocumentAxis",
    "Fact",
    "FunctionKind",
    "Group",
    "GroupAxis",
    "Health",
    "HealthGate",
    "IntegerAxis",
    "Job",
    "JobContext",
    "JobError",
    "JobKind",
    "JudgedTest",
    "KeyRenewed",
    "LimitReached",
    "ListedTest",
    "Listing",
    "MachineFault",
    "Measurement",
    "Message",
    "NightsweepError",
    "NotNow",
    "NumberAxis",
    "OutOfCredit",
    "Pace",
    "Permanent",
    "Permit",
    "PermitLimit",
    "Price",
    "Problem",
    "PromptAxis",
    "QuotaExceeded",
    "RateLimited",
    "RecordAxis",
    "Row",
    "SecretReference",
    "Sends",
    "Service",
    "ServiceSettings",
    "StoreError",
    "SweepError",
    "SystemClock",
    "TextAxis",
    "TimedOut",
    "Took",
    "Transient",
    "UnansweredPolicy",
    "UnansweredRule",
    "Unauthorized",
    "Unhealthy",
    "Unreachable",
    "Usage",
    "UsageError",
    "canonical",
    "checked_reference",
    "connections_allowed",
    "counted_unanswered",
    "describe_error",
    "hashed",
    "hold_bytes",
    "is_away",
    "is_reference",
    "key_spellings",
    "machine_fault",
    "nearest",
    "packaged_yaml",
    "raise_file_limit",
    "redact_spellings",
    "resolve_secret",
    "rule_broken",
    "spellings",
    "start_request",
    "starting_with",
    "suggestion",
    "without_secrets",
]
