"""What a database file is for, in the words of the errors about it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

E = TypeVar("E", bound=Exception)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purpose(Generic[E]):
    """Words that complete the messages of this package, and the class of error that carries them."""

    name: str
    """Such as `store`."""
    title: str
    """What the file is said not to be, such as `a Nightsweep store`."""
    chosen: str
    """How another file is named, such as `with --store`."""
    afterwards: str
    """What to do once the cause is gone, such as `resume`."""
    error: Callable[[str], E]
