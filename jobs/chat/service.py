"""`service: {kind: chat}`: completions of any OpenAI-compatible endpoint or of a model on this machine."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from engine.kinds import (
    TARGET,
    Check,
    Clock,
    JobKind,
    Price,
    Service,
    UsageError,
    packaged_yaml,
)
from jobs.chat.checking import ask_each, find_listed
from jobs.chat.completion import CompletionKind
from jobs.chat.prices import price_of
from jobs.chat.settings import ChatSettings
from jobs.chat.setup import ChatSetup, OpenChat

_JUDGING = "scorers"
"""The setting that can change when stored replies are scored again."""


class Chat(Service):
    """Asks models each input of a sweep, and has scorers look at the replies."""

    settings_model = ChatSettings
    settings: ChatSettings

    def with_settings(self, settings: ChatSettings, folder: Path = Path()) -> Self:
        return super().with_settings(settings.within(folder), folder)

    @cached_property
    def _setup(self) -> ChatSetup:
        return ChatSetup(self.settings)

    @property
    def identity(self) -> str:
        return f"chat:{self._setup.target.address}"

    @property
    def address(self) -> str:
        return self.identity if self.settings.base_url is None else f"chat:{self.settings.base_url}"

    @property
    def credential(self) -> str:
        if not self.settings.asks:
            # The target is not asked, so rates and waits of its key do not apply.
            return "kept replies"
        endpoint = self._setup.endpoint
        return "" if endpoint is None else endpoint.credential

    def templates(self) -> Mapping[str, str]:
        return packaged_yaml("jobs.chat", "templates")

    def mistakes(self) -> Mapping[str, str]:
        return self._setup.mistakes(self.folder)

    def judging_again(self, judging: Mapping[str, Any], *, asks_missing: bool) -> Mapping[str, Any]:
        if unknown := sorted(set(judging).difference({_JUDGING})):
            raise UsageError(
                f"{unknown[0]} is no setting of a chat sweep's scoring: change {_JUDGING} in its file and"
                " give it another name; the replies that the store has are used again"
            )
        return {
            **self.settings.model_dump(mode="json"),
            **judging,
            "replies": "ask" if asks_missing else "kept",
        }

    def kinds(self) -> Sequence[JobKind]:
        return (CompletionKind(self._setup if self.has_settings else None),)

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[OpenChat]:
        async with self._setup.open(clock, self.folder) as client:
            yield client

    def notices(self) -> Sequence[str]:
        endpoint = self._setup.endpoint
        asked = [] if endpoint is None else [endpoint]
        asked += [endpoint for _, _, endpoint in self._setup.judges]
        return list(dict.fromkeys(notice for one in asked for notice in one.notices(one.base_url)))

    def price(self, role: str, endpoint: str, model: str) -> Price | None:
        own = self._setup.endpoint
        asked = {role: endpoint for role, _, endpoint in self._setup.judges}
        if own is not None:
            asked[TARGET] = own
        found = asked.get(role)
        # Usage at another endpoint, from before the settings changed, has other prices.
        if found is None or found.address != endpoint:
            return None
        return price_of(model, found.prices)

    async def check(self, client: OpenChat) -> Sequence[Check]:
        """Check the target and the judges; loads a local model.

        Endpoints are only asked for their lists of models, which costs nothing. One that does not answer is
        a failed check.
        """
        target = () if client.target is None else await client.target.check()
        judges = []
        for role, chat in client.judges.items():
            [reached] = await chat.check()
            judges.append(Check(name=role, ok=reached.ok, message=reached.message))
        return (*target, *judges)

    async def check_models(
        self, client: OpenChat, models: Sequence[str], *, ask: bool
    ) -> Sequence[Check]:
        """Check the models of the sweep, then those of the judges: on the endpoints' lists, or by asking them."""
        check = ask_each if ask else find_listed
        found = [] if client.target is None else [*await check(client.target, models)]
        for role, judge, _ in self._setup.judges:
            chat, named = client.judges[role], [judge.model]
            found += await (
                ask_each(chat, named) if ask else find_listed(chat, named, f"{role}'s model")
            )
        return found
