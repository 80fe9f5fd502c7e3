"""`nightsweep serve keys`: create, list, change and revoke the service's keys."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from engine.kinds import SystemClock

keys_app = typer.Typer(
    name="keys",
    help="Create, list, change and revoke keys.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

ConfigOption = Annotated[
    Path,
    typer.Option("--config", metavar="FILE", help="The service's configuration (serve.yaml)."),
]
_NameArgument = Annotated[str, typer.Argument(help="The key's name, which logs show.")]
_GroupOption = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="NAME", help="A group that it may use; can be repeated."),
]
_DEFAULT = Path("serve.yaml")


@keys_app.command()
def create(
    name: _NameArgument,
    allotment: Annotated[
        int, typer.Option("--allotment", help="Test cases that it may generate per month.")
    ],
    group: _GroupOption = None,
    config: ConfigOption = _DEFAULT,
) -> None:
    """Create a key and print it, once: only a hash is stored. Without --group it may use all groups."""
    from jobs.serve.ledger import keys

    with _transaction(config, group) as connection:
        text = keys.create(
            connection, name, allotment=allotment, groups=group or None, now=SystemClock().now()
        )
        # Before the commit: a key that cannot be shown is not created.
        typer.echo(text)
    typer.echo("Save this key now: it is not shown again.", err=True)


@keys_app.command("list")
def list_(
    config: ConfigOption = _DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the keys: test cases used and allotted this month (UTC), groups, creation, revocation."""
    from jobs.serve.ledger import keys, usage

    period = usage.period_of(SystemClock().now())
    with _transaction(config) as connection:
        listed: list[dict[str, Any]] = [
            {
                "name": key.name,
                "used": usage.count_used(connection, key.id, period),
                "allotment": key.allotment,
                "groups": None if key.groups is None else list(key.groups),
                "created": _day(key.created_at),
                "revoked": None if key.revoked_at is None else _day(key.revoked_at),
            }
            for key in keys.list_keys(connection)
        ]
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
        return
    for one in listed:
        groups = "all groups" if one["groups"] is None else ", ".join(one["groups"]) or "no group"
        state = f"revoked {one['revoked']}" if one["revoked"] else f"since {one['created']}"
        typer.echo(f"{one['name']}: {one['used']} of {one['allotment']} used, {groups}, {state}")


@keys_app.command()
def revoke(name: _NameArgument, config: ConfigOption = _DEFAULT) -> None:
    """Revoke a key, for good."""
    from jobs.serve.ledger import keys

    with _transaction(config) as connection:
        keys.revoke(connection, name, now=SystemClock().now())


@keys_app.command("set")
def set_(
    name: _NameArgument,
    allotment: Annotated[
        int | None, typer.Option("--allotment", help="Test cases that it may generate per month.")
    ] = None,
    group: _GroupOption = None,
    all_groups: Annotated[
        bool, typer.Option("--all-groups", help="Let it use every group.")
    ] = False,
    config: ConfigOption = _DEFAULT,
) -> None:
    """Change what a key may use; a running service applies it to the next request."""
    from jobs.serve.ledger import keys

    with _transaction(config, group) as connection:
        keys.change(
            connection, name, allotment=allotment, groups=group or None, all_groups=all_groups
        )


@contextmanager
def _transaction(file: Path, groups: Sequence[str] | None = None) -> Iterator[Any]:
    """A transaction on the configured ledger. Raises UsageError for a group that does not exist."""
    from jobs.evaluator.groups import CaseSet
    from jobs.serve.config import read_config
    from jobs.serve.ledger import LedgerFile

    config = read_config(file)
    cases = CaseSet(config.cases)
    for name in groups or ():
        cases.group(name)
    with LedgerFile(Path(config.ledger)) as ledger, ledger.begin() as connection:
        yield connection


def _day(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d")
