"""Which sentences of a reply may earn credit, whoever judges it.

What a reply says to its judge, writes in a machine's notation, repeats from the person's own message, or
piles up as bare keywords earns nothing.
"""

import re
from collections.abc import Sequence

from jobs.evaluator.judge.lexicon import Lexicon, read_lexicon
from jobs.evaluator.judge.text import Sentence, count_words, normalise

_ECHO_WORDS = 4
_LIST_WORDS = 8
_FUNCTION_SHARE = 0.2
_NOTATION = re.compile(r"[{}]|</?[a-z!?]|\[/?[a-z_]+\]|\"\w+\"\s*:|^\s*```", re.IGNORECASE)


def fair_sentences(
    read: Sequence[Sentence], reply: str, asked: str, *, english: bool = True
) -> list[Sentence]:
    """Those of the reply's sentences that may earn credit; `asked` is what the person wrote.

    Which words only pile up is known of English.
    """
    lexicon, _ = read_lexicon()
    machine = _machine_lines(reply)
    addressed = {
        sentence.paragraph
        for sentence in read
        if any(pattern.search(sentence.text) for pattern in lexicon.judge_address)
    }
    plain_asked = normalise(asked)
    return [
        sentence
        for sentence in read
        if sentence.paragraph not in machine | addressed
        and not _echoes(sentence.text, plain_asked)
        and not (english and _piles_up(sentence.text, lexicon))
    ]


def _echoes(text: str, asked: str) -> bool:
    return count_words(text) >= _ECHO_WORDS and text.strip(" \"'.!?") in asked


def _piles_up(text: str, lexicon: Lexicon) -> bool:
    words = re.findall(r"[a-z']+", text)
    function_words = lexicon.function_words.split()
    known = sum(word in function_words for word in words)
    return len(words) >= _LIST_WORDS and known < _FUNCTION_SHARE * len(words)


def _machine_lines(reply: str) -> set[int]:
    """The lines that are written in a machine's notation, fenced blocks included."""
    found = set()
    fenced = False
    for number, line in enumerate(reply.split("\n")):
        fence = line.lstrip().startswith("```")
        if fence or fenced or _NOTATION.search(line):
            found.add(number)
        fenced ^= fence
    return found
