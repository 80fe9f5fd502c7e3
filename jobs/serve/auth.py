"""Authentication: a request's key, looked up before its body is parsed."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, ClassVar

from fastapi import Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute

from engine.serving.errors import ApiError
from jobs.serve.ledger import Key, Ledger

KeyHeader = Annotated[str, Header(alias="cbl-api-key", description="A key of this service.")]


async def require_caller(request: Request, cbl_api_key: KeyHeader) -> Key:
    """The key of the request in the header `cbl-api-key`.

    Raises ApiError (401) if it is unknown or was revoked.
    """
    return await require_key(request, cbl_api_key, header="cbl-api-key")


async def require_key(request: Request, secret: str, *, header: str) -> Key:
    """The key with the text `secret`, looked up once per request.

    `header` names the header that holds it. Raises ApiError (401) if the key is unknown or revoked.
    """
    found: Key | None = getattr(request.state, "key", None)
    if found is not None:
        return found
    key = await ledger_of(request).find_key(secret)
    if key is None:
        raise ApiError(401, f"the key in the header {header} is unknown or was revoked")
    # For the access log, which shows the name of the key and never its text.
    request.state.key_name = key.name
    request.state.key = key
    return key


def ledger_of(request: Request) -> Ledger:
    """The ledger of the running service."""
    ledger = request.app.state.ledger
    assert isinstance(ledger, Ledger)
    return ledger


class AuthenticatedRoute(APIRoute):
    """A route that looks up the key before FastAPI parses the body.

    Parsing 1 MiB of empty lists takes more than 20 MiB and blocks the event loop meanwhile, so it is not
    done for a request without a valid key.
    """

    key_header: ClassVar[str] = "cbl-api-key"

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of the route, after the key is looked up."""
        handle = super().get_route_handler()
        if self.body_field is None:
            return handle
        header = self.key_header

        async def authenticate_and_handle(request: Request) -> Response:
            secret = request.headers.get(header)
            if secret is None:
                problem = {"loc": ("header", header), "msg": "Field required", "type": "missing"}
                raise RequestValidationError([problem])
            await require_key(request, secret, header=header)
            return await handle(request)

        return authenticate_and_handle


Caller = Annotated[Key, Depends(require_caller)]
