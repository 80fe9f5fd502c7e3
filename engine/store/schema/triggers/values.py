"""What the triggers add to the kept counts, as expressions that both databases understand."""

from engine.core.states import Event, State, sources
from engine.store.schema.counts import NO_THRESHOLD

OPEN = ", ".join(f"'{state}'" for state in sources(Event.CLAIM))
_WITH_ERRORS = f"'{State.FAILED}', '{State.WAITING}'"
_MESSAGE = "replace(coalesce({0}.error, ''), coalesce(': ' || {0}.detail, ''), '')"


def count_of_job(row: str, sign: str, array_length: str) -> str:
    """The expressions for a row of `job_count` without its id, for the job `row`; `sign` is empty or a minus."""
    past = (
        f"CASE WHEN {row}.cell_count = 0 AND {row}.threshold IS NULL THEN 1"
        f" WHEN {row}.past_cells = '[]' THEN 0 ELSE {array_length.format(row + '.past_cells')} END"
    )
    dated = f"CASE WHEN {row}.state IN ({OPEN}) AND {row}.due_at > 0 THEN 1 ELSE 0 END"
    return ", ".join(
        (
            *(f"{row}.{name}" for name in ("run_id", "lane", "cost_class", "state")),
            f"CASE WHEN {row}.cell_count > 0 THEN 1 ELSE 0 END",
            f"{sign}1",
            f"{sign}{row}.cell_count",
            f"{sign}({past})",
            f"{sign}({dated})",
        )
    )


def count_of_answer(of: str, found: str, sign: str) -> str:
    """The expressions for a row of `answer_count` without its id, for the result `found` of the job `of`."""
    total = f"{found}.passed + {found}.failed"
    return ", ".join(
        (
            f"{of}.run_id",
            f"{of}.state",
            f"{of}.cells",
            f"coalesce({of}.threshold, {NO_THRESHOLD!r})",
            f"CASE WHEN {found}.scores IS NULL THEN 0 ELSE 1 END",
            f"coalesce({found}.unanswered, '')",
            f"CASE WHEN {found}.unanswered IS NULL THEN 0 ELSE {total} END",
            f"{sign}1",
            f"{sign}{found}.passed",
            f"{sign}{found}.failed",
        )
    )


def count_of_error(row: str, sign: str) -> str:
    """The expressions for a row of `error_count` without its id, for the job `row`."""
    values = (f"{row}.run_id", f"{row}.state", f"{row}.lane", _MESSAGE.format(row))
    return ", ".join((*values, f"coalesce({row}.detail, '')", f"{sign}1"))


def has_counted_error(row: str) -> str:
    """The condition that the error of the job `row` is counted."""
    return f"{row}.state IN ({_WITH_ERRORS}) AND {row}.cell_count > 0"
