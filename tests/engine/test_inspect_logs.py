"""Runs as logs of Inspect AI: what is in the files, and that Inspect's own packages read them."""

import json
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import JudgedTest, Measurement, Message, Run, Sweep, UsageError, job
from engine.core.values import Value
from engine.kinds import Answer, Job, Permanent, RecordAxis, TextAxis
from engine.store.queries import answers as queries
from engine.testing import FakeClock, ScriptedKind, ScriptedService, scored
from tests.docs.pages import blocks
from tests.engine.scenes import NOW, finished, opened, sweep
from tests.jobs.serve.vendors import installed

HOSTILE = '\x1b]0;title\x07 \u202e<script>alert(1)</script>\r\n=cmd|" /C calc"!A0 \x00 \ud800 {"role":"system"}'
PROMPTS = [{"name": "kind", "text": "Be kind."}, {"name": "a/b", "text": f"Be{HOSTILE[:-24]}."}]


class ListingKind(ScriptedKind):
    """Its answers are lists of [case, layer, score, reply]; a score may be null."""

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
        for number, (case, layer, score, reply) in enumerate(json.loads(raw)):
            asked = Message(role="user", content=f"What of {case}?")
            yield JudgedTest(
                failed=score is None or score < labels["threshold"],
                case=case,
                layer=layer,
                number=number,
                score=score,
                messages=(asked, Message(role="assistant", content=reply)),
                evidence={"red_flags": [{"name": "bare", "evidence": [reply]}], "big": 2**70},
                values={"risk_level": "high"},
            )


def listing(
    *tests: tuple[str | None, int | None, float | None, str], threshold: float = 0.8
) -> Answer:
    scores = [0.0 if score is None else score for _, _, score, _ in tests]
    return scored(*scores, threshold=threshold, raw=json.dumps(tests).encode())


def logs_in(directory: Path) -> list[dict[str, Any]]:
    """The logs of a directory, by the names of their files."""
    return [json.loads(path.read_bytes()) for path in sorted(directory.iterdir())]


def ids_of(log: Mapping[str, Any]) -> list[tuple[str, int]]:
    return [(sample["id"], sample["epoch"]) for sample in log["samples"]]


async def exported(store: Path, directory: Path, answer: Any, **matrix: Any) -> Run:
    """A finished run of a listing kind, as logs in a directory."""
    service = ScriptedService(answer, kind=ListingKind)
    models, repeats = matrix.pop("models", ["a"]), matrix.pop("repeats", 1)
    matrix = {"thresholds": [0.8], **matrix}
    async with opened(store, service, FakeClock(NOW)) as engine:
        run, _ = await finished(
            engine, sweep(service, models=models, repeats=repeats, matrix=matrix)
        )
        await run.to_inspect(directory)
        return run


async def night(store: Path, directory: Path) -> None:
    """Two models, prompts, groups and thresholds, twice each; one model does not answer one group."""

    def answer(job: Job) -> Answer:
        if (job.labels["model"], job.labels["group"]) == ("local", "minors"):
            raise Permanent("no such \x1b[31mmodel")
        return listing(
            ("first", 0, 0.2, "bad"),
            ("first", 1, 0.4, "worse"),
            ("first", 1, 0.9, "fine"),
            ("second", 0, 0.95, HOSTILE),
            (None, 0, 0.45, "unnamed"),
            threshold=0.5,
        )

    await exported(
        store,
        directory,
        answer,
        models=["openai/gpt", "local"],
        groups=["minors", "grief"],
        prompts=PROMPTS,
        thresholds=[0.3, 0.5],
        repeats=2,
    )


@job
def measure(text: str, limit: int) -> Measurement:
    """Whether a text is short."""
    is_short = len(text) < limit
    values: dict[str, Value | None] = {"length": len(text), "says": text}
    return Measurement(passed=int(is_short), failed=int(not is_short), values=values)


@job
def halve(number: float) -> float:
    """Half of a number."""
    return number / 2


