"""Cells by what is known of them."""

import pytest

from engine.core.rows import Coverage
from engine.core.states import State


@pytest.mark.parametrize(
    ("state", "has_numbers", "count"),
    [
        *((state, True, "answered") for state in State),
        (State.PENDING, False, "to_come"),
        (State.RUNNING, False, "to_come"),
        (State.WAITING, False, "to_come"),
        (State.SUCCEEDED, False, "failed"),
        (State.FAILED, False, "failed"),
        (State.CANCELLED, False, "cancelled"),
    ],
)
def test_each_cell_is_in_one_count(state: State, has_numbers: bool, count: str) -> None:
    coverage = Coverage()

    coverage.add(state, has_numbers=has_numbers, cells=3)

    assert coverage == Coverage(**{count: 3})
    assert coverage.cells == 3
