"""What all tables share: the metadata that collects them, and how their constraints are named."""

from sqlalchemy import BigInteger, MetaData
from sqlalchemy import Integer as _Integer

from engine.core.runs import RunState
from engine.core.states import AttemptOutcome, State

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

Integer = _Integer().with_variant(BigInteger(), "postgresql")
"""An integer of up to 64 bits, which SQLite has by this name alone."""


def one_of(column: str, values: type[State] | type[RunState] | type[AttemptOutcome]) -> str:
    """The CHECK that a column holds one of the values of an enum."""
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"
