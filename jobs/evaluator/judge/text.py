"""Reply text normalised for matching and split into sentences that map back to the original."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

_STRAIGHT = str.maketrans(
    {"\u2018": "'", "\u2019": "'", "\u02bc": "'", "\u201c": '"', "\u201d": '"'}
)
_SPELLING = {**dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"), "_": " "}
_SENTENCE_END = re.compile(
    r"[.!?\u2026]+[\"')\]*_]*(?=\s|$)|[\u3002\uff01\uff1f]+[\"')\]\u201d\u300d\u300f]*"
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of a reply, normalised: lower case, straight quotes, single spaces.

    `origins[i]` is the index in the reply of the character `text[i]`; `paragraph` is the number of
    its line in the reply, from 0.
    """

    text: str
    origins: tuple[int, ...]
    paragraph: int

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """The start and end in the reply of `text[start:end]`, which must not be empty."""
        return self.origins[start], self.origins[end - 1] + 1

    @property
    def is_question(self) -> bool:
        return "?" in self.text


def split_sentences(reply: str) -> tuple[Sentence, ...]:
    """Split a reply into its sentences, in order; a line break also ends a sentence.

    Their text is normalised, and maps back to the reply; sentences without text are left out.
    """
    found = []
    offset = 0
    for paragraph, line in enumerate(reply.split("\n")):
        start = 0
        for end in [*(match.end() for match in _SENTENCE_END.finditer(line)), len(line)]:
            text, origins = _normalise_with_origins(line[start:end], offset + start)
            if text:
                found.append(Sentence(text, origins, paragraph))
            start = end
        offset += len(line) + 1
    return tuple(found)


def count_words(text: str) -> int:
    """Count words between spaces; in scripts without spaces, two characters count as one word."""
    wide = sum(c.isalpha() and unicodedata.east_asian_width(c) == "W" for c in text)
    return max(len(text.split()), wide // 2)


def normalise(text: str) -> str:
    """Normalise text as in `Sentence.text`, onto one line."""
    return _normalise_with_origins(text, 0)[0]


def locate(quote: str, text: str) -> tuple[int, int] | None:
    """Find a quotation in a text, ignoring case, spacing and the style of quotation marks.

    Returns its start and end in `text`, or None if it does not occur.
    """
    sought = normalise(quote).strip(" .\u2026\"'")
    if not sought:
        return None
    plain, origins = _normalise_with_origins(text, 0)
    at = plain.find(sought)
    return None if at < 0 else (origins[at], origins[at + len(sought) - 1] + 1)


def _normalise_with_origins(text: str, offset: int) -> tuple[str, tuple[int, ...]]:
    characters: list[str] = []
    origins: list[int] = []
    for origin, character in _plain_characters(text, offset):
        if character == " " and (not characters or characters[-1] == " "):
            continue
        characters.append(character)
        origins.append(origin)
    while characters and characters[-1] == " ":
        characters.pop()
        origins.pop()
    return "".join(characters), tuple(origins)


def _plain_characters(text: str, offset: int) -> Iterator[tuple[int, str]]:
    for origin, character in enumerate(text, offset):
        # An invisible format character inside a word would keep the patterns from matching it.
        if unicodedata.category(character) == "Cf" or character in "*`#>":
            continue
        for plain in unicodedata.normalize("NFKC", character).translate(_STRAIGHT).lower():
            yield origin, _SPELLING.get(plain, " " if plain.isspace() else plain)
