"""A run's status and summary, and the list of runs, as text for a terminal of 80 columns."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from engine.core.listing import join_first, quantity
from engine.core.model import Check, describe_reasons
from engine.core.rows import Coverage
from engine.core.runs import RunState, StopReason
from engine.core.status import QuotaStatus, RunInfo, Status
from engine.core.terminal import plain
from engine.report.money import spending_lines, spent_lines
from engine.report.reuse import reuse_lines
from engine.report.times import duration, moment, time_of_day
from engine.report.waiting import MOST_CAUSES, held_lines, jobs_line, lane_lines

_AT = {
    "speed so far": "at the current speed",
    "rate": "at the rate limit",
    "the run's window": "within the window",
}
"""The words for some of the limits that decide the time left."""


def status_lines(status: Status) -> list[str]:
    """The status of a run: its counts first, then what keeps it from going on.

    Lines about what is not known, or does not happen in this run, are left out. Times are local, and
    control characters are removed from texts of services.
    """
    state = _state(status.state, status.reason)
    lines = [f"{plain(status.run)}: {state}", *trouble_lines(status)]
    lines += [cells_line(status), *_optional_line(jobs_line(status))]
    lines += [*reuse_lines(status), *held_lines(status)]
    lines += _optional_line(questions_line(status)) + _optional_line(requests_line(status))
    lines += [*_optional_line(tests_line(status)), *accepted_lines(status)]
    lines += spending_lines(status.spending)
    lines += [f"quota {quota_words(quota)}" for quota in status.quotas]
    if left := left_line(status):
        lines.append(left)
    if status.unattended and status.state is RunState.ACTIVE:
        lines.append("no process is working on it; `nightsweep resume` continues it")
    lines += stop_lines(status)
    lines += error_lines(status)
    return lines


def trouble_lines(status: Status) -> list[str]:
    """Since when and why nothing can be saved, such as a full disk: one line, or none if all is well."""
    if status.trouble_since is None:
        return []
    since = time_of_day(status.trouble_since, now=status.at)
    return [f"nothing can be saved since {since}: {plain(status.trouble)}"]


def _state(state: RunState, reason: StopReason | None) -> str:
    return state.value + (f" ({reason})" if reason and reason.value != state.value else "")


def cells_line(status: Status) -> str:
    """Answered cells of all cells, and how many failed, were cancelled or have no answer, on one line."""
    return ", ".join(coverage_parts(status.coverage, status))


def coverage_parts(coverage: Coverage, status: Status) -> list[str]:
    """The cells of a run by what is known of them, as parts of a line.

    First the answered ones of all, then, if there are any, those that failed, were cancelled, and are `to
    go`, or `missing` once the run is over.
    """
    more = "+ (more are being added)" if status.expanding else ""
    parts = [f"{coverage.answered:,} of {coverage.cells:,}{more} cells answered"]
    if coverage.failed:
        parts.append(f"{coverage.failed:,} failed")
    if coverage.cancelled:
        parts.append(f"{coverage.cancelled:,} cancelled")
    if coverage.to_come:
        parts.append(f"{coverage.to_come:,} {'missing' if status.state.is_over else 'to go'}")
    return parts


def requests_line(status: Status) -> str:
    """The requests of the last minute and their limit per minute; empty if jobs send none.

    If another process keeps the key or a model to a lower rate, that is said in place of the sweep's own
    limit.
    """
    if status.requests_per_min is None:
        return ""
    has_limit = status.rate_per_min is not None and not status.is_rate_of_others
    limit = f" of {status.rate_per_min:,}" if has_limit else ""
    line = f"requests: {status.requests_per_min:,.0f}{limit} per minute"
    lowered = [f"this key to {status.rate_per_min:,}"] if status.is_rate_of_others else []
    lowered += [f"{plain(lane)} to {rate:,}" for lane, rate in status.model_rates_of_others.items()]
    return f"{line}; another process keeps {join_first(lowered)}" if lowered else line


def questions_line(status: Status) -> str:
    """Answered questions of all questions in the run's jobs.

    If that number is unknown, those of the jobs in flight, as far as they say how many they ask; else empty.
    """
    return "".join(f"{what}: {counts}" for what, counts in status.question_counts.items())


def tests_line(status: Status) -> str:
    """The tests that passed and failed so far, their threshold, and the judge."""
    counts = test_counts_line(status)
    return f"{counts} ({judge_words(status.judge)})" if counts and status.judge else counts


def test_counts_line(status: Status) -> str:
    """The tests that passed and failed so far and their threshold, without the judge.

    Unanswered questions, which are neither, follow with their reasons if there are any. Empty if the answers
    have no tests.
    """
    if status.cells_done and not (
        status.tests_passed or status.tests_failed or status.tests_unanswered
    ):
        return ""
    tests = (
        f"tests: {status.tests_passed:,} passed, {status.tests_failed:,} failed"
        f"{at_threshold(status.threshold)}"
    )
    if not status.tests_unanswered:
        return tests
    unanswered = sum(status.tests_unanswered.values())
    return (
        f"{tests}, {unanswered:,} unanswered ({plain(describe_reasons(status.tests_unanswered))})"
    )


def at_threshold(threshold: float | None) -> str:
    """The threshold of counted tests, beginning with a space; empty if the evaluation has none."""
    return "" if threshold is None else f" at threshold {threshold:g}"


def accepted_lines(status: Status) -> list[str]:
    """The changes that were accepted during the run, after which its answers have several identities; usually none."""
    return [plain(message) for message in status.accepted]


def _optional_line(line: str) -> list[str]:
    return [line] if line else []


def judge_words(judge: str) -> str:
    """The judge that the counts come from, as `judged by NAME`."""
    return f"judged by {plain(judge)}"


def quota_words(quota: QuotaStatus) -> str:
    """One quota: how much of it is used, how much is reserved for requests in flight, its period and its name.

    The period is a calendar month in UTC, and left out if the quota is for the whole run.
    """
    reserved = f" ({quota.reserved:,} reserved)" if quota.reserved else ""
    # The numbers come first, so that a narrow terminal cuts off the name.
    period = "" if quota.period == "run" else f" in {plain(quota.period)}"
    return f"{quota.used:,} of {quota.allotted:,}{reserved}{period}: {plain(quota.name)}"


def left_line(status: Status) -> str:
    """The time left, when that is over, and the limit that decides it.

    Empty if the time is unknown, if no process works on the run, or if the run is not active.
    """
    if not status.seconds_left or status.unattended or status.state is not RunState.ACTIVE:
        return ""
    done = time_of_day(status.at + status.seconds_left, now=status.at)
    by = f" {_at_limit(status.binding)}" if status.binding else ""
    return f"about {duration(status.seconds_left)} left (done {done}){by}"


def _at_limit(binding: str) -> str:
    """The limit that the time left is computed from: `at a model's rate limit`, `at the judge's token limit`."""
    return _AT.get(binding) or f"at {plain(binding).removesuffix('s')} limit"


def stop_lines(status: Status) -> list[str]:
    """Why a run stopped, and from when on it can continue; empty for a run that goes on or ended by itself."""
    lines = [plain(status.message)] if status.message else []
    if status.resume_at is not None:
        lines.append(f"it can go on from {moment(status.resume_at)}")
    return lines


def error_lines(status: Status, *, longest: int | None = None) -> list[str]:
    """Why jobs failed, the most frequent cause first, with the number of jobs; empty if none failed.

    At most MOST_CAUSES are shown, and the others counted. Each text is cut to `longest` characters, or not
    at all for None.
    """
    if not status.errors:
        return []
    lines = ["why jobs failed:"]
    lines += [
        f"  {quantity(kind.jobs, 'job')}: {shorten(plain(kind.text), longest)}"
        for kind in status.errors[:MOST_CAUSES]
    ]
    if (hidden := len(status.errors) - MOST_CAUSES) > 0:
        lines.append(f"  and {hidden:,} more")
    return lines


def shorten(text: str, longest: int | None) -> str:
    """Cut a text to at most `longest` characters, the last of them an ellipsis; None leaves it whole."""
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def cut(text: str, longest: int) -> str:
    """The beginning of a text of more than `longest` characters, which says how many more there are."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} \u2026 ({len(text) - longest:,} more characters)"


