"""Checks whether an endpoint lists the models of a sweep, and whether they answer."""

from collections.abc import Collection, Sequence

import anyio

from engine.kinds import Check, JobError, KeyRenewed, describe_error, nearest, suggestion
from jobs.chat.endpoint import ChatClient
from jobs.chat.listing import is_listed
from jobs.chat.model_caller import SHORT_QUESTION
from jobs.chat.target import OpenTarget, Question

_AT_ONCE = 4


async def find_listed(
    target: OpenTarget, models: Sequence[str], role: str = "model"
) -> Sequence[Check]:
    """Check whether a target lists the models; empty if it has no list. Sends nothing that is charged.

    A model whose name is close to a listed one is probably misspelt: an error. Another may be an alias that
    the list leaves out: a warning.
    """
    listed = await _list_models(target)
    if not listed:
        return ()
    missing = [model for model in models if not is_listed(model, listed)]
    if not missing:
        return (Check(name=f"{role}s", ok=True, message="all are on the endpoint's list"),)
    found = []
    for model in missing:
        is_misspelt = nearest(model, listed) is not None
        message = f"{_describe_unlisted(model, listed)}; `check --ask` finds out whether it answers"
        text = message if is_misspelt else f"warning: {message}"
        found.append(Check(name=f"{role} {model}", ok=not is_misspelt, message=text))
    return found


async def ask_each(target: OpenTarget, models: Sequence[str]) -> Sequence[Check]:
    """Ask each model one short question, listed or not, a few at the same time; these calls are charged.

    Returns a check for each model, in the order of `models`: its error if it did not answer.
    """
    listed = await _list_models(target)
    found: dict[str, Check] = {}
    at_once = anyio.CapacityLimiter(_AT_ONCE)

    async def one(model: str) -> None:
        async with at_once:
            problem = await _find_problem(target, model)
        message = "answered" if problem is None else problem
        if problem is not None and listed and not is_listed(model, listed):
            message += f"; {_describe_unlisted(model, listed)}"
        found[model] = Check(name=f"model {model}", ok=problem is None, message=message)

    async with anyio.create_task_group() as group:
        for model in models:
            group.start_soon(one, model, name=f"question to {model}")
    return [found[model] for model in models]


async def _list_models(target: OpenTarget) -> Collection[str]:
    if not isinstance(target, ChatClient):
        return ()
    try:
        return await target.models()
    except JobError:
        # The check of the target has reported why.
        return ()


async def _find_problem(target: OpenTarget, model: str) -> str | None:
    question = Question(model=model, messages=SHORT_QUESTION, seed=0)
    try:
        try:
            await target.reply(question)
        except KeyRenewed:
            await target.reply(question)
    except JobError as error:
        return describe_error(error)
    return None


def _describe_unlisted(model: str, listed: Collection[str]) -> str:
    return f"the endpoint does not list it{suggestion(model, listed)}"
