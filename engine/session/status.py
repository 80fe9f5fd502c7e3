"""The status of a run, from its rows in the store and from the scheduler of this process."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from engine.core.forecast import QuestionLoad, seconds_left
from engine.core.lanes import GOES_ON, STANDS_STILL, LaneState, waits_elsewhere
from engine.core.loads import Load
from engine.core.model import CallLimit, Sends
from engine.core.money import Price, Spending, spendings
from engine.core.policy import Limits
from engine.core.progress import Questions, QuestionsInFlight, questions_of
from engine.core.provenance import digest_of
from engine.core.rows import Coverage
from engine.core.runs import StopReason, WaitReason
from engine.core.states import State
from engine.core.status import QuotaStatus, ReusedAnswers, Session, Status, Waiting
from engine.limits import bucket_of, finishes_at, opens_at
from engine.results.coverage import count_answers
from engine.scheduler import Scheduler, quota_keys
from engine.session.requests import Requests
from engine.store import RunRow, Store, Totals
from engine.sweep import Sweep, SweepFacts

_ROUNDING_S = 1.0
"""Largest error of adding up times of the clock, in seconds."""
_OPEN = (State.PENDING, State.WAITING, State.RUNNING)
_HOLDS = (WaitReason.HELD, WaitReason.THROTTLED, WaitReason.MACHINE)
"""While a lane waits for one of these, it sends nothing."""


@dataclass(frozen=True, slots=True)
class StatusReader:
    """Reads the status of a run at a time; `scheduler` and `requests` are those of its execution here, if any."""

    store: Store
    facts: SweepFacts
    row: RunRow
    scheduler: Scheduler | None
    requests: Requests | None
    find_sweep: Callable[[], Sweep | None]
    """The run's sweep, looked up for what only its service knows; None if that is not installed."""
    find_loads: Callable[[], Mapping[str, Load]]
    """The requests of each lane, if jobs send their own; counted if there are open jobs."""
    now: float
    session: Session | None = None

    async def status(self, *, unattended: bool) -> Status:
        """Read the status of the run from the store; `unattended` says that no process executes it.

        What only the executing process knows, such as its session, is added if that is this one.
        """
        row = self.row
        threshold = self.facts.highest_threshold
        totals = await self.store.reader.totals(row.id, threshold)
        counts = count_answers(totals, threshold, self.facts.unanswered)
        coverage = counts.coverage
        in_flight = self._questions_in_flight(totals, unattended=unattended)
        questions = questions_of(
            answered=totals.questions_answered,
            unanswered=totals.questions_unanswered,
            to_come=totals.questions_to_come,
            in_flight=in_flight,
        )
        limits, lowered = await self._limits(totals.lanes)
        elsewhere: list[LaneState] = []
        if not (self.scheduler or unattended):
            elsewhere = await self.store.worker.find_lanes_elsewhere(row.id)
        left, binding = self._estimate_left(totals, questions, elsewhere, limits)
        reused = await self.store.reader.answers_from_other_runs(row.id)
        since, trouble = await self.store.worker.find_stall(row.id) or (None, "")
        return Status(
            run=row.name,
            state=row.state,
            reason=None if row.reason is None else StopReason(row.reason),
            message=row.message,
            resume_at=row.resume_at,
            cells=coverage.cells,
            cells_done=coverage.answered,
            cells_failed=coverage.failed + coverage.cancelled,
            cells_cancelled=coverage.cancelled,
            jobs={state.value: count for state, count in totals.jobs.items()},
            tests_passed=counts.tests.passed,
            tests_failed=counts.tests.failed,
            tests_unanswered=dict(counts.tests.unanswered.most_common()),
            threshold=threshold,
            cells_past=await self.store.reader.past_cells(row),
            requests_per_min=await self._last_minute(totals),
            rate_per_min=limits.rate_per_min,
            is_rate_of_others=limits.rate_per_min != self.facts.limits.rate_per_min,
            model_rates_of_others=lowered,
            seconds_left=left,
            binding=binding,
            waiting=self._waiting(totals, elsewhere),
            quotas=await self._quotas(),
            spending=await self._spending(),
            errors=(*counts.errors, *totals.errors),
            judge=self.facts.judge,
            identity=None if row.provenance is None else digest_of(row.provenance),
            accepted=await self.store.reader.find_accepted_changes(row.id),
            expanding=not row.is_expanded,
            questions_answered=questions.answered,
            questions=questions.total,
            questions_left=questions.left,
            questions_answered_in_flight=in_flight.answered,
            questions_in_flight=in_flight.total,
            at=self.now,
            unattended=unattended,
            trouble=trouble,
            trouble_since=since,
            reused=reused,
            cells_outdated=totals.cells_outdated,
            fresh_at=row.fresh_at,
            session=await self._session(coverage, totals, reused),
        )

    def _questions_in_flight(self, totals: Totals, *, unattended: bool) -> QuestionsInFlight:
        """The questions of jobs in flight, here and in other processes."""
        elsewhere = QuestionsInFlight() if unattended else totals.in_flight_elsewhere
        return elsewhere + self.scheduler.progress.in_flight if self.scheduler else elsewhere

    async def _session(
        self, coverage: Coverage, totals: Totals, reused: Iterable[ReusedAnswers]
    ) -> Session | None:
        """The session, with the number of cells that had an answer of the run's own when it began."""
        if self.session is None:
            return None
        began_at = self.session.began_at
        since = await self.store.reader.cells_answered_since(self.row.id, began_at)
        of_others = sum(one.cells for one in reused)
        before = coverage.answered - of_others - totals.cells_outdated - since
        return replace(self.session, cells_before=max(0, before))

    async def _limits(self, lanes: Collection[str]) -> tuple[Limits, Mapping[str, int]]:
        """The sweep's limits with the lower rates of other processes, for the key and for lanes.

        Also returns the lower rates of lanes by lane.
        """
        limits, account = self.facts.limits, self.row.account
        if not account:
            return limits, {}
        rows = {name: bucket_of(account, name) for name in sorted(lanes)}
        lowest = await self.store.reader.lowest_rates([account, *rows.values()])
        lowered = {
            name: lowest[row]
            for name, row in rows.items()
            if _is_lower(lowest.get(row), limits.for_lane(name).rate_per_min)
        }
        models = tuple(
            (name, replace(limits.for_lane(name), rate_per_min=rate))
            for name, rate in lowered.items()
        )
        limits = replace(limits, models=models + limits.models)
        if _is_lower(lowest.get(account), limits.rate_per_min):
            limits = replace(limits, rate_per_min=lowest[account])
        return limits, lowered

    async def _last_minute(self, totals: Totals) -> float | None:
        """The requests that all processes started in the last minute."""
        match self.facts.sends:
            case Sends.NOTHING:
                return None
            case Sends.JOB:
                return float(totals.sent_last_minute)
            case Sends.CALLS:
                mine = self.requests
                besides = None if mine is None else self.store.worker_id
                of_others = await self.store.reader.requests_last_minute(
                    self.row.id, besides=besides
                )
                return float(of_others + (0 if mine is None else mine.last_minute))

    def _loads(self, totals: Totals) -> Mapping[str, Load]:
        """The requests that the open jobs of each lane still send, without those already sent by jobs in flight here."""
        loads = {}
        for lane, counts in totals.lanes.items():
            jobs = sum(counts[state] for state in _OPEN)
            if not jobs:
                continue
            of_all = self.find_loads().get(lane)
            if of_all is None or not of_all.jobs:
                sends_itself = self.facts.sends is Sends.JOB
                loads[lane] = Load(jobs, jobs if sends_itself else 0)
            else:
                loads[lane] = of_all.times(jobs / of_all.jobs)
        if self.requests is None or self.scheduler is None:
            return loads
        requests = sum(load.requests for load in loads.values())
        sent = self.requests.of_jobs(self.scheduler.jobs_in_flight)
        share = max(0.0, 1.0 - sent / requests) if requests else 1.0
        return {lane: load.sending(share) for lane, load in loads.items()}

    def _estimate_left(
        self, totals: Totals, questions: Questions, elsewhere: list[LaneState], limits: Limits
    ) -> tuple[float | None, str]:
        """The seconds until all lanes that can send are done, and the limit that decides; None if no lane can send."""
        waits = {
            lane: self._find_wait(lane, elsewhere)
            for lane, counts in totals.lanes.items()
            if any(counts[state] for state in _OPEN)
        }
        can_send = {lane for lane, wait in waits.items() if wait.why not in STANDS_STILL}
        if waits and (not can_send or self.row.reason == StopReason.UNHEALTHY):
            return None, ""
        call_limits = self._find_call_limits() if waits else {}
        if call_limits is None:
            return None, ""
        loads = self._loads(totals)
        moving = {lane: load for lane, load in loads.items() if lane in can_send}
        left, binding = seconds_left(
            moving,
            limits,
            call_limits,
            ended=totals.ended,
            ended_over_s=totals.ended_over_s,
            # It is not known which lanes the questions belong to.
            questions=self._question_load(questions) if len(moving) == len(loads) else None,
        )
        if not left:
            return left, binding
        left = _after_holds(left, [waits[lane] for lane in moving], self.now)
        finish_at = finishes_at(limits.window, self.now, left)
        if finish_at is not None and finish_at - self.now > left + _ROUNDING_S:
            return finish_at - self.now, "the run's window"
        return left, binding

    def _question_load(self, questions: Questions) -> QuestionLoad | None:
        if self.scheduler is None or questions.left is None:
            return None
        answered, over_s = self.scheduler.progress.speed(self.now)
        return QuestionLoad(left=questions.left, answered=answered, answered_over_s=over_s)

    def _find_call_limits(self) -> Mapping[str, CallLimit] | None:
        """The limits of the recipients of calls; None if only a service that is not installed knows them."""
        if self.facts.sends is not Sends.CALLS:
            return {}
        sweep = self.find_sweep()
        return None if sweep is None else sweep.kind.call_limits()

    async def _spending(self) -> tuple[Spending, ...]:
        return spendings(await self.store.reader.usage(self.row.id), self._find_price)

    def _find_price(self, role: str, endpoint: str, model: str) -> Price | None:
        """The price of tokens that the sweep states, if its service, which knows it, is installed."""
        sweep = self.find_sweep()
        return None if sweep is None else sweep.service.price(role, endpoint, model)

    async def _quotas(self) -> tuple[QuotaStatus, ...]:
        # A run that was never executed has no account, and has used no quota.
        account = self.row.account or ""
        labels = {account: self.facts.account}
        keys = quota_keys(self.facts, self.facts.limits, self.row.name, account, self.now)
        return tuple(
            QuotaStatus(
                name=labels.get(name, name),
                period=period,
                used=state.used + state.overrun,
                reserved=state.reserved,
                allotted=state.allotted,
            )
            for (name, period), state in sorted((await self.store.reader.quotas(keys)).items())
        )

    def _waiting(self, totals: Totals, elsewhere: list[LaneState]) -> tuple[Waiting, ...]:
        found = []
        for name, counts in sorted(totals.lanes.items()):
            jobs = counts[State.PENDING] + counts[State.WAITING]
            if not jobs:
                continue
            waits = self._find_wait(name, elsewhere)
            later, due_at = totals.backing_off.get(name, (0, 0.0))
            if waits.why in GOES_ON and (later := min(later, jobs)):
                cause = totals.backing_off_after.get(name)
                found.append(
                    Waiting(
                        lane=name,
                        why=WaitReason.RETRY,
                        jobs=later,
                        until=due_at,
                        detail="" if cause is None else cause.text,
                    )
                )
                if waits.why is WaitReason.RETRY:
                    waits = Waiting(lane=name, why=WaitReason.QUEUED, jobs=0)
                jobs -= later
            if jobs:
                found.append(replace(waits, jobs=jobs))
        return tuple(found)

    def _find_wait(self, name: str, elsewhere: list[LaneState]) -> Waiting:
        """What the jobs of a lane wait for; `jobs` is 0, to be replaced."""
        window = self.facts.limits.window
        opening = opens_at(window, self.now)
        if window is not None and opening > self.now:
            return Waiting(
                lane=name, why=WaitReason.WINDOW, jobs=0, until=opening, zone=window.timezone
            )
        scheduler = self.scheduler
        if scheduler is None or name not in scheduler.lanes.lanes:
            state = waits_elsewhere(name, elsewhere)
        else:
            state = scheduler.lanes.state(scheduler.lanes.lanes[name], self.now)
        until = state.until if state.until is not None and state.until > self.now else None
        return Waiting(lane=name, why=state.why, jobs=0, until=until, detail=state.detail)


def _is_lower(rate: int | None, than: int | None) -> bool:
    return rate is not None and (than is None or rate < than)


def _after_holds(left: float, waits: Iterable[Waiting], now: float) -> float:
    """The seconds left if work begins when the first lane is free; at least until no lane is held."""
    holds = [
        max(0.0, one.until - now) if one.why in _HOLDS and one.until is not None else 0.0
        for one in waits
    ]
    return max(left + min(holds), *holds)
