"""What tells the settings of a sweep apart: their labels, and the digests of their prompts and documents."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from engine.core.axes import Scalar
from engine.core.rows import short_digest
from engine.store import JobRow

Identity: TypeAlias = tuple[tuple[Any, ...], tuple[str | None, ...]]
"""The labels on some axes, and the digests of their contents as rows have them: None where there is no content."""


class Identifier:
    """Finds the identities of jobs on some axes.

    Jobs that follow each other mostly share their documents, whose digests and names are then looked up once.
    """

    def __init__(
        self, fields: Sequence[str], names: Mapping[str, Mapping[str, Scalar]] | None = None
    ) -> None:
        self._fields = fields
        self._places = {field: place for place, field in enumerate(fields)}
        self._names = names or {}
        self._documents: Mapping[str, str] = {}
        self._digests: tuple[str | None, ...] = (None,) * len(fields)
        self._current: Mapping[int, Scalar] = {}

    def find(self, job: JobRow) -> Identity:
        """The identity of a job, with the current names of its prompts and documents."""
        if job.documents is not self._documents:
            self._look_up(job.documents)
        labels = list(map(job.labels.get, self._fields))
        for place, name in self._current.items():
            labels[place] = name
        return tuple(labels), self._digests

    def of_cell(self, labels: Mapping[str, Any], documents: Mapping[str, str]) -> Identity:
        """The identity of a cell, whose labels have the current names."""
        if documents is not self._documents:
            self._look_up(documents)
        return tuple(map(labels.get, self._fields)), self._digests

    def _look_up(self, documents: Mapping[str, str]) -> None:
        contents = {
            self._places[field]: (content, self._names.get(field, {}))
            for field, content in documents.items()
            if field in self._places
        }
        digests: list[str | None] = [None] * len(self._fields)
        for place, (content, _) in contents.items():
            digests[place] = short_digest(content)
        self._digests = tuple(digests)
        self._current = {
            place: names[content]
            for place, (content, names) in contents.items()
            if content in names
        }
        self._documents = documents