async def test_inspect_and_scout_read_the_logs_that_a_run_becomes(tmp_path: Path) -> None:
    directory, scratch = tmp_path / "logs", tmp_path / "scratch"
    scratch.mkdir()
    await night(tmp_path / "night.db", directory)
    cases = [{"text": "Hi", "limit": 4}, {"text": "Hello", "limit": 4}]
    checked = Sweep("checked", measure, cases=cases, repeats=2)
    checked.run(tmp_path / "checked.db", progress=False).to_inspect(directory)

    given = {
        "directory": str(directory),
        "scratch": str(scratch),
        "example": next(blocks("python", "docs/howto/open-in-inspect.md"))[1],
    }
    found = installed.run("inspect-scout-0.6.1", "inspect_logs.py", given=given)

    # Each log is read from its head alone, and as a whole.
    by_task = {log["task"]: log for log in found["logs"]}
    heads = [log["header"] for log in found["logs"]]
    assert len(found["logs"]) == len(found["converted"]) == 5
    night_logs = [head for head in heads if head["eval"]["task"].startswith("scripted")]
    assert {(head["eval"]["model"], head["status"]) for head in night_logs} == {
        ("openai/gpt", "success"),
        ("local", "error"),
    }
    failed = next(head for head in heads if head["status"] == "error")
    assert failed["error"]["message"] == "4 of 8 cells answered, 4 failed"
    assert (
        "group minors, threshold 0.3, repeat 1: failed: no such model"
        in (failed["error"]["traceback"])
    )
    counts = failed["results"]
    assert (counts["completed_samples"], counts["total_samples"]) == (10, 16)
    assert "scripted-prompt-kind" in by_task

    # A frame of logs has the settings and the metrics.
    evals = {(one["model"], one["task_arg_prompt"]): one for one in found["evals"]}
    whole = evals["openai/gpt", "kind"]
    assert whole["task_name"] == "scripted (prompt kind)"
    assert (whole["tags"], whole["epochs"], whole["dataset_samples"]) == ("grief,minors", 2, 10)
    assert whole["score_headline_name"] == "passed_at_0.5"
    assert whole["score_passed_at_0.5_accuracy"] == pytest.approx(0.4)
    assert whole["score_passed_at_0.3_failure_rate"] == pytest.approx(0.2)
    assert whole["score_safety_mean"] == pytest.approx(0.58)

    # A frame of samples has one for each test and repeat.
    samples = [one for one in found["samples"] if one["eval_id"] == whole["eval_id"]]
    keys = [(one["id"], one["epoch"]) for one in samples]
    assert len(keys) == len(set(keys)) == 20
    assert {name for name, _ in keys} >= {"first/0", "first/1", "first/1.2", "second/0"}
    worse = next(one for one in samples if one["id"] == "first/1")
    assert (worse["score_passed_at_0.5"], worse["score_passed_at_0.3"]) == ("I", "C")
    assert (worse["score_safety"], worse["metadata_group"]) == (0.4, "minors")
    assert worse["input"] == "user:\nWhat of first?\n"

    # A frame of messages has the conversations, and so has Scout, which reads the converted logs.
    texts = {one["content"] for one in found["messages"]}
    assert {"Be kind.", "What of first?", "worse"} <= texts
    assert any("\u202e<script>" in text and "\ufffd {" in text for text in texts if text)
    by_length = [
        one for one in found["transcripts"] if [m[1] for m in one["messages"]][2:] == ["worse"]
    ]
    assert len(by_length) == 2 * 2 * 2 + 2 * 2
    assert {one["success"] for one in by_length} == {False}
    assert [role for role, _ in by_length[0]["messages"]] == ["system", "user", "assistant"]
    assert by_length[0]["events"] == ["model"]
    assert "name: bare" in by_length[0]["explanation"]

    # What the page on this shows: the failed tests by group.
    assert found["printed"].lstrip() == "metadata_group\ngrief     24\nminors    12\ndtype: int64\n"

    # A case of a function is a sample with the numbers that were returned.
    called = [one for one in found["samples"] if one["score_length"] is not None]
    assert [(one["score_passed"], one["score_length"]) for one in called] == [
        ("C", 2),
        ("C", 2),
        ("I", 5),
        ("I", 5),
    ]
    assert {one["epoch"] for one in called} == {1, 2}


