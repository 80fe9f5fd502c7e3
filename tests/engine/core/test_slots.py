from hypothesis import given
from hypothesis import strategies as st

from engine.core.slots import Holder, decode, encode, share


def test_a_single_caller_gets_all_that_it_wants() -> None:
    assert share({}, "a", wants=8, in_use=0, limit=8) == {"a": Holder(8, 8)}


def test_a_newcomer_waits_until_slots_come_free_and_then_has_an_even_share() -> None:
    holders = share({}, "a", wants=8, in_use=8, limit=8)

    holders = share(holders, "b", wants=8, in_use=0, limit=8)
    assert holders["b"].has == 0
    holders = share(holders, "a", wants=8, in_use=6, limit=8)
    holders = share(holders, "b", wants=8, in_use=0, limit=8)
    assert (holders["a"].has, holders["b"].has) == (6, 2)
    holders = share(holders, "a", wants=8, in_use=3, limit=8)
    holders = share(holders, "b", wants=8, in_use=2, limit=8)

    assert (holders["a"].has, holders["b"].has) == (4, 4)


def test_one_slot_goes_from_one_to_the_other() -> None:
    holders = share({}, "a", wants=1, in_use=1, limit=1)
    holders = share(holders, "b", wants=1, in_use=0, limit=1)
    assert (holders["a"].has, holders["b"].has) == (1, 0)

    holders = share(holders, "a", wants=1, in_use=0, limit=1)
    holders = share(holders, "b", wants=1, in_use=0, limit=1)

    assert (holders["a"].has, holders["b"].has) == (0, 1)


def test_a_caller_that_wants_none_is_forgotten() -> None:
    holders = share({}, "a", wants=3, in_use=0, limit=8)

    assert share(holders, "a", wants=0, in_use=0, limit=8) == {}


def test_holders_are_kept_as_text() -> None:
    holders = {"a 1": Holder(2, 8), "b 1": Holder(0, 1)}

    assert decode(encode(holders)) == holders
    assert decode("") == {}


@given(
    st.integers(1, 12),
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 12), st.integers(0, 12)), max_size=60
    ),
)
def test_all_together_never_have_more_than_there_are(
    limit: int, asked: list[tuple[str, int, int]]
) -> None:
    holders: dict[str, Holder] = {}

    for who, wants, used in asked:
        has = holders.get(who, Holder(0, 0)).has
        holders = dict(
            share(holders, who, wants=min(wants, limit), in_use=min(used, has), limit=limit)
        )

        assert sum(holder.has for holder in holders.values()) <= limit
