"""What is not asked again, and why, as text."""

from engine.core.listing import quantity
from engine.core.status import ReusedAnswers, Status
from engine.core.terminal import plain
from engine.report.times import moment


def reuse_lines(status: Status) -> list[str]:
    """What was not sent because the store already has it, and outdated answers that were kept.

    With a session of this process, the answers and replies that were there before it; without one, only the
    answers taken from other runs. Empty if there is nothing of either.
    """
    parts = [reuse_words(one) for one in status.reused]
    session = status.session
    lines = []
    if session is None:
        lines += [f"of these, {', '.join(parts)}"] if parts else []
    else:
        if session.cells_before:
            parts.insert(0, f"{quantity(session.cells_before, 'cell')} answered before")
        if session.replies_kept:
            replies = session.replies_kept + session.replies_asked
            parts.append(f"{session.replies_kept:,} of {replies:,} replies kept from earlier calls")
        left = status.coverage.to_come
        # With cells left, nothing was sent because of what stopped the run; the status says that.
        if parts and (session.has_sent or left):
            lines.append(f"not asked again: {', '.join(parts)}")
        elif parts:
            lines.append(f"nothing was sent: {', '.join(parts)}; `run --fresh` asks again")
    if status.cells_outdated:
        when = "" if status.fresh_at is None else f" from before {moment(status.fresh_at)}"
        lines.append(
            f"{quantity(status.cells_outdated, 'cell')} with an answer{when}: asking again failed"
        )
    return lines


def reuse_words(one: ReusedAnswers) -> str:
    """The answers reused from one run: the number of cells, the run, and when they were answered.

    The time is local; a run that was deleted has no name any more.
    """
    whose = "a run that was deleted" if one.run is None else f"the run {plain(one.run)}"
    cells = quantity(one.cells, "cell")
    return f"{cells} reused from {whose} (answered {moment(one.answered_at)})"
