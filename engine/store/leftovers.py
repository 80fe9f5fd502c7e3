"""Recovering the side files of workers that have ended into the store that they belong to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from engine.store.paid import Paid, PaidKey, from_line, key_of
from engine.store.queries import calls, outcomes, recovery
from engine.store.requests import CallReply, Outcome
from engine.store.spill import SUFFIX


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFile:
    """The content of a side file; `unreadable` is the number of lines that cannot be read."""

    answers: Sequence[Outcome]
    replies: Sequence[CallReply]
    unreadable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How many entries of a side file were new to a store, and how many belong to another store."""

    answers: int
    replies: int
    foreign_answers: int
    foreign_replies: int


def find_side_files(folder: Path) -> dict[str, Path]:
    """The side files in a folder, by worker id, in alphabetical order; of living workers as well as of dead ones."""
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def read(path: Path) -> SideFile:
    """Read a side file, without a last line that was cut off; each answer and reply occurs once.

    Lines that cannot be read are counted and left out. Raises OSError, FileNotFoundError if another process
    has recovered it.
    """
    paid: dict[PaidKey, Paid] = {}
    unreadable = 0
    for line in path.read_bytes().partition(b"\0")[0].split(b"\n")[:-1]:
        try:
            one = from_line(line)
        except ValueError:
            unreadable += 1
        else:
            paid[key_of(one)] = one
    return SideFile(
        answers=[one for one in paid.values() if isinstance(one, Outcome)],
        replies=[one for one in paid.values() if isinstance(one, CallReply)],
        unreadable=unreadable,
    )


def find_answer(folder: Path, job_id: int, workers: Mapping[int, str]) -> bytes | None:
    """The latest answer to a job in the side files of a folder; None if there is none.

    `workers` are the workers of the job's attempts, by attempt number.
    """
    found: tuple[int, bytes] | None = None
    for worker_id, path in find_side_files(folder).items():
        if worker_id not in workers.values():
            continue
        try:
            answers = read(path).answers
        except FileNotFoundError:
            continue  # It was recovered meanwhile.
        for one in answers:
            is_of_job = one.job_id == job_id and workers.get(one.fence) == worker_id
            if is_of_job and one.answer and (found is None or one.fence > found[0]):
                found = one.fence, one.answer.raw
    return None if found is None else found[1]


def recover(connection: Connection, worker_id: str, left: SideFile) -> Recovery:
    """Store the content of a worker's side file, within a transaction, as far as it belongs to this store.

    Entries that are stored already change nothing. An answer belongs to this store if its attempt is here; a reply if
    its run is here, even without its job, because replies are stored by what was asked.
    """
    answers = recovery.select_known_answers(connection, worker_id, left.answers)
    replies = recovery.select_known_replies(connection, left.replies)
    return Recovery(
        # Before the answers, which release the quota that the replies are charged to.
        replies=calls.recover(connection, replies) if replies else 0,
        answers=sum(outcomes.settle(connection, answers)) if answers else 0,
        foreign_answers=len(left.answers) - len(answers),
        foreign_replies=len(left.replies) - len(replies),
    )


def remove(path: Path) -> None:
    """Remove a side file that was recovered by this process or another; one that is gone already is no error.

    Raises OSError if it cannot be removed.
    """
    path.unlink(missing_ok=True)
