"""serve.yaml: defaults, and all mistakes at once, each with its place."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.serve.config import ConfigError, Limits, ModelSettings, ServeConfig, read_config
from tests.paths import ROOT

MODELS = {"acme/a": {"endpoint": {"base_url": "http://127.0.0.1:1/v1"}}}


def write(folder: Path, **settings: Any) -> Path:
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump({"models": MODELS, **settings}), encoding="utf-8")
    return file


def test_missing_settings_have_their_defaults(tmp_path: Path) -> None:
    config = read_config(write(tmp_path))

    assert (config.listen.host, config.listen.port) == ("127.0.0.1", 8500)
    assert config.answers == "all"
    assert config.openai is not None
    assert config.openai.base_url == "https://api.openai.com/v1"
    assert config.ledger == str(tmp_path / "nightsweep-serve.db")


def test_the_guide_s_example_is_valid_and_its_table_names_every_setting(tmp_path: Path) -> None:
    guide = ROOT / "docs" / "howto" / "run-the-service.md"
    text = guide.read_text(encoding="utf-8")
    file = tmp_path / "serve.yaml"
    file.write_text(text.split("```yaml")[1].split("```")[0], encoding="utf-8")

    assert read_config(file).find_model("openai/gpt-4o-mini") is not None
    parts = [name for name in ServeConfig.model_fields if name != "limits"]
    for name in (*parts, *(f"limits.{name}" for name in Limits.model_fields)):
        assert f"`{name}`" in text, name


def test_every_mistake_is_reported_with_its_place_and_without_keys(tmp_path: Path) -> None:
    file = write(
        tmp_path,
        models={
            "acme/a": {"endpoint": {"base_url": "ftp://x"}},
            "acme/b": {"endpoint": {"base_url": "http://a.b/v1", "api_key": "sk-secret-1"}},
            "acme/c": {"model": "x"},
        },
        listen={"prot": 1},
        answers="1.0.7",
        limits={"queue": -1},
        colour="red",
    )

    with pytest.raises(ConfigError) as caught:
        read_config(file)

    message = str(caught.value)
    for place in (
        "models.acme/a.endpoint.base_url: write a whole http or https URL",
        "models.acme/b.endpoint.api_key: do not write a key",
        "models.acme/c: model is the name at an endpoint",
        'listen.prot: unknown key; did you mean "port"?',
        "answers: must be 'all'",
        "limits.queue: -1 is below 0",
        "colour: unknown key",
    ):
        assert place in message
    lines = [line for line in message.splitlines() if not line.startswith("    ")]
    assert all(re.match(rf"{re.escape(str(file))}:\d+:\d+: ", line) for line in lines[:7])
    assert lines[7:] == [f"{file} has 7 mistakes"]
    assert "sk-secret-1" not in message


def test_the_largest_request_must_fit_into_the_limit_of_all_bodies(tmp_path: Path) -> None:
    file = write(tmp_path, limits={"request_bytes": 4096, "bodies_bytes": 4095})

    with pytest.raises(
        ConfigError, match=r"bodies_bytes: 4095 is less than request_bytes \(4096\)"
    ):
        read_config(file)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.org", "::"])  # noqa: S104
def test_a_host_that_other_machines_reach_needs_allow_remote(tmp_path: Path, host: str) -> None:
    with pytest.raises(ConfigError, match="allow_remote"):
        read_config(write(tmp_path, listen={"host": host}))

    config = read_config(write(tmp_path, listen={"host": host, "allow_remote": True}))
    assert config.listen.host == host


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("a" * 253, "parts of 1 to 63 characters"),
        ("a..b", "parts of 1 to 63 characters"),
        ("\u00e4..b", "not the name or address of a host"),
        ("a\0b", "characters that are not valid text"),
        ("a b", "letters, digits, hyphens and dots"),
        ("1.2.3.4.5", "four numbers from 0 to 255"),
        ("[::1]", "without brackets"),
        ("::1%25lo", "with one %"),
    ],
)
def test_an_impossible_host_is_an_error_with_its_place(
    tmp_path: Path, host: str, message: str
) -> None:
    file = write(tmp_path, listen={"host": host, "allow_remote": True})

    with pytest.raises(ConfigError, match=rf"serve\.yaml:\d+:\d+: listen\.host: .*{message}"):
        read_config(file)


@pytest.mark.parametrize("host", ["127.0.0.2", "::1", "localhost"])
def test_a_loopback_host_needs_no_allow_remote(tmp_path: Path, host: str) -> None:
    assert read_config(write(tmp_path, listen={"host": host})).listen.host == host


def test_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    models = {**MODELS, "mine": {"model_path": "m.gguf"}}
    config = read_config(write(tmp_path, models=models, cases="groups", ledger="/var/l.db"))

    assert config.cases == str(tmp_path / "groups")
    assert config.models["mine"].model_path == str(tmp_path / "m.gguf")
    assert config.ledger == "/var/l.db"


@pytest.mark.parametrize("text", ["a: [", "- 1", "models: {}", ""])
def test_a_file_that_is_not_a_configuration_is_an_error_with_its_place(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "serve.yaml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError, match=r"serve\.yaml:(\d+:\d+:)? "):
        read_config(file)


def test_an_exact_id_is_preferred_to_a_pattern_and_a_longer_pattern_to_a_shorter_one(
    tmp_path: Path,
) -> None:
    endpoint = {"base_url": "http://127.0.0.1:1/v1"}
    models = {name: {"endpoint": endpoint} for name in ("*", "acme/*", "acme/a")}
    config = read_config(write(tmp_path, models=models))

    def id_for(name: str) -> str | None:
        found = config.find_model(name)
        assert found is None or isinstance(found[1], ModelSettings)
        return None if found is None else found[0]

    assert [id_for(name) for name in ("acme/a", "acme/b", "other")] == ["acme/a", "acme/*", "*"]
    assert read_config(write(tmp_path)).find_model("other") is None


def test_a_reply_that_may_exceed_tokens_per_min_is_a_mistake_with_its_place(
    tmp_path: Path,
) -> None:
    endpoint = {"base_url": "http://127.0.0.1:1/v1", "tokens_per_min": 400}
    file = write(
        tmp_path,
        models={
            "acme/a": {"endpoint": endpoint},
            "acme/b": {"endpoint": endpoint, "max_tokens": 401},
            "acme/c": {"endpoint": endpoint, "max_tokens": 400},
        },
        openai={"tokens_per_min": 300},
    )

    with pytest.raises(ConfigError) as caught:
        read_config(file)

    assert [problem.path for problem in caught.value.problems] == [
        "models.acme/a.max_tokens",
        "models.acme/b.max_tokens",
        "openai.max_tokens",
    ]
    assert "512 is above the endpoint's tokens_per_min, 400" in str(caught.value)


def test_translations_that_the_judge_cannot_read_are_refused(tmp_path: Path) -> None:
    attacker = {**MODELS["acme/a"], "model": "acme/attacker-1", "translations": ["es"]}

    with pytest.raises(ConfigError, match="the rules judge reads English only"):
        read_config(write(tmp_path, attacker=attacker))
