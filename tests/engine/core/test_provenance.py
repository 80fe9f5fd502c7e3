import pytest

from engine.core.errors import IdentityChanged
from engine.core.provenance import Difference, Fact, differences, fingerprint, hashed, to_record


def facts(**values: str) -> tuple[Fact, ...]:
    return tuple(Fact(name=name, value=value) for name, value in values.items())


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("gpt-1", "gpt-2", "judge changed from gpt-1 to gpt-2"),
        ("3 sha256:0a", "4 sha256:1b", "judge changed from 3 to 4"),
        ("3 sha256:0a", "3 sha256:1b", "judge changed (3)"),
        ("sha256:0a", "sha256:1b", "judge changed"),
        ("none", "sha256:1b", "judge changed from none to nothing"),
        ("a=1, b=2, c sha256:0a", "a=1, b=3, c sha256:0a", "judge: b changed from 2 to 3"),
        ("a=0.0, b=2", "a=0.7, b=3", "judge: a changed from 0 to 0.7; b changed from 2 to 3"),
        ("a=1, c sha256:0a", "a=1, c sha256:1b", "judge: c changed"),
        ("a=1", "a=1, c sha256:1b", "judge: c is now set"),
        ("a=1, c sha256:1b", "a=1", "judge: c is no longer set"),
        ("a=1", "a=1, d=5", "judge: d was not set and is now 5"),
        ("a=1, d=5", "a=1", "judge: d was 5 and is not set now"),
        ("a=1, d=5", "a=1, d sha256:0a", "judge: d changed from 5 to another value"),
        ("x" * 600, "y" * 600, f"judge changed from {'x' * 57}... to {'y' * 57}..."),
    ],
)
def test_a_difference_is_shown_briefly(before: str, after: str, shown: str) -> None:
    [found] = differences({"judge": before}, facts(judge=after))

    assert str(found) == shown


def test_the_error_lists_each_changed_setting_without_digests() -> None:
    before = {"settings of the target": "max_tokens=64, stop sha256:0a, temperature=0.0"}
    after = "max_tokens=128, stop sha256:1b, temperature=0.7"

    error = IdentityChanged(
        "night", differences(before, (Fact(name="settings of the target", value=after),))
    )

    assert str(error).splitlines()[1:4] == [
        "  settings of the target: max_tokens changed from 64 to 128",
        "  settings of the target: stop changed",
        "  settings of the target: temperature changed from 0 to 0.7",
    ]


def test_what_a_run_had_no_cells_of_is_no_difference() -> None:
    before = to_record(facts(judge="rules", mutators="1"))

    assert not differences(before, facts(judge="rules", cases="sha256:0a"))


def test_a_run_that_noted_nothing_differs_in_all_but_its_service() -> None:
    found = differences(None, facts(service="here", judge="rules", cases="sha256:0a"))

    assert [(one.name, one.before) for one in found] == [("judge", None), ("cases", None)]


def test_equal_facts_have_one_fingerprint_in_any_order() -> None:
    one, two = Fact(name="judge", value="rules"), Fact(name="seed", value="0")

    assert fingerprint((one, two)) == fingerprint((two, one))
    assert fingerprint((one,)) != fingerprint((one, two))
    assert hashed({"a": 1, "b": 2}) == hashed({"b": 2, "a": 1.0})


def test_the_error_tells_the_first_differences_and_the_ways_to_go_on() -> None:
    many = [Difference(name=f"cases of {n}", before="1", after="2") for n in range(40)]

    error = IdentityChanged("night", many)

    lines = str(error).splitlines()
    assert len(lines) < 20
    assert "  and 28 more" in lines
    assert "--accept" in str(error)
    assert error.differences == tuple(many)


def test_a_change_that_would_mix_judges_is_not_offered_to_be_accepted() -> None:
    changed = [Difference(name="judge", before="a", after="b", judging=True)]

    error = IdentityChanged("night", changed, mixes_judges=True)

    assert "--accept" not in str(error)
    assert "`nightsweep rejudge night`" in str(error)
