"""Which sentences of a reply are eligible for credit, for every judge.

A sentence earns no credit if it addresses the judge, is code or markup, repeats the user's own
message, or lists bare keywords.
"""

import re
from collections.abc import Sequence

from jobs.chat.target import Message, Role
from jobs.evaluator.judge.lexicon import Lexicon, read_lexicon
from jobs.evaluator.judge.text import Sentence, count_words, normalise

_ECHO_WORDS_MIN = 4
_LIST_WORDS_MIN = 8
_FUNCTION_SHARE_MIN = 0.2
_MARKUP = re.compile(r"[{}]|</?[a-z!?]|\[/?[a-z_]+\]|\"\w+\"\s*:|^\s*```", re.IGNORECASE)


def join_user_messages(messages: Sequence[Message]) -> str:
    """Join all that the user wrote in a conversation, one message a line."""
    return "\n".join(message.content for message in messages if message.role is Role.USER)


def eligible_sentences(
    sentences: Sequence[Sentence], reply: str, asked: str, *, is_english: bool = True
) -> list[Sentence]:
    """The sentences of `reply` that are eligible for credit; `asked` is what the user wrote.

    Lists of bare keywords are recognised in English only.
    """
    lexicon, _ = read_lexicon()
    markup = _markup_lines(reply)
    addressed = {
        sentence.paragraph
        for sentence in sentences
        if any(pattern.search(sentence.text) for pattern in lexicon.judge_address)
    }
    plain_asked = normalise(asked)
    return [
        sentence
        for sentence in sentences
        if sentence.paragraph not in markup | addressed
        and not _is_echo(sentence.text, plain_asked)
        and not (is_english and _is_keyword_list(sentence.text, lexicon))
    ]


def _is_echo(text: str, asked: str) -> bool:
    return count_words(text) >= _ECHO_WORDS_MIN and text.strip(" \"'.!?") in asked


def _is_keyword_list(text: str, lexicon: Lexicon) -> bool:
    words = re.findall(r"[a-z']+", text)
    function_words = lexicon.function_words.split()
    count = sum(word in function_words for word in words)
    return len(words) >= _LIST_WORDS_MIN and count < _FUNCTION_SHARE_MIN * len(words)


def _markup_lines(reply: str) -> set[int]:
    """The numbers of the lines that are code or markup, fenced blocks included."""
    found = set()
    fenced = False
    for number, line in enumerate(reply.split("\n")):
        fence = line.lstrip().startswith("```")
        if fence or fenced or _MARKUP.search(line):
            found.add(number)
        fenced ^= fence
    return found
