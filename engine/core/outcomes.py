"""Outcomes: the jobs of a run as they are answered or fail."""

from dataclasses import dataclass

from engine.core.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One job of a run that was answered or has failed, as `Run.outcomes` yields it.

    A job that is asked again has a further outcome.

    Example:
        >>> sorted((outcome.job_id, outcome.rows[0].values["value"]) for outcome in run.outcomes())
        [(1, 0.5), (2, 1.0), (3, 1.5)]
    """

    cursor: int
    """Its place in the order in which outcomes were committed: `outcomes(after=cursor)` continues behind it."""
    job_id: int
    rows: tuple[Row, ...]
    """The rows of the cells that the job answers: one, or one for each threshold of a folded job."""
