"""A function with a hint that only type checkers can resolve."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal


def measure(amount: Decimal) -> str:
    """The amount as text."""
    return str(amount)