def summary_lines(status: Status) -> list[str]:
    """How a run ended: what was answered, what failed and why, and what keeps it from going on.

    Shorter than `status_lines`: without jobs, requests and quota, and with the cost on one line for all
    models.
    """
    lines = [f"{plain(status.run)}: {cells_line(status)}", *reuse_lines(status)]
    if status.tests_passed or status.tests_failed:
        lines.append(tests_line(status))
    lines += spent_lines(status.spending)
    lines += accepted_lines(status)
    return [*lines, *trouble_lines(status), *error_lines(status), *stop_lines(status)]


def runs_lines(runs: Sequence[RunInfo], now: float) -> list[str]:
    """A table with a line for each run: name, state, answered jobs of all, and the last change.

    Below each run that another process works on is why its lanes cannot send.
    """
    lines = []
    for run in runs:
        state = _state(run.state, run.reason)
        done = f"{run.jobs.get('succeeded', 0):,}/{sum(run.jobs.values()):,}"
        lines.append((plain(run.name), state, done, moment(run.updated_at), plain(run.evaluation)))
    if not lines:
        return ["no runs"]
    head = ("RUN", "STATE", "JOBS", "LAST CHANGE", "EVALUATION")
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in [head, *lines]
    ]
    shown = table[:1]
    for run, line in zip(runs, table[1:], strict=True):
        shown += [line, *(f"  {why}" for why in lane_lines(run.lanes, now))]
    return shown


def check_lines(checks: Iterable[Check], service: str) -> list[str]:
    """One line for each check, beginning with `ok` or `BAD`; a single line saying so if the service has none."""
    return [
        f"{'ok ' if one.ok else 'BAD'}  {plain(one.name)}: {plain(one.message)}" for one in checks
    ] or [f"nothing to check: the service {plain(service)} has no checks"]


def progress_line(status: Status) -> str:
    """One line about a run in progress, for a log: the time, its counts, and what holds jobs.

    The time is local, in ISO 8601 with its offset. Only the first quota and the most frequent failure are
    shown, and further causes counted.
    """
    counts = [
        f"{status.cells_done:,}/{status.cells:,} cells",
        questions_line(status),
        jobs_line(status),
        requests_line(status),
        tests_line(status),
        *(f"quota {one.used:,}/{one.allotted:,}" for one in status.quotas[:1]),
        left_line(status),
    ]
    causes = trouble_lines(status) + held_lines(status)
    if status.errors:
        first, *others = status.errors
        more = f" and {quantity(len(others), 'more cause')}" if others else ""
        causes.append(f"{quantity(first.jobs, 'job')} failed: {plain(first.text)}{more}")
    when = datetime.fromtimestamp(status.at, UTC).astimezone().isoformat(timespec="seconds")
    return f"{when} {'; '.join(filter(None, [*counts, *causes]))}"
