"""A reply as the rules read it: normalised, cut into sentences, each with its place in the original."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_STRAIGHT = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"'}
)
_SPELLING = {**dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"), "_": " "}
_END = re.compile(
    r"[.!?\u2026]+[\"')\]*_]*(?=\s|$)|[\u3002\uff01\uff1f]+[\"')\]\u201d\u300d\u300f]*"
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence: `text` is lower case, with plain quotes and single spaces.

    `origins[i]` is the place in the reply of the character text[i]; `paragraph` counts lines.
    """

    text: str
    origins: tuple[int, ...]
    paragraph: int

    def place(self, start: int, end: int) -> tuple[int, int]:
        """Where text[start:end] stands in the reply."""
        return self.origins[start], self.origins[end - 1] + 1

    @property
    def is_question(self) -> bool:
        return "?" in self.text


def sentences(reply: str) -> tuple[Sentence, ...]:
    """The sentences of a reply, in order; a line break ends one too."""
    found = []
    offset = 0
    for paragraph, line in enumerate(reply.split("\n")):
        start = 0
        for end in [*(match.end() for match in _END.finditer(line)), len(line)]:
            text, origins = _normalise(line[start:end], offset + start)
            if text:
                found.append(Sentence(text, origins, paragraph))
            start = end
        offset += len(line) + 1
    return tuple(found)


def count_words(text: str) -> int:
    """Words between spaces; where a script has none, two of its characters count as one."""
    wide = sum(c.isalpha() and unicodedata.east_asian_width(c) == "W" for c in text)
    return max(len(text.split()), wide // 2)


def normalise(text: str) -> str:
    """Text in the spelling of Sentence.text, on one line."""
    return _normalise(text, 0)[0]


def locate(quote: str, text: str) -> tuple[int, int] | None:
    """Where a quotation stands in a text, spelling of quotes, case and spaces aside; None if nowhere."""
    sought = normalise(quote).strip(" .\u2026\"'")
    if not sought:
        return None
    plain, origins = _normalise(text, 0)
    at = plain.find(sought)
    return None if at < 0 else (origins[at], origins[at + len(sought) - 1] + 1)


def _normalise(text: str, offset: int) -> tuple[str, tuple[int, ...]]:
    characters: list[str] = []
    origins: list[int] = []
    for place, character in _plain(text, offset):
        if character == " " and (not characters or characters[-1] == " "):
            continue
        characters.append(character)
        origins.append(place)
    while characters and characters[-1] == " ":
        characters.pop()
        origins.pop()
    return "".join(characters), tuple(origins)


def _plain(text: str, offset: int) -> Iterator[tuple[int, str]]:
    for place, character in enumerate(text, offset):
        # Format characters hide a word from a reader of patterns, not from a person.
        if unicodedata.category(character) == "Cf" or character in "*`#>":
            continue
        for plain in unicodedata.normalize("NFKC", character).translate(_STRAIGHT).lower():
            yield place, _SPELLING.get(plain, " " if plain.isspace() else plain)
