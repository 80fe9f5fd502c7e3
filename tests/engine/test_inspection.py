"""Single jobs and the event log, read through the Python API."""

import base64
import json
from pathlib import Path

import anyio
import pytest

from engine import EventFilter, JobFilter, Run, UsageError
from engine.core.states import AttemptOutcome, State
from engine.kinds import Answer, Job, Permanent, Transient
from engine.store import LabelLike
from engine.store.queries import inspection as queries
from engine.testing import FakeClock, Memory, ScriptedService
from tests.engine.scenes import NOW, finished, good, opened, sweep

refused: list[object] = []


def script(job: Job) -> Answer | Exception:
    match job.labels["model"]:
        case "broken":
            return Permanent(f"HTTP 404 of request {job.labels['repeat']}", detail="no such model")
        case "busy" if not refused:
            refused.append(job)
            return Transient("slow down", retry_after_s=0.01, status=503)
    return good(job)


async def numbers(run: Run, wanted: JobFilter | None = None) -> list[int]:
    return [job.id async for job in run.jobs(wanted)]


async def test_jobs_are_found_by_state_label_and_kind_of_error(tmp_path: Path) -> None:
    service = ScriptedService(script)
    of = sweep(service, models=["a/good", "b/good", "broken"], repeats=2)

    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, of)
        jobs = [job async for job in run.jobs()]
        failed = [job async for job in run.jobs(JobFilter(states=[State.FAILED]))]
        of_model = await numbers(run, JobFilter(where={"model": "*/good", "repeat": "2"}))
        by_kind = await numbers(run, JobFilter(error="REQUEST N"))
        by_text = await numbers(run, JobFilter(error="request 2"))
        by_detail = await numbers(run, JobFilter(error="no such model"))
        with pytest.raises(UsageError, match=r"no axis 'modle'; did you mean \"model\"\?"):
            await numbers(run, JobFilter(where={"modle": "x"}))

    assert len(jobs) == 6
    assert [job.labels["model"] for job in failed] == ["broken", "broken"]
    assert {job.error_kind for job in failed} == {"HTTP 404 of request N"}
    assert {job.detail for job in failed} == {"no such model"}
    assert {job.attempts for job in failed} == {1}
    wanted = [job.id for job in jobs if "good" in job.labels["model"] and job.labels["repeat"] == 2]
    assert of_model == wanted
    ids = [job.id for job in failed]
    assert (by_kind, by_text, by_detail) == (ids, ids[1:], ids)


FOUND_BY: list[tuple[dict[str, str], int]] = [
    ({"model": "A/*"}, 8),
    ({"model": "a/100%_x"}, 4),
    ({"model": "a/1??%_X"}, 4),
    ({"model": "*\u00df*"}, 4),
    ({"model": "*SS*"}, 4),
    ({"lane": "B/*"}, 4),
    ({"prompt": "new"}, 6),
    ({"prompt": "old"}, 0),
    ({"variations": "2.0", "model": "b*"}, 2),
    ({"threshold": "0.1", "variations": "1"}, 6),
    ({"repeat": "1", "model": "*"}, 12),
    ({"group": "true"}, 0),
    ({"group": "*"}, 12),
]
"""Conditions, and how many jobs of the test below meet them."""


async def test_jobs_are_found_by_labels_as_their_text_is_compared_without_case() -> None:
    service = ScriptedService(good)
    matrix = {"variations": [1, 2], "thresholds": [0.1, 0.5]}
    prompts = [{"name": "old", "text": "x"}, {"name": "other", "text": "y"}]
    renamed = [{"name": "new", "text": "x"}, {"name": "other", "text": "y"}]
    models = ["a/100%_x", "a/gro\u00df", "b/one"]

    async with opened(Memory(), service) as engine:
        await engine.submit(sweep(service, models=models, matrix={**matrix, "prompts": prompts}))
        again = sweep(service, models=models, matrix={**matrix, "prompts": renamed})
        run, _ = await finished(engine, again)
        found = [await numbers(run, JobFilter(where=where)) for where, _ in FOUND_BY]
        everything = [job async for job in run.jobs()]

    for ids, (where, count) in zip(found, FOUND_BY, strict=True):
        assert len(ids) == count, where
        assert ids == [job.id for job in everything if JobFilter(where=where).wants(job)]


async def test_jobs_of_other_labels_are_not_read() -> None:
    service = ScriptedService(good)
    model = LabelLike(name="model", pattern="B/*")
    repeat = LabelLike(name="repeat", pattern="2")

    async with opened(Memory(), service) as engine:
        run, _ = await finished(engine, sweep(service, models=["a/one", "b/one"], repeats=3))
        found = [
            one async for one in engine.store.inspection.jobs(run._row, labels=[model, repeat])
        ]

    [only] = found
    assert (only.info.labels["model"], only.info.labels["repeat"]) == ("b/one", 2)


@pytest.mark.parametrize("few", [0, 100_000])
async def test_few_and_many_jobs_of_a_state_are_listed_in_the_order_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(queries, "_FEW", few)
    monkeypatch.setattr(queries, "_PAGE", 2)
    service = ScriptedService(good)
    of = sweep(service, models=["c", "a", "b"], repeats=2)

    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, of)
        listed = await numbers(run)
        answered = await numbers(run, JobFilter(states=[State.SUCCEEDED]))
        others = await numbers(run, JobFilter(states=[State.FAILED, State.WAITING]))

    assert len(listed) == 6
    assert (answered, others) == (listed, [])


async def test_jobs_without_an_error_are_not_read_when_one_is_asked_for(tmp_path: Path) -> None:
    service = ScriptedService(script)
    of = sweep(service, models=["good", "broken"], repeats=2)

    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, of)
        row = await engine.store.reader.find_run(run.name)
        assert row is not None
        read = [
            one.info.labels["model"]
            async for one in engine.store.inspection.jobs(row, has_error=True)
        ]

    assert read == ["broken", "broken"]