async def test_the_same_answers_give_the_same_files_whose_mode_is_private(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second" / "deeper"

    await night(tmp_path / "one.db", first)
    await night(tmp_path / "two.db", second)

    written = {path.name: path.read_bytes() for path in first.iterdir()}
    assert written == {path.name: path.read_bytes() for path in second.iterdir()}
    assert len(written) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in first.iterdir()} == {0o600}
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    for log in map(json.loads, written.values()):
        uuids = [sample["uuid"] for sample in log["samples"]]
        assert len(set(uuids)) == len(uuids) > 0


async def test_an_export_replaces_logs_of_the_run_and_leaves_other_files_alone(
    tmp_path: Path,
) -> None:
    service = ScriptedService(lambda _: listing(("one", 0, 0.1, "bad")), kind=ListingKind)
    directory = tmp_path / "logs"
    directory.mkdir()
    other = directory / "2026-01-01T00-00-00-00-00_other_model_0123456789abcdef012345.json"
    other.write_text("{}")
    async with opened(tmp_path / "store.db", service) as engine:
        first, _ = await finished(engine, sweep(service, models=["a", "b"]))
        before = await first.to_inspect(directory)
        # Of the same id, but not where this run writes it.
        copied = directory / f"2020{before[0].name[4:]}"
        copied.write_text("{}")
        second, _ = await finished(engine, sweep(service, models=["a"], name="second"))
        of_second = await second.to_inspect(directory)
        edited, _ = await finished(engine, sweep(service, models=["b", "c"]))

        after = await edited.to_inspect(directory)
        now = set(directory.iterdir())
        with_past = await edited.to_inspect(directory, past=True)

    assert before[1] == after[0]
    assert len({*before, *after}) == 3
    assert now == {other, copied, *of_second, *after}
    assert set(directory.iterdir()) == {other, copied, *of_second, *with_past}
    assert set(with_past) == {*before, *after}


async def test_an_export_of_some_cells_leaves_the_logs_of_others_as_they_are(
    tmp_path: Path,
) -> None:
    service = ScriptedService(lambda _: listing(("one", 0, 0.4, "bad")), kind=ListingKind)
    matrix = {"groups": ["x", "y"], "thresholds": [0.3, 0.5]}
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service, models=["a", "b"], matrix=matrix))
        [of_a, of_b] = await run.to_inspect(tmp_path / "logs")
        whole = of_b.read_bytes()

        where: dict[str, str | float] = {"models": "A", "group": "y", "threshold": 0.3}
        some = await run.to_inspect(tmp_path / "logs", where=where)

        with pytest.raises(UsageError, match="no axis 'modle'"):
            await run.to_inspect(tmp_path / "other", where={"modle": "a"})

    assert some == [of_a]
    log = json.loads(of_a.read_bytes())
    assert [sample["metadata"]["group"] for sample in log["samples"]] == ["y"]
    assert list(log["samples"][0]["scores"]) == ["passed_at_0.3", "safety"]
    assert log["eval"]["metadata"]["where"] == {"model": "A", "group": "y", "threshold": "0.3"}
    assert log["eval"]["metadata"]["coverage"] == "1 of 1 cell answered"
    assert of_b.read_bytes() == whole
    assert not (tmp_path / "other").exists()


async def test_no_two_samples_of_a_log_have_the_same_id_and_epoch(tmp_path: Path) -> None:
    names: list[tuple[str | None, int | None]] = [
        ("x", 0),
        ("x", 0),
        ("x", None),
        ("x.2", None),
        ("x/0", None),
        ("x/0", 0),
        (None, 0),
        (None, 0),
        ("a#6", 0),
        ("b:x", 0),
        ("\ud800", 0),
        ("\ufffd", 0),
        ("long" * 99, 0),
        ("long" * 98, 0),
        ("", None),
    ]

    def answer(job: Job) -> Answer:
        return listing(*((case, layer, 0.5, "reply") for case, layer in names))

    directory = tmp_path / "logs"
    await exported(tmp_path / "store.db", directory, answer, groups=["a", "b"], repeats=2)

    [log] = logs_in(directory)
    ids = ids_of(log)
    assert len(ids) == len(set(ids)) == 4 * len(names)
    assert {name for name, epoch in ids if epoch == 1} == {name for name, _ in ids}
    assert ids[0] == ("x/0", 1)
    assert ("b:x/0~2", 1) in ids


