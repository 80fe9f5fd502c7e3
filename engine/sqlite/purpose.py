"""What a database file is used for, in the words that error messages need."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

E = TypeVar("E", bound=Exception)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose(Generic[E]):
    """Words for the messages of this package, and the error class that carries them."""

    name: str
    """Such as `store`."""
    title: str
    """What messages call such a file, such as `a Nightsweep store`."""
    chosen: str
    """How the user chooses another file, such as `with --store`."""
    afterwards: str
    """What to do once the cause is gone, such as `resume`."""
    error: Callable[[str], E]
