"""The pages of the documentation and the examples in them."""

import re
from collections.abc import Iterator

from tests.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(language: str, page: str = "") -> Iterator[tuple[str, str]]:
    """The examples in a language, each with its place: of all pages, or of the one at a path."""
    for path in [ROOT / page] if page else PAGES:
        found = re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)
        for number, block in enumerate(found, 1):
            yield f"{path.relative_to(ROOT)} {number}", block
