"""The limits of a server: sizes, times and numbers of requests and connections."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Seconds = Annotated[float, Field(gt=0, le=86_400)]


class ServerLimits(BaseModel):
    """What a server accepts from its clients; a service's settings can inherit from it.

    `head_s` and `head_bytes` limit a request up to its body, `request_s` and `request_bytes` the body. A body may take
    longer while it arrives at `bytes_per_s`, and a client must read its answer at that pace too.
    `bodies_bytes` limits the bodies of all requests together, from their first byte until their requests have
    been handled. `idle_s` is how long a connection may wait for its next request. At most `connections`
    are open, at most `connections_per_peer` of them from one address. `retry_after_s` is sent with 429 and
    503. On shutdown, running requests get `grace_s` to end.
    """

    model_config = ConfigDict(frozen=True)

    retry_after_s: Annotated[int, Field(ge=1, le=3600)] = 10
    request_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    bodies_bytes: Annotated[int, Field(ge=1024, le=1024**4)] = 64 * 1024 * 1024
    request_s: Seconds = 30.0
    bytes_per_s: Annotated[int, Field(ge=1, le=1024 * 1024 * 1024)] = 1024
    head_s: Seconds = 20.0
    head_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024)] = 16 * 1024
    idle_s: Annotated[int, Field(ge=1, le=86_400)] = 30
    connections: Annotated[int, Field(ge=1, le=100_000)] = 1024
    connections_per_peer: Annotated[int, Field(ge=1, le=100_000)] = 256
    grace_s: Annotated[float, Field(ge=0, le=3600)] = 30.0

    @model_validator(mode="after")
    def _require_room_for_one_request(self) -> Self:
        if self.bodies_bytes < self.request_bytes:
            raise ValueError(
                f"bodies_bytes: {self.bodies_bytes} is less than request_bytes ({self.request_bytes}), so the"
                " largest request could never be read; raise bodies_bytes, or lower request_bytes"
            )
        return self
