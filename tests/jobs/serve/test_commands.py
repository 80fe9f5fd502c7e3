"""`nightsweep serve` and `nightsweep serve keys` on the command line."""

import json
import os
import socket
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.metadata import entry_points
from io import TextIOWrapper
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from engine.kinds import UsageError
from jobs.serve.commands import app
from tests.jobs.serve.running import write_config
from tests.launcher.processes import Launcher
from tests.patience import PATIENCE_S


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, "http://127.0.0.1:1/v1", {})


def keys(config: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments, "--config", str(config)])


def test_the_command_is_added_to_nightsweep() -> None:
    added = {one.name: one.value for one in entry_points(group="nightsweep.commands")}

    assert added["serve"] == "jobs.serve.commands:app"


def test_keys_are_created_listed_changed_and_revoked(config: Path) -> None:
    made = keys(config, "create", "alice", "--allotment", "50", "--group", "exam_stress")
    keys(config, "create", "bob", "--allotment", "0")
    keys(config, "set", "alice", "--allotment", "70", "--all-groups")
    keys(config, "revoke", "bob")
    listed = json.loads(keys(config, "list", "--json").stdout)

    text = made.stdout.strip()
    assert text.startswith("nsk_")
    assert "not shown again" in made.stderr
    alice, bob = listed
    assert (alice["name"], alice["used"], alice["allotment"]) == ("alice", 0, 70)
    assert alice["groups"] is None
    assert alice["revoked"] is None
    assert bob["revoked"] is not None
    listing = keys(config, "list").stdout
    assert "alice: 0 of 70 used, all groups" in listing
    assert text not in listing + str(listed)


def test_a_key_that_cannot_be_printed_is_not_created(config: Path) -> None:
    create = ["keys", "create", "alice", "--allotment", "50", "--config", str(config)]

    with (
        pytest.raises(OSError, match="No space left"),
        open("/dev/full", "wb", 0) as full,  # noqa: PTH123
        redirect_stdout(TextIOWrapper(full, write_through=True)),
    ):
        app(create, standalone_mode=False)

    assert json.loads(keys(config, "list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "groups"),
    [(("--group", "exam_stress"), ["exam_stress"]), (("--all-groups",), None)],
)
def test_the_groups_of_a_key_can_be_changed_without_its_allotment(
    config: Path, arguments: tuple[str, ...], groups: list[str] | None
) -> None:
    keys(config, "create", "alice", "--allotment", "50", "--group", "moving_house")

    changed = keys(config, "set", "alice", *arguments)

    [alice] = json.loads(keys(config, "list", "--json").stdout)
    assert changed.exit_code == 0, changed.output
    assert alice["groups"] == groups
    assert alice["allotment"] == 50


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "alice", "--allotment", "1"), "the key alice exists already"),
        (("create", "a b", "--allotment", "1"), "cannot be the name of a key"),
        (("create", "carol", "--allotment", "-1"), "-1 is not an allotment"),
        (("create", "carol", "--allotment", "1", "--group", "exams"), "no test-case group 'exams'"),
        (("revoke", "carol"), "there is no key carol; the keys are: alice"),
        (("set", "carol", "--allotment", "1"), "there is no key carol"),
    ],
)
def test_a_wrong_argument_is_an_error_that_names_it(
    config: Path, arguments: tuple[str, ...], message: str
) -> None:
    keys(config, "create", "alice", "--allotment", "1")

    outcome = keys(config, *arguments)

    assert isinstance(outcome.exception, UsageError)
    assert message in str(outcome.exception)


def test_the_name_of_a_revoked_key_cannot_be_used_again(config: Path) -> None:
    keys(config, "create", "alice", "--allotment", "1")
    keys(config, "revoke", "alice")

    assert isinstance(keys(config, "create", "alice", "--allotment", "1").exception, UsageError)


def test_a_configuration_that_is_named_before_the_command_is_the_commands(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mine = config.rename(tmp_path / "mine.yaml")
    write_config(tmp_path, "http://127.0.0.1:1/v1", {"ledger": "other.db"})

    CliRunner().invoke(app, ["--config", str(mine), "keys", "create", "alice", "--allotment", "1"])
    by_option = CliRunner().invoke(app, ["--config", str(mine), "keys", "list"])
    by_variable = CliRunner().invoke(
        app,
        ["keys", "list"],
        env={"NIGHTSWEEP_SERVE_CONFIG": str(mine)},
        auto_envvar_prefix="NIGHTSWEEP_SERVE",
    )
    of_the_folder = CliRunner().invoke(app, ["keys", "list"])

    assert "alice" in by_option.stdout
    assert "alice" in by_variable.stdout
    assert of_the_folder.stdout == ""


def test_a_wrong_configuration_ends_the_command_with_exit_code_2(
    tmp_path: Path, launcher: Launcher
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text("models: {a: {}}\nlisten: {port: 99999}\n", encoding="utf-8")

    done = launcher.run(["serve", "--config", str(file)], folder=tmp_path, environment=os.environ)

    assert done.returncode == 2
    assert "listen.port: 99999 is above 65535" in done.stderr


def test_an_address_in_use_and_a_malformed_group_are_errors(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        used = write_config(tmp_path, "http://127.0.0.1:1/v1", {"listen": {"port": port}})
        in_use = CliRunner().invoke(app, ["--config", str(used)])
    (tmp_path / "groups" / "broken.yaml").write_text("name: broken", encoding="utf-8")
    broken = CliRunner().invoke(app, ["--config", str(used)])

    assert isinstance(in_use.exception, UsageError)
    assert f"cannot listen on 127.0.0.1:{port}" in str(in_use.exception)
    assert isinstance(broken.exception, UsageError)
    assert "broken.yaml:1:1: cases: is missing" in str(broken.exception)


def test_other_commands_do_not_import_the_service() -> None:
    code = (
        "import sys; import engine.cli.app; import jobs.serve.commands;"
        " print([name for name in ('engine.serving', 'fastapi', 'uvicorn', 'prometheus_client') if name in sys.modules])"
    )

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S
    )

    assert done.stdout.strip() == "[]", done.stderr
