import pytest

from engine.core.error_kinds import ErrorKind, by_kind


def kind(message: str, jobs: int = 1, example: str = "") -> ErrorKind:
    return ErrorKind(message=message, jobs=jobs, example=example)


@pytest.mark.parametrize(
    ("one", "another", "masked"),
    [
        (
            "no whole answer within 30 s",
            "no whole answer within 900 s",
            "no whole answer within N s",
        ),
        ("needs 1,240 tests", "needs 20 tests", "needs N tests"),
        ("expected value at 12:3", "expected value at 1:40", "expected value at N"),
        ("waited 0.5 s.", "waited 12.25 s.", "waited N s."),
        ("gave up (after 3)", "gave up (after 6)", "gave up (after N)"),
        ("no reply to ai_dependence-01", "no reply to crisis-12", "no reply to …"),
        ("lost req_011CSHoEeqs5C35K2UUqR7Fy", "lost req_9zzHoEeqs5C35K2UUq1", "lost …"),
        (
            "job 0f8fad5b-d9cb-469f-a165-70867728950e",
            "job 7c9e6679-7425-40de-944b-e07fc1f90ae7",
            "job …",
        ),
        ("digest 9f86d081884c7d65", "digest 60303ae22b998861", "digest …"),
        ("object at 0x7f3a", "object at 0x81bc", "object at …"),
    ],
)
def test_errors_that_differ_in_a_number_or_an_id_are_one_kind(
    one: str, another: str, masked: str
) -> None:
    assert by_kind([kind(one, 2), kind(another, 3)]) == (kind(masked, 5),)


@pytest.mark.parametrize(
    ("one", "another"),
    [
        ("the service failed (500)", "the service failed (502)"),
        ("a/model-1: not found", "a/model-2: not found"),
        ("gpt4 is unknown", "gpt5 is unknown"),
        ("deadbeef is said", "cafebabe is said"),
        ("not found", "not allowed"),
    ],
)
def test_errors_that_differ_in_status_or_name_are_two_kinds(one: str, another: str) -> None:
    assert len(by_kind([kind(one), kind(another)])) == 2


def test_an_error_that_stands_alone_keeps_its_numbers() -> None:
    assert by_kind([kind("no answer within 30 s", 7)]) == (kind("no answer within 30 s", 7),)


def test_the_most_frequent_kind_comes_first_with_an_example_where_there_is_one() -> None:
    found = by_kind(
        [kind("rare", 2, "x"), kind("read 1 of 2", 1), kind("read 3 of 4", 2, "12 bytes")]
    )

    assert found == (kind("read N of N", 3, "12 bytes"), kind("rare", 2, "x"))


def test_of_a_traceback_only_the_innermost_place_is_shown() -> None:
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "/home/a/tox.py", line 12, in toxicity\n    return score(reply)\n'
        '  File "/home/a/scores.py", line 3, in score\n    raise ValueError("empty")\n'
        "ValueError: empty"
    )

    [found] = by_kind([kind("ValueError: empty", 2, traceback)])

    assert found.text == ('ValueError: empty, such as: File "/home/a/scores.py", line 3, in score')
