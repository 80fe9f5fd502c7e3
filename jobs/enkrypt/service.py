"""The service as sweep files name it: `kind: enkrypt`, with the evaluation model_health."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from engine.kinds import (
    Answer,
    Check,
    Clock,
    DocumentAxis,
    Job,
    JobContext,
    JobKind,
    Service,
    ServiceSettings,
    Unauthorized,
    UsageError,
    packaged_yaml,
)
from jobs.enkrypt.client import DEADLINE_S, ApiSettings, Client
from jobs.enkrypt.schema import endpoint_schema, read_endpoint
from jobs.http import keep_unread_on_error, note_redacted

LONGEST_DEADLINE_S = 900.0


class EnkryptSettings(ServiceSettings, ApiSettings):
    """Enkrypt AI: whether models are healthy."""

    # A literal key in place of a reference must not appear in the error.
    model_config = ConfigDict(hide_input_in_errors=True)

    deadline_s: Annotated[
        float, Field(gt=0, le=LONGEST_DEADLINE_S, description="How long one question may take.")
    ] = DEADLINE_S


class ModelHealthKind(JobKind):
    """Whether the model of each endpoint answers a plain question, at no cost in quota.

    A job whose endpoint names a missing key raises Unauthorized, which stops its lane and fails no job.
    """

    name = "model_health"
    axes = (
        DocumentAxis(
            name="models",
            field="model",
            read=read_endpoint,
            schema=endpoint_schema,
            description="Endpoint configurations, inline or in files: {file: endpoints/*.json}.",
        ),
    )
    deadline_s = LONGEST_DEADLINE_S

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        return 0

    async def run(self, job: Job, client: Client, context: JobContext) -> Answer:
        try:
            async with keep_unread_on_error(context):
                answer, reply = await client.model_health(job.parameters["model"])
        except UsageError as error:
            # The endpoint's own key is missing, which the user has to set: stop the lane, fail no job.
            raise Unauthorized(str(error), sent=False) from None
        await note_redacted(context, reply.where, reply.redacted)
        return Answer(raw=reply.body, measurement=client.measure(answer))


class Enkrypt(Service):
    """Enkrypt AI under one key. It has one evaluation, `model_health`, and no call that tests the key."""

    settings_model = EnkryptSettings
    settings: EnkryptSettings

    @property
    def identity(self) -> str:
        return self.settings.base_url

    @property
    def credential(self) -> str:
        return self.settings.api_key

    def templates(self) -> Mapping[str, str]:
        return packaged_yaml("jobs.enkrypt", "templates")

    def kinds(self) -> Sequence[JobKind]:
        return (ModelHealthKind(),)

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[Client]:
        async with self.settings.client(clock, self.secret, self.folder) as client:
            yield client

    def notices(self) -> Sequence[str]:
        return self.settings.notices(self.settings.base_url)

    async def check(self, client: Client) -> Sequence[Check]:
        message = f"{self.credential} is set; the service has no call that tests a key at no cost"
        return [Check(name="key", ok=True, message=message)]
