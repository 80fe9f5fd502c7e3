"""Conditions on the labels of jobs as SQL."""

import re
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, or_

from engine.store.json_columns import has_other_than_ascii, is_number, text_of
from engine.store.schema import job

_DOCUMENTS_MAX = 1_000
"""The most prompts or documents that are searched for by their digests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelLike:
    """A condition on a label of jobs, or on their lane, as in `JobFilter.where`.

    Every job that meets the condition is read, and few others: what is read has to be checked.
    """

    name: str
    """The field of an axis, `repeat` or `lane`."""
    pattern: str
    documents: Collection[str] = ()
    """The digests of prompts or documents whose present name is like the pattern."""


def conditions_on(labels: Iterable[LabelLike]) -> Iterator[ColumnElement[bool]]:
    """The conditions that SQL can tell: all jobs meet them whose labels are like the patterns."""
    for label in labels:
        if (condition := _may_be_like(label)) is not None:
            yield condition


def _may_be_like(label: LabelLike) -> ColumnElement[bool] | None:
    """A condition that all jobs meet whose label is like a pattern; None if SQL cannot tell.

    SQLite ignores case only in ASCII, so jobs whose labels have other characters meet the condition, too.
    """
    pattern = label.pattern.casefold()
    if '"' in label.name or pattern in ("true", "false") or len(label.documents) > _DOCUMENTS_MAX:
        return None
    source, text = job.c.lane, func.coalesce(job.c.lane, "")
    if label.name != "lane":
        source, text = job.c.labels, func.coalesce(text_of(job.c.labels, label.name), "")
    like = re.sub(r"[%_\\]", r"\\\g<0>", pattern).replace("*", "%").replace("?", "_")
    found = [
        func.lower(text).like(like, escape="\\"),
        has_other_than_ascii(source),
    ]
    if label.name != "lane":
        with suppress(ValueError):
            # A number may be written in several ways.
            found.append(is_number(job.c.labels, label.name, float(pattern)))
    if label.documents:
        found.append(text_of(job.c.documents, label.name).in_(sorted(label.documents)))
    return or_(*found)