async def test_a_threshold_finds_the_job_that_answers_it(tmp_path: Path) -> None:
    service = ScriptedService(good)
    of = sweep(service, matrix={"thresholds": [0.3, 0.5]})

    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, of)
        found = [
            await numbers(run, JobFilter(where={"threshold": text})) for text in ("0.30", "0.4")
        ]

    assert [len(ids) for ids in found] == [1, 0]


async def test_a_job_tells_its_parameters_attempts_and_answer(tmp_path: Path) -> None:
    service = ScriptedService(script)

    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service, models=["busy"]))
        [listed] = [job async for job in run.jobs()]
        found = await run.job(listed.id)
        by_key = await engine.job(listed.key[:6])

    assert by_key == found
    assert (found.run, found.job) == ("scripted", listed)
    assert [one.outcome for one in found.attempts] == [
        AttemptOutcome.FAILED,
        AttemptOutcome.SUCCEEDED,
    ]
    failed, answered = found.attempts
    assert (failed.status, failed.error) == (503, "slow down")
    assert failed.duration_s is not None
    assert answered.sent_at >= failed.sent_at
    assert answered.worker.startswith("process ")
    assert found.result is not None
    assert found.answer is not None
    assert not found.is_in_side_file


async def test_an_unread_reply_is_listed_with_its_attempt(tmp_path: Path) -> None:
    service = ScriptedService(lambda _: Permanent("the answer is not JSON", status=200))

    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service))
        [listed] = [job async for job in run.jobs()]
        [attempt] = (await run.job(listed.id)).attempts
        await engine.store.attempts.keep_unread(
            1, listed.id, attempt.number, where="POST /evaluate: not JSON", body=b"<html>"
        )
        found = await run.job(listed.id)

    [reply] = found.unread
    assert (reply.attempt, reply.place) == (found.attempts[0].number, "POST /evaluate: not JSON")
    assert (reply.size, reply.raw) == (6, b"<html>")
    assert found.answer is None


async def test_an_answer_in_a_side_file_is_reported(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    service = ScriptedService(lambda _: Permanent("gone"))

    async with opened(store, service) as engine:
        run, _ = await finished(engine, sweep(service))
        [listed] = [job async for job in run.jobs()]
        [attempt] = (await run.job(listed.id)).attempts
        line = {
            "job_id": listed.id,
            "run_id": 1,
            "fence": attempt.number,
            "ended_at": NOW,
            "service": "scripted",
            "cost_class": "",
            "reserved": False,
            "passed": 1,
            "failed": 0,
            "tests": 1,
            "scores": None,
            "note": None,
            "provenance": None,
            "raw": base64.b64encode(b"as it came").decode(),
        }
        folder = store.with_name("store.db.workers")
        side_file = folder / f"{engine.store.worker_id}.spill"
        side_file.write_bytes(json.dumps(line).encode() + b"\n\0\0")
        found = await run.job(listed.id)
        side_file.unlink()

    assert (found.answer, found.is_in_side_file) == (b"as it came", True)


async def test_a_name_of_no_job_or_of_several_is_refused(tmp_path: Path) -> None:
    service = ScriptedService(good)

    async with opened(tmp_path / "store.db", service) as engine:
        first, _ = await finished(engine, sweep(service))
        await finished(engine, sweep(service, name="again"))
        [job] = [job async for job in first.jobs()]
        for name in ("99", "abcdef", "xyz", "-1", job.key[:5], "9" * 40):
            with pytest.raises(UsageError, match="has no job"):
                await engine.job(name)
        with pytest.raises(UsageError, match="several jobs whose key begins with"):
            await engine.job(job.key)
        assert (await first.job(job.key)).run == "scripted"


async def test_events_are_found_by_kind_lane_and_time(tmp_path: Path) -> None:
    service = ScriptedService(good)
    clock = FakeClock(NOW)

    async with opened(tmp_path / "store.db", service, clock) as engine:
        run = await engine.submit(sweep(service))
        for number, kind in enumerate(["one", "two", "one"]):
            await engine.store.runs.add_event(
                1, kind, str(number), lane=["a/b", "a_b", None][number]
            )
            async with clock.jumping():
                await clock.sleep(10.0)

        async def found(wanted: EventFilter) -> list[str]:
            streamed = [event.message async for event in run.all_events(wanted)]
            assert streamed == [
                event.message
                for event in await run.events(
                    kinds=wanted.kinds, lane=wanted.lane, since=wanted.since, until=wanted.until
                )
            ]
            return streamed

        assert await found(EventFilter()) == ["0", "1", "2"]
        assert await found(EventFilter(kinds=("one",))) == ["0", "2"]
        assert await found(EventFilter(lane="a/*")) == ["0"]
        assert await found(EventFilter(lane="a_b")) == ["1"]
        assert await found(EventFilter(since=NOW + 10, until=NOW + 20)) == ["1"]
        assert [event.message for event in await run.events(limit=1)] == ["2"]
        [last] = await run.events(limit=1)
        assert [event async for event in run.all_events(after=last.id)] == []


async def test_events_are_followed_until_the_run_has_ended(tmp_path: Path) -> None:
    started = anyio.Event()

    def script(job: Job) -> Answer:
        started.set()
        return good(job)

    service = ScriptedService(script)
    messages: list[str] = []

    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(sweep(service))

        async def follow() -> None:
            await started.wait()
            await run.note("greeting", "hello")
            messages.extend([event.message async for event in run.all_events(follow=True)])

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(follow)
            await run.execute()

    assert messages == ["hello"]
