"""What a chat sweep uses: built from its settings, then opened for a run."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.kinds import TARGET, CallLimit, Clock, UsageError
from jobs.chat.built_in import LocalModel
from jobs.chat.endpoint import ChatClient, ChatTarget, Endpoint
from jobs.chat.model_caller import JUDGE, ModelCaller, limits_for, model_caller_for
from jobs.chat.scorers import judge as judging
from jobs.chat.scorers.functions import load_function
from jobs.chat.scorers.json_schema import find_mistake
from jobs.chat.scorers.scoring import Scorers
from jobs.chat.scorers.settings import JsonSchema, JudgeModel, Similarity
from jobs.chat.settings import ASSUMED_TOKENS, ChatSettings
from jobs.chat.target import OpenTarget, Target, describe_settings

_JOBS_AT_ONCE = 100_000
"""No limit of its own: a job is one question, and lanes limit the jobs in flight."""


class ChatSetup:
    """The target and the judges that settings declare; `open` connects to them."""

    def __init__(self, settings: ChatSettings) -> None:
        self.settings = settings
        self.endpoint = settings.endpoint
        """The endpoint of the target; None for a model on this machine."""
        self.target: Target = _target_of(settings, self.endpoint)
        judges = settings.judges
        self.judges: Sequence[tuple[str, JudgeModel, Endpoint]] = [
            (JUDGE if len(judges) == 1 else f"{JUDGE} {judge.column}", judge, endpoint)
            for judge, endpoint in judges
        ]
        """Each judge with its role and its endpoint."""
        self._judge_targets = {
            judge.column: ChatTarget(endpoint, judge.generation)
            for _, judge, endpoint in self.judges
        }

    @cached_property
    def call_limits(self) -> Mapping[str, CallLimit]:
        """The limits of those that are asked, by role, without a model in this process."""
        limits = {
            role: self._judge_targets[judge.column].limits() for role, judge, _ in self.judges
        }
        found = limits_for(self.target)
        if self.settings.asks and found is not None:
            limits = {TARGET: found, **limits}
        return {role: one.call_limit for role, one in limits.items()}

    @property
    def scorers_fact(self) -> str:
        """The scorers as the value of a fact: all that decides what they say of a reply."""
        found: dict[str, Any] = {}
        for scorer in self.settings.scorers:
            options = scorer.model_dump(mode="json", exclude={"endpoint"})
            if isinstance(scorer, JudgeModel):
                options |= {
                    "version": judging.VERSION,
                    "target": self._judge_targets[scorer.column].identity,
                }
            found[scorer.column] = options
        return describe_settings(found) or "none"

    def mistakes(self, folder: Path) -> Mapping[str, str]:
        """Mistakes in the scorers that only show when files are read, by their place in the settings."""
        found: dict[str, str] = {}
        for place, scorer in enumerate(self.settings.scorers):
            path = f"scorers[{place}]"
            if isinstance(scorer, JsonSchema):
                if (mistake := find_mistake(scorer.described_by)) is not None:
                    found[f"{path}.schema"] = mistake
            elif isinstance(scorer, Similarity):
                try:
                    load_function(scorer.function, folder)
                except UsageError as error:
                    found[f"{path}.function"] = str(error)
        return found

    @asynccontextmanager
    async def open(self, clock: Clock, folder: Path) -> AsyncIterator["OpenChat"]:
        """Open the target and the judges, and load what the scorers need.

        With stored replies alone the target is not opened. Raises UsageError if a file, a function, an
        optional dependency or a key is missing.
        """
        for where, mistake in self.mistakes(folder).items():
            raise UsageError(f"service.{where}: {mistake}")
        functions: dict[str, Callable[[str, Any], Any]] = {
            scorer.column: load_function(scorer.function, folder)
            for scorer in self.settings.scorers
            if isinstance(scorer, Similarity)
        }
        async with AsyncExitStack() as stack:
            callers, chats = {}, {}
            for role, judge, _ in self.judges:
                target = self._judge_targets[judge.column]
                chats[role] = await stack.enter_async_context(target.open(clock, folder))
                callers[judge.column] = model_caller_for(
                    target, chats[role], role, jobs_at_once=_JOBS_AT_ONCE
                )
            opened = None
            if self.settings.asks:
                opened = await stack.enter_async_context(self.target.open(clock, folder))
            yield OpenChat(
                target=opened,
                caller=model_caller_for(self.target, opened, jobs_at_once=_JOBS_AT_ONCE),
                judges=chats,
                scorers=Scorers(
                    settings=self.settings.scorers, callers=callers, functions=functions
                ),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChat:
    """The open target, which is asked through `caller`, the judges by role, and the scorers.

    `target` is None if only stored replies are scored.
    """

    target: OpenTarget | None
    caller: ModelCaller
    judges: Mapping[str, ChatClient]
    scorers: Scorers


def _target_of(settings: ChatSettings, endpoint: Endpoint | None) -> Target:
    if endpoint is not None:
        return ChatTarget(
            endpoint,
            settings.generation,
            extra=settings.extra,
            assumed_tokens=ASSUMED_TOKENS,
        )
    path = None if settings.model_path is None else Path(settings.model_path)
    return LocalModel(settings.generation, path, context=settings.context)
