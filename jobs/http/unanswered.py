"""The reasons why a question has no reply, which errors carry and rows count."""

from enum import StrEnum


class Unanswered(StrEnum):
    """The `reason` of an error in place of a reply; its message contains the reason's `words`.

    A question with one of these is neither scored nor counted as safe.
    """

    MODERATED = "moderated"
    EMPTY = "empty"
    TOKEN_LIMIT = "token_limit"  # noqa: S105 (a name, not a password)
    TOOL_CALL = "tool_call"
    BROKEN_OFF = "broken_off"
    UNREADABLE = "unreadable"
    TIMED_OUT = "timed_out"
    ERROR = "error"
    JUDGE = "judge"
    ATTACKER = "attacker"
    NOT_KEPT = "not_kept"

    @property
    def words(self) -> str:
        """The reason as text for people."""
        return _WORDS[self]


_WORDS = {
    Unanswered.MODERATED: "the provider's moderation withheld the reply",
    Unanswered.EMPTY: "the reply is empty",
    Unanswered.TOKEN_LIMIT: "the token limit was reached before the reply began: raise max_tokens",
    Unanswered.TOOL_CALL: "the model called a tool and wrote no reply",
    Unanswered.BROKEN_OFF: "the reply broke off",
    Unanswered.UNREADABLE: "the answer is not a chat completion",
    Unanswered.TIMED_OUT: "there was no whole reply in time",
    Unanswered.ERROR: "the endpoint reported an error in place of a reply",
    Unanswered.JUDGE: "the judge gave no judgement that can be used",
    Unanswered.ATTACKER: "the attacker wrote nothing that can be used",
    Unanswered.NOT_KEPT: "no reply is kept, and a run that judges again asks for none",
}
