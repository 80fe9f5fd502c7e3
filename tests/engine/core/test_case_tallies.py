"""Tallies of cases over many answers."""

from hypothesis import given
from hypothesis import strategies as st

from engine.core.case_tallies import CaseTable, CaseTally, FirstAnswers, Rounds

NAMES = ("a", "b", "c")


@given(
    st.lists(
        st.lists(st.sampled_from(NAMES), min_size=1, unique=True).flatmap(
            lambda names: st.tuples(
                st.just(tuple(names)),
                st.lists(st.booleans(), min_size=len(names), max_size=len(names)),
                st.booleans(),
            )
        )
    )
)
def test_a_table_has_the_sums_of_all_answers_however_they_were_added(
    answers: list[tuple[tuple[str, ...], list[bool], bool]],
) -> None:
    table = CaseTable()
    expected: dict[str, list[int]] = {}
    for names, failed, is_layered in answers:
        if is_layered:
            # Each case has a variation that fails.
            table.add(
                {
                    name: CaseTally(2, one + 1, 1, one)
                    for name, one in zip(names, failed, strict=True)
                }
            )
        else:
            table.add_rounds(Rounds(names, 1, failed))
        for name, one in zip(names, failed, strict=True):
            sums = expected.setdefault(name, [0, 0, 0, 0])
            counts = (1 + is_layered, one + is_layered, 1, one)
            expected[name] = [before + count for before, count in zip(sums, counts, strict=True)]

    assert {name: list(tally) for name, tally in table} == expected
    assert len(table) == len(expected)


@given(
    st.lists(
        st.tuples(st.sampled_from("xy"), st.permutations(NAMES), st.integers(1, 3), st.booleans())
    )
)
def test_first_answers_are_summed_by_case_however_they_were_added(
    added: list[tuple[str, list[str], int, bool]],
) -> None:
    found = FirstAnswers()
    expected: dict[tuple[str, str], tuple[int, int]] = {}
    for scope, names, answers, is_one_by_one in added:
        failed = list(range(len(names)))
        if is_one_by_one:
            for name, one in zip(names, failed, strict=True):
                found.add((scope, name), one, answers)
        else:
            found.add_rounds((scope,), Rounds(tuple(names), answers, failed))
        for name, one in zip(names, failed, strict=True):
            before = expected.get((scope, name), (0, 0))
            expected[scope, name] = before[0] + one, before[1] + answers

    assert found.counts() == expected
