"""Gates over runs in real stores: from the tests that answers list to the decision."""

from pathlib import Path

import pytest

from engine import Certainty, Decision, GateRules, UsageError
from engine.core.listed_tests import ListedTest, Listing
from engine.kinds import Answer, Job, Measurement
from engine.testing import ScriptedService
from tests.engine.scenes import finished, opened, sweep


def naming(job: Job) -> Answer:
    """Two cases: the model fails the second in its first repeat, and if it is bad in all of them."""
    fails = job.labels["model"] == "bad" or job.repeat == 1
    scores = {"first": 0.9, "second": 0.1 if fails else 0.9}
    failed = sum(score < 0.5 for score in scores.values())
    listing = Listing.of(ListedTest(case, 0, score) for case, score in scores.items())
    return Answer(
        raw=b"[]",
        measurement=Measurement(passed=2 - failed, failed=failed, tests=2, listing=listing),
    )


async def test_each_case_is_counted_over_the_repeats_of_a_run(tmp_path: Path) -> None:
    service = ScriptedService(naming)
    wanted = sweep(service, models=["good", "bad"], repeats=4)
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, wanted)

        verdict = await run.gate(GateRules(each_case=0.75, by=("models",)))

    good, bad = verdict.checks
    assert (good.decision, bad.decision) == (Decision.PASSED, Decision.FAILED)
    assert [(one.case, one.passed, one.answers) for one in bad.cases] == [("second", 0, 4)]


async def test_an_edited_prompt_is_compared_with_the_one_of_the_same_name(tmp_path: Path) -> None:
    def answer(job: Job) -> Answer:
        is_good = job.parameters["prompt"] == "Be kind."
        return naming_all(is_good=is_good)

    service = ScriptedService(answer)
    before, after = (
        sweep(service, name=name, matrix={"prompts": [{"name": "production", "text": text}]})
        for name, text in (("main", "Be kind."), ("change", "Be quick."))
    )
    async with opened(tmp_path / "store.db", service) as engine:
        main, _ = await finished(engine, before)
        change, _ = await finished(engine, after)
        rules = GateRules(margin=0.02, certainty=Certainty.RATE)

        worse = await change.gate(rules, against=main)
        better = await main.gate(rules, against=change)

    [check] = worse.checks
    assert (worse.decision, better.decision) == (Decision.FAILED, Decision.PASSED)
    assert (check.rate, check.other_rate, check.cells_compared) == (1.0, 0.0, 1)


def naming_all(*, is_good: bool) -> Answer:
    """Two cases that both pass or both fail."""
    failed = 0 if is_good else 2
    score = 0.9 if is_good else 0.1
    listing = Listing.of(ListedTest(case, 0, score) for case in ("first", "second"))
    return Answer(
        raw=b"[]",
        measurement=Measurement(passed=2 - failed, failed=failed, tests=2, listing=listing),
    )


async def test_a_gate_without_a_limit_is_refused(tmp_path: Path) -> None:
    service = ScriptedService(naming)
    async with opened(tmp_path / "store.db", service) as engine:
        run, _ = await finished(engine, sweep(service))

        with pytest.raises(UsageError, match="a gate needs a limit"):
            await run.gate(GateRules())
