"""The statements that SQLAlchemy's dialects hand to the driver, seen before they are executed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy.engine.default import DefaultDialect


def watch_statements(keep: Callable[[str, Any], None]) -> Callable[[], None]:
    """Call `keep` with each statement of this process and its values; returns what ends that.

    With many rows, the values are those of the first one.
    """
    # Typed loosely: what is replaced here is not ours to redefine.
    dialects: Any = DefaultDialect
    execute, execute_many = dialects.do_execute, dialects.do_executemany

    def do_execute(
        dialect: DefaultDialect, cursor: Any, text: str, values: Any, context: Any = None
    ) -> None:
        keep(text, values)
        execute(dialect, cursor, text, values, context)

    def do_executemany(
        dialect: DefaultDialect, cursor: Any, text: str, values: Any, context: Any = None
    ) -> None:
        keep(text, values[0])
        execute_many(dialect, cursor, text, values, context)

    def end() -> None:
        dialects.do_execute, dialects.do_executemany = execute, execute_many

    dialects.do_execute, dialects.do_executemany = do_execute, do_executemany
    return end


@contextmanager
def watched_statements(keep: Callable[[str, Any], None]) -> Iterator[None]:
    """Within the block, call `keep` as `watch_statements` does."""
    end = watch_statements(keep)
    try:
        yield
    finally:
        end()
