"""Prompts and other large contents, each stored once under its digest.

Every function runs inside a transaction of the caller.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from engine.store.dialect import insert
from engine.store.schema import document

_FIND = select(document).where(document.c.digest.in_(bindparam("wanted", expanding=True)))


def add(connection: Connection, contents: Mapping[str, Any]) -> None:
    """Store contents as JSON under their digests; existing ones are left unchanged."""
    if contents:
        connection.execute(
            insert(connection, document).on_conflict_do_nothing(),
            [
                {"digest": digest, "content": json.dumps(content, ensure_ascii=False)}
                for digest, content in contents.items()
            ],
        )


def find(connection: Connection, digests: Iterable[str]) -> dict[str, Any]:
    """The contents with these digests, as values of JSON, by digest; digests that the store lacks are left out."""
    rows = connection.execute(_FIND, {"wanted": sorted(set(digests))})
    return {digest: json.loads(content) for digest, content in rows}
