"""Suggestions for misspelt names."""

from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice

_SHOWN = 12
_LOOKED_AT = 1000
"""Names that are compared: with very many, comparing takes too long for a mere suggestion."""


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The valid name whose spelling, regardless of case, is closest to `name`; None if none is close.

    Compares all names: with very many of them, use `suggestion`.
    """
    by_fold = {known.casefold(): known for known in sorted(names, reverse=True)}
    close = get_close_matches(name.casefold(), by_fold, n=1, cutoff=0.6)
    return by_fold[close[0]] if close else None


def suggestion(name: str, names: Iterable[str]) -> str:
    """The end of an error message: the nearest valid name, or else a list of valid names.

    Only the first thousand names are compared.
    """
    rest = iter(names)
    known = sorted(set(islice(rest, _LOOKED_AT)))
    near = nearest(name, known)
    if near is not None:
        return f'; did you mean "{near}"?'
    if not known:
        return "; there are none"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    if next(rest, None) is not None:
        more = " and many more"
    return f"; known: {', '.join(known[:_SHOWN])}{more}"
