"""Whether two runs were judged alike."""

from typing import Any

import pytest

from engine.core.errors import UsageError
from engine.session.judges import Judging, judging_differences, refuse_other_judges


def judging(**changes: Any) -> Judging:
    values: dict[str, Any] = {
        "service": "local",
        "judge": "rules",
        "facts": {"judge": "rules-1", "service": "local:a", "cases of group x": "1"},
        "names": frozenset({"judge"}),
    }
    return Judging(**(values | changes))


def test_other_cases_and_another_target_are_no_other_judge() -> None:
    other = judging(facts={"judge": "rules-1", "service": "local:b", "cases of group x": "2"})

    assert judging_differences(judging(), other) == []


def test_another_version_of_the_judge_is_another_judge() -> None:
    other = judging(facts={"judge": "rules-2"})

    assert judging_differences(judging(), other) == ["judge changed from rules-2 to rules-1"]


def test_a_judge_with_facts_that_the_other_lacks_is_another_judge() -> None:
    other = judging(facts={"judge model": "m"}, names=frozenset({"judge model"}), judge="m")

    assert len(judging_differences(judging(), other)) == 2


def test_a_service_that_judges_its_answers_itself_is_its_own_judge() -> None:
    itself = judging(judge="", names=frozenset(), facts={"service": "https://a.example"})
    another = judging(judge="", names=frozenset(), facts={"service": "https://b.example"})

    assert judging_differences(itself, itself) == []
    assert judging_differences(itself, another) == [
        "service changed from https://b.example to https://a.example"
    ]
    assert judging_differences(judging(service="chat"), itself) == ["the service: local and chat"]


def test_without_the_service_the_name_of_the_judge_tells() -> None:
    known, other = judging(names=frozenset()), judging(names=frozenset(), judge="gpt")

    assert judging_differences(known, judging(names=frozenset())) == []
    assert judging_differences(known, other) == ["the judge: gpt and rules"]


def test_runs_that_were_judged_differently_are_refused_with_the_way_out() -> None:
    with pytest.raises(UsageError, match=r"nightsweep rejudge.*--across-judges"):
        refuse_other_judges(judging(), judging(facts={"judge": "rules-2"}))
