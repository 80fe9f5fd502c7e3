"""Commands that show why a run is stuck: its event log, its jobs, and one job with its answer."""

import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import output
from engine.cli.completion import complete_run
from engine.cli.opening import open_for_reading
from engine.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    RunArgument,
    StoreOption,
    WhereOption,
    parse_conditions,
)
from engine.core.errors import UsageError
from engine.core.inspection import EventFilter, JobFilter
from engine.core.states import State

if TYPE_CHECKING:
    from engine.core.inspection import JobDetails, JobInfo
    from engine.core.runs import Event
    from engine.session import Run

LimitOption = Annotated[
    int | None, typer.Option("--limit", metavar="COUNT", min=1, help="At most so many.")
]


def events(
    run: RunArgument = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", help="Only of this kind, such as outage or quota; repeatable."),
    ] = None,
    lane: Annotated[
        str | None,
        typer.Option("--lane", metavar="PATTERN", help="Only of these lanes, such as '*gpt*'."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="Not before: 2h ago (30m, 1d), or a date and time."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Before; written like --since.")
    ] = None,
    limit: LimitOption = None,
    after: Annotated[
        int | None,
        typer.Option(
            "--after", metavar="ID", min=0, help="Only what came after the event with this id."
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Continue with new ones until the run ends, or Ctrl-C."),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show what the engine did on its own in a run.

    Oldest first; `--limit` shows the latest. `--json` prints a list; with `--follow`, one object a line.
    """
    from engine.cli.running import run_command, run_quietly
    from engine.clock import SystemClock
    from engine.report.times import parse_moment

    if limit is not None and after is not None:
        raise UsageError("choose --limit, for the latest events, or --after, for all new ones")
    now = SystemClock().now()
    wanted = EventFilter(
        kinds=tuple(kind or ()),
        lane=lane,
        since=None if since is None else parse_moment(since, now),
        until=None if until is None else parse_moment(until, now),
    )

    async def show_events() -> None:
        async with open_for_reading(store) as engine:
            found = _find_events(
                await engine.run(run), wanted, after=after or 0, limit=limit, follow=follow
            )
            await _write(
                _format_events(found, as_json=as_json),
                is_json=as_json,
                is_list=as_json and not follow,
                none="no events",
            )

    (run_quietly if follow else run_command)(show_events)


async def _find_events(
    run: "Run", wanted: EventFilter, *, after: int, limit: int | None, follow: bool
) -> "AsyncIterator[Event]":
    """Yield the latest `limit` events, or without a limit all behind `after`; with `follow` new ones after them."""
    if limit is not None:
        latest = await run.events(
            kinds=wanted.kinds,
            lane=wanted.lane,
            since=wanted.since,
            until=wanted.until,
            limit=limit,
        )
        for event in latest:
            after = event.id
            yield event
        if not follow:
            return
    async for event in run.all_events(wanted, after=after, follow=follow):
        yield event


async def _format_events(events: "AsyncIterator[Event]", *, as_json: bool) -> AsyncIterator[str]:
    from engine.report.document import to_json
    from engine.report.events import event_line

    async for event in events:
        yield to_json(event, indent=None) if as_json else event_line(event)


def jobs(
    run: RunArgument = None,
    state: Annotated[
        list[State] | None, typer.Option("--state", help="Only in this state; repeatable.")
    ] = None,
    where: WhereOption = None,
    error: Annotated[
        str,
        typer.Option("--error", metavar="TEXT", help="Only with this in their error or its kind."),
    ] = "",
    limit: LimitOption = None,
    past: Annotated[
        bool,
        typer.Option(
            "--all",
            envvar="NIGHTSWEEP_JOBS_ALL",
            help="Also those that only an earlier version of the sweep wanted.",
        ),
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """List the jobs of a run, with their attempts and errors.

    In the order of the sweep. The number in front is what `nightsweep show` takes.
    """
    from engine.cli.running import run_command

    wanted = JobFilter(
        states=tuple(state or ()), where=parse_conditions(where), error=error, past=past
    )

    async def show_jobs() -> None:
        async with open_for_reading(store) as engine:
            found = await engine.run(run)
            lines = _format_jobs(found.jobs(wanted), limit, as_json=as_json)
            await _write(lines, is_json=as_json, is_list=as_json, none="no such jobs")

    run_command(show_jobs)


async def _format_jobs(
    jobs: "AsyncIterator[JobInfo]", limit: int | None, *, as_json: bool
) -> AsyncIterator[str]:
    """Yield the lines of at most `limit` jobs, or one object for each."""
    from engine.report.document import to_json
    from engine.report.jobs import job_lines

    count = 0
    async for job in jobs:
        for line in [to_json(job, indent=None)] if as_json else job_lines(job):
            yield line
        count += 1
        if count == limit:
            return


def show(
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB", help="Its number in `nightsweep jobs`, or six digits of its key."
        ),
    ],
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            metavar="RUN",
            help="The run to look in; without it, all of the store.",
            autocompletion=complete_run,
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print the answer alone, byte for byte as it came.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Show one job: what it asks, every attempt, the answer.

    Replies that could not be read are shown as well.
    """
    from engine.cli.running import run_command
    from engine.report.jobs import detail_lines

    async def find_job() -> "JobDetails":
        async with open_for_reading(store) as engine:
            found = engine if run is None else await engine.run(run)
            return await found.job(job)

    details = run_command(find_job)
    if raw:
        _write_raw(details)
    elif as_json:
        from engine.report.jobs import details_document

        output.write_json(details_document(details))
    else:
        output.write_lines(output.fit(detail_lines(details), sys.stdout))


async def _write(lines: AsyncIterator[str], *, is_json: bool, is_list: bool, none: str) -> None:
    """Write lines to stdout as they come, or objects as one JSON list, until the reader has gone."""
    count = 0
    try:
        async for line in lines:
            if is_list:
                output.write_parts(",\n" if count else "[\n", line)
            else:
                for part in [line] if is_json else output.fit([line], sys.stdout):
                    output.write_line(part)
            count += 1
        if is_list:
            output.write_parts("\n]\n" if count else "[]\n")
        elif not (count or is_json):
            output.say(none)
    except BrokenPipeError:
        return


def _write_raw(details: "JobDetails") -> None:
    if details.answer is None and not details.unread:
        raise UsageError(f"job {details.job.id} has no answer")
    raw = details.answer if details.answer is not None else details.unread[-1].raw
    with output.to_stdout():
        sys.stdout.buffer.write(raw)
        sys.stdout.buffer.flush()
