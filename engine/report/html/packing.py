"""The texts of findings, compressed in pages that the browser opens one by one when they are wanted."""

import gzip
import json
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.core.findings import Finding

BUDGET = 3_500_000
"""The most characters that all pages and their index take in the file."""
_PAGE_BYTES = 128 * 1024
"""About the size of a page before compression: what is read for one finding."""
_INDEX_BYTES_EACH = 24
"""What a finding takes in the index, at most, once it is compressed and encoded."""
_LEVEL = 9
_MOST_REFUSED = 4
"""The pages in a row for which there is no room after which the file is full: compressing takes time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedFindings:
    """Findings as a file has them: an index of all, and pages of their texts, as base64 of gzip of JSON."""

    index: str
    pages: tuple[str, ...]
    count: int


def pack(findings: Sequence[Finding], axes: Sequence[str], budget: int = BUDGET) -> PackedFindings:
    """Pack findings in their order until the budget is used up; what follows is left out.

    `axes` are the fields of the labels that the index has. A page that is too large for what is left of the
    budget is left out, and what follows is tried, so that one enormous text hides nothing else.
    """
    pages: list[str] = []
    packed: list[tuple[Finding, int]] = []
    left, refused = budget, 0
    for page in _paginate(findings):
        content = _encode([_text_document(one) for one in page])
        cost = len(content) + _INDEX_BYTES_EACH * len(page)
        if cost > left:
            refused += 1
            if refused == _MOST_REFUSED:
                break
            continue
        left, refused = left - cost, 0
        packed += [(one, len(pages)) for one in page]
        pages.append(content)
    index = _encode(_index_document(packed, axes))
    return PackedFindings(index=index, pages=tuple(pages), count=len(packed))


def _paginate(findings: Iterable[Finding]) -> Iterator[list[Finding]]:
    """Divide findings into pages of about equal size; one that is larger than a page has its own."""
    page: list[Finding] = []
    size = 0
    for one in findings:
        more = size_of(one)
        if page and size + more > _PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(one)
        size += more
    if page:
        yield page


def size_of(finding: Finding) -> int:
    """About how many characters the texts of a finding have."""
    evidence = "" if finding.evidence is None else json.dumps(finding.evidence, default=str)
    return 64 + len(evidence) + sum(len(one.content) for one in finding.messages)


def _text_document(finding: Finding) -> Mapping[str, Any]:
    return {
        "messages": [[one.role, one.content] for one in finding.messages],
        "evidence": finding.evidence,
        "values": dict(finding.values),
        "number": finding.number,
        "parent": finding.parent,
    }


class _Numbers:
    """Numbers for texts, in the order in which they come first."""

    def __init__(self) -> None:
        self.texts: dict[Any, int] = {}

    def number(self, text: Any) -> int:
        return self.texts.setdefault(text, len(self.texts))


def _index_document(packed: Sequence[tuple[Finding, int]], axes: Sequence[str]) -> dict[str, Any]:
    """What the browser filters by, column by column: labels, cases and thresholds as numbers of lists."""
    labels = {axis: _Numbers() for axis in axes}
    cases, thresholds = _Numbers(), _Numbers()
    columns: dict[str, list[int]] = {
        axis: [labels[axis].number(_shown(one.labels.get(axis))) for one, _ in packed]
        for axis in axes
    }
    return {
        "columns": columns,
        "labels": {axis: list(numbers.texts) for axis, numbers in labels.items()},
        "case": [cases.number(one.case) for one, _ in packed],
        "cases": list(cases.texts),
        "threshold": [thresholds.number(one.thresholds) for one, _ in packed],
        "thresholds": list(thresholds.texts),
        "layer": [one.layer for one, _ in packed],
        "score": [one.score for one, _ in packed],
        "job": [one.job for one, _ in packed],
        "page": [page for _, page in packed],
    }


def _shown(label: Any) -> str:
    """A label as filters and the address have it."""
    return "" if label is None else str(label)


def _encode(document: Any) -> str:
    """JSON as base64 of gzip; lone surrogates, which no encoding has, stay as the escapes of JSON."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), default=str)
    try:
        content = text.encode()
    except UnicodeEncodeError:
        content = json.dumps(document, separators=(",", ":"), default=str).encode()
    return compress(content)


def compress(content: bytes) -> str:
    """Bytes as base64 of gzip, which the page's script opens."""
    return b64encode(gzip.compress(content, _LEVEL, mtime=0)).decode()
