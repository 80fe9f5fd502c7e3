"""Commands on a store that is a database on a PostgreSQL server: real processes, a real server."""

import shlex
from collections.abc import Callable
from pathlib import Path

from tests.engine.cli.conftest import Nightsweep
from tests.postgres import make_database, server

Sweep = Callable[..., str]


def test_a_run_and_what_follows_it_use_the_database_that_is_named(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    url = make_database()

    ended = nightsweep("run", sweep("a"), "--store", url)
    looked = nightsweep("status", NIGHTSWEEP_STORE=url.replace("postgresql:", "postgres:"))
    again = nightsweep("resume", "--store", url)

    assert (ended.returncode, looked.returncode, again.returncode) == (0, 0, 0)
    assert "night: finished" in looked.stdout
    # What it says to do next can be pasted into a shell, which would take & and ? as its own.
    advice = next(line for line in ended.stderr.splitlines() if line.startswith("results: "))
    assert f"--store {shlex.quote(url)}" in advice
    words = shlex.split(advice.removeprefix("results: nightsweep "))
    assert nightsweep(*words).stdout.count("\n") >= 2
    assert not list(tmp_path.glob("*.db*"))


def test_a_command_that_needs_a_store_makes_none_on_a_server(nightsweep: Nightsweep) -> None:
    url = make_database()

    for command in ("status", "resume", "prune"):
        refused = nightsweep(command, "--store", url)

        assert refused.returncode == 2
        assert f"there is no store at {url}: name it with --store" in refused.stderr


def test_what_only_a_file_has_is_not_said_of_a_server(nightsweep: Nightsweep, sweep: Sweep) -> None:
    url = make_database()
    nightsweep("run", sweep("a"), "--store", url)

    backed_up = nightsweep("backup", "--store", url)
    deleted = nightsweep("delete", "night", "--yes", "--store", url)
    pruned = nightsweep("prune", "--store", url)

    assert backed_up.returncode == 2
    assert "is backed up with pg_dump" in backed_up.stderr
    assert (deleted.returncode, pruned.returncode) == (0, 0)
    assert "file" not in deleted.stderr + pruned.stderr
    assert "the server's autovacuum makes their space usable again" in pruned.stderr


def test_a_server_that_cannot_be_reached_is_named_with_the_reason(nightsweep: Nightsweep) -> None:
    refused = nightsweep("status", "--store", "postgresql://me@127.0.0.1:1/night")

    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "nightsweep: postgresql://me@127.0.0.1:1/night: cannot reach the server:"
    )


def test_the_password_comes_from_the_environment_and_is_shown_nowhere(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    url = make_database()
    passwords = tmp_path / "passwords"
    passwords.write_text(f"127.0.0.1:{server().port}:*:postgres:from-a-file\n")
    passwords.chmod(0o600)

    ended = nightsweep("run", sweep("a"), "-vv", "--store", url, PGPASSWORD="in-a-variable")
    looked = nightsweep("status", "-vv", "--store", url, PGPASSFILE=str(passwords))

    assert (ended.returncode, looked.returncode) == (0, 0)
    for shown in (ended, looked):
        assert "in-a-variable" not in shown.stdout + shown.stderr
        assert "from-a-file" not in shown.stdout + shown.stderr


def test_without_the_driver_the_command_that_installs_it_is_named(
    installed_nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    (tmp_path / "packages/psycopg.py").write_text("raise ImportError('no psycopg here')\n")

    refused = installed_nightsweep("run", sweep("a"), "--store", "postgresql://me@host/night")
    on_a_file = installed_nightsweep("run", sweep("a"), "--store", "night.db")

    assert refused.returncode == 2
    assert "run `pip install 'nightsweep[postgres]'`" in refused.stderr
    assert on_a_file.returncode == 0
