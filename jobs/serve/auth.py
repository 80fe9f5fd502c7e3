"""Who asks: the key of a request, looked up before anything else of it is believed."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar

from fastapi import Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from engine.serving.errors import ApiError
from jobs.serve.ledger import Key, Ledger

KeyHeader = Annotated[str, Header(alias="cbl-api-key", description="A key of this service.")]


async def caller(request: Request, cbl_api_key: KeyHeader) -> Key:
    """The key of the request; raises ApiError (401) where it is unknown or revoked."""
    return await known_key(request, cbl_api_key, header="cbl-api-key")


async def known_key(request: Request, secret: str, *, header: str) -> Key:
    """The key that a header of the request holds, looked up once; raises ApiError (401) like `caller`."""
    found: Key | None = getattr(request.state, "key", None)
    if found is not None:
        return found
    key = await ledger_of(request).find_key(secret)
    if key is None:
        raise ApiError(401, f"the key in the header {header} is not known, or was revoked")
    # For the access log, which says who asked and never with what.
    request.state.key_name = key.name
    request.state.key = key
    return key


def ledger_of(request: Request) -> Ledger:
    """The ledger of the running service."""
    ledger = request.app.state.ledger
    assert isinstance(ledger, Ledger)
    return ledger


class KeyedRoute(APIRoute):
    """A call that looks up the key before it parses a body.

    FastAPI parses first, and 1 MiB of empty lists takes more than 20 MiB as objects and blocks the event loop
    meanwhile. So a request without a valid key is refused before its body is parsed.
    """

    key_header: ClassVar[str] = "cbl-api-key"

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the call, behind the look-up."""
        answered = super().get_route_handler()
        if self.body_field is None:
            return answered
        header = self.key_header

        async def keyed(request: Request) -> Response:
            secret = request.headers.get(header)
            if secret is None:
                problem = {"loc": ("header", header), "msg": "Field required", "type": "missing"}
                raise RequestValidationError([problem])
            await known_key(request, secret, header=header)
            return await answered(request)

        return keyed


Caller = Annotated[Key, Depends(caller)]