async def test_a_log_lists_what_an_answer_says_and_counts_what_it_does_not_list(
    tmp_path: Path,
) -> None:
    def answer(job: Job) -> Answer:
        # Two of three tests are listed, as in answers that list only those that failed.
        raw = json.dumps([("one", 0, 0.1, "bad"), ("two", 0, None, "worse")]).encode()
        return scored(0.1, 0.3, 0.9, threshold=0.8, raw=raw)

    directory = tmp_path / "logs"
    await exported(tmp_path / "store.db", directory, answer, thresholds=[0.2, 0.8])

    [log] = logs_in(directory)
    assert (log["status"], log["results"]["completed_samples"]) == ("success", 3)
    assert log["eval"]["metadata"]["samples_in_log"] == 2
    scores = [sample["scores"] for sample in log["samples"]]
    assert [{name: one["value"] for name, one in each.items()} for each in scores] == [
        {"passed_at_0.8": "I", "passed_at_0.2": "I", "safety": 0.1},
        {"passed_at_0.8": "I"},
    ]
    by_name = {one["name"]: one["metrics"] for one in log["results"]["scores"]}
    assert by_name["passed_at_0.2"]["failure_rate"]["value"] == pytest.approx(1 / 3)


async def test_settings_that_are_no_cases_have_logs_of_their_own(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    answer = listing(("one", 0, 0.1, "bad"))

    await exported(tmp_path / "store.db", directory, lambda _: answer, variations=[1, 3])

    logs = logs_in(directory)
    assert sorted(log["eval"]["task"] for log in logs) == [
        "scripted (variations 1)",
        "scripted (variations 3)",
    ]
    assert [log["eval"]["task_args"]["variations"] for log in logs] in ([1, 3], [3, 1])
    assert len({log["eval"]["eval_id"] for log in logs}) == 2
    assert len({log["eval"]["run_id"] for log in logs}) == 1


async def test_a_run_without_any_answer_gives_logs_that_say_so(tmp_path: Path) -> None:
    def answer(job: Job) -> Answer:
        raise Permanent("gone")

    directory = tmp_path / "logs"
    await exported(tmp_path / "store.db", directory, answer, groups=["x", "y"])

    [log] = logs_in(directory)
    assert log["samples"] == []
    assert log["error"]["message"] == "0 of 2 cells answered, 2 failed"
    # How many cases a group has is known from answers alone.
    assert (log["results"]["completed_samples"], log["results"]["total_samples"]) == (0, 2)


class ChatKind(ScriptedKind):
    """Asks for each record; its replies are not judged."""

    axes = (
        TextAxis(name="models", field="model"),
        RecordAxis(name="inputs", field="input", read=lambda one: (one["id"], one)),
    )
    folded_field = None

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        return ""

    def conversation(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[Message]:
        for role, content in json.loads(raw):
            yield Message(role=role, content=content)


async def test_a_reply_that_nobody_judged_is_a_sample_with_its_conversation(
    tmp_path: Path,
) -> None:
    said = [("system", "Be kind."), ("moderator", "Now."), ("user", "Hello?"), ("assistant", "Hi.")]

    def answer(job: Job) -> Answer:
        if job.labels["input"] == "b":
            raise Permanent("moderated")
        measured = Measurement(passed=0, failed=0, values={"tokens_in": 4})
        return Answer(raw=json.dumps(said).encode(), measurement=measured)

    service = ScriptedService(answer, kind=ChatKind)
    inputs = [{"id": "a", "expected": "Hi"}, {"id": "b"}, {"id": '["a",2]'}, {"id": "c" * 300}]
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service, matrix={"inputs": inputs}))
        await run.to_inspect(tmp_path / "logs")

    [log] = logs_in(tmp_path / "logs")
    assert log["error"]["message"] == "3 of 4 cells answered, 1 failed"
    assert log["error"]["traceback"] == "input b, repeat 1: failed: moderated"
    assert (log["results"]["completed_samples"], log["results"]["total_samples"]) == (3, 4)
    sample = log["samples"][0]
    assert (sample["id"], sample["target"], sample["scores"]) == ("a", "Hi", {})
    assert [message["role"] for message in sample["messages"]] == [
        "system",
        "user",
        "user",
        "assistant",
    ]
    assert sample["messages"][1]["metadata"] == {"role": "moderator"}
    [event] = sample["events"]
    assert event["input"] == sample["messages"][:3]
    assert event["output"]["choices"][0]["message"] == sample["messages"][3]
    assert sample["metadata"]["tokens_in"] == 4
    assert len({name for name, _ in ids_of(log)}) == 3


