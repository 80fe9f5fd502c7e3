"""A local evaluator that tests a Python callable, for use in a registry."""

from collections.abc import Awaitable, Callable
from typing import Self

from pydantic import model_validator

from jobs.chat.target import CallableTarget, Question
from jobs.evaluator.service import LocalEvaluator
from jobs.evaluator.settings import LocalSettings


class _CallableSettings(LocalSettings):
    @model_validator(mode="after")
    def _check_no_other_target(self) -> Self:
        if self.endpoint is not None or self.model_path is not None:
            raise ValueError(
                "the target is a Python callable: leave out endpoint and model_path"
                " (judge and attacker have endpoints of their own)"
            )
        return self


class CallableEvaluator(LocalEvaluator):
    """The local evaluator with a Python callable as its target; see `evaluator_of`."""

    settings_model = _CallableSettings

    def __init__(self, name: str, answer: Callable[[Question], str | Awaitable[str]]) -> None:
        super().__init__(CallableTarget(name, answer))


def evaluator_of(
    name: str, answer: Callable[[Question], str | Awaitable[str]]
) -> CallableEvaluator:
    """The local evaluator with `answer` as its target: Registry(services={"local": ...}).

    `answer` is given a Question (`messages`, `model` and `seed`) and returns the reply. A plain function
    runs in threads, up to eight calls at once. `name` is part of every result's identity: change it when the
    answers change. A JobError from `answer` is used unchanged; any other exception counts as a transient
    failure of the job.
    """
    return CallableEvaluator(name, answer)
