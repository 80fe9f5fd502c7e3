"""Lists and numbers of things in sentences."""

from collections.abc import Sequence


def join_first(things: Sequence[str], *, most: int = 3, between: str = ", ") -> str:
    """Join the first `most` things and say how many more there are: `a, b, c and 3 more`."""
    more = len(things) - most
    shown = between.join(things[:most])
    return f"{shown} and {more:,} more" if more > 0 else shown


def quantity(count: int, thing: str, things: str = "") -> str:
    """A number of things, as `1 job` or `2,000 jobs`; `things` is the plural if it does not end in `s`."""
    return f"{count:,} {thing if count == 1 else things or thing + 's'}"