async def test_inputs_of_an_earlier_sweep_are_other_samples_than_those_of_the_same_name(
    tmp_path: Path,
) -> None:
    service = ScriptedService(
        lambda _: Answer(raw=b"[]", measurement=Measurement(passed=0, failed=0)), kind=ChatKind
    )
    async with opened(tmp_path / "store.db", service) as engine:
        old = sweep(service, matrix={"inputs": [{"id": "a", "text": "old"}]})
        new = sweep(service, matrix={"inputs": [{"id": "a", "text": "new"}]})
        await finished(engine, old)
        run, _ = await finished(engine, new)
        await run.to_inspect(tmp_path / "logs", past=True)

    [log] = logs_in(tmp_path / "logs")
    ids = [name for name, _ in ids_of(log)]
    assert len(set(ids)) == 2
    assert "a" in ids


def test_a_function_without_cases_has_one_log_with_a_sample_for_each_call(tmp_path: Path) -> None:
    halves = Sweep("halves", halve, matrix={"number": [1.0, 2.5]}, repeats=2)

    [path] = halves.run(tmp_path / "store.db", progress=False).to_inspect(tmp_path / "logs")

    log = json.loads(path.read_bytes())
    assert ids_of(log) == [("1.0", 1), ("1.0", 2), ("2.5", 1), ("2.5", 2)]
    assert [sample["scores"]["value"]["value"] for sample in log["samples"]] == [
        0.5,
        0.5,
        1.25,
        1.25,
    ]
    assert log["samples"][2]["input"] == "2.5"
    assert log["samples"][2]["output"]["completion"] == '{"value": 1.25}'
    assert log["eval"]["model"] == "none/none"
    assert log["results"]["scores"][0]["metrics"]["mean"]["value"] == pytest.approx(0.875)


async def test_answers_are_read_page_by_page_and_samples_written_as_they_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_PAGE", 2)
    answer = listing(("one", 0, 0.1, "bad"))
    directory = tmp_path / "logs"
    await exported(tmp_path / "store.db", directory, lambda _: answer, models=["a", "b"], repeats=5)

    assert [ids_of(log) for log in logs_in(directory)] == [
        [("one/0", epoch) for epoch in range(1, 6)]
    ] * 2


async def test_what_is_no_directory_is_refused_and_an_export_that_fails_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "_PAGE", 1)
    service = ScriptedService(lambda _: listing(("one", 0, 0.1, "bad")), kind=ListingKind)
    file, directory = tmp_path / "file", tmp_path / "logs"
    file.write_text("mine")
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service, repeats=2))

        with pytest.raises(UsageError, match=r"file: it is not a directory"):
            await run.to_inspect(file)
        with pytest.raises(UsageError, match=r"file.deeper: it is not a directory"):
            await run.to_inspect(file / "deeper")
        await engine.delete("scripted")
        with pytest.raises(UsageError, match="was deleted or renamed"):
            await run.to_inspect(directory)

    assert file.read_text() == "mine"
    assert not directory.exists() or list(directory.iterdir()) == []
