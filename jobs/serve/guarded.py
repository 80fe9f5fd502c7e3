"""Who asks: the key of a request, looked up before anything else of it is believed."""

from typing import Annotated

from fastapi import Depends, Header, Request

from jobs.serve.ledger import Key, Ledger
from jobs.serve.refusals import Refused

KeyHeader = Annotated[str, Header(alias="cbl-api-key", description="A key of this service.")]


async def caller(request: Request, cbl_api_key: KeyHeader) -> Key:
    """The key of the request; raises Refused (401) where it is unknown or revoked."""
    return await known_key(request, cbl_api_key, header="cbl-api-key")


async def known_key(request: Request, secret: str, *, header: str) -> Key:
    """The key that a header of the request holds; raises Refused (401) like `caller`."""
    key = await ledger_of(request).key(secret)
    if key is None:
        raise Refused(401, f"the key in the header {header} is not known, or was revoked")
    # For the access log, which says who asked and never with what.
    request.state.key_name = key.name
    return key


def ledger_of(request: Request) -> Ledger:
    """The ledger of the running service."""
    ledger = request.app.state.ledger
    assert isinstance(ledger, Ledger)
    return ledger


Caller = Annotated[Key, Depends(caller)]
