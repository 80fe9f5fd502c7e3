"""How the engine behaves, read from the environment."""

import pytest

from engine import Settings, UsageError


def test_without_any_variable_the_defaults_hold() -> None:
    assert Settings.from_environment({}) == Settings()


def test_each_field_is_a_variable() -> None:
    environment = {
        "NIGHTSWEEP_GRACE_S": "2.5",
        "NIGHTSWEEP_POLL_S": "0.5",
        "NIGHTSWEEP_HEARTBEAT_S": "1",
        "NIGHTSWEEP_ANSWERS_MB": "64",
        "NIGHTSWEEP_STORE": "elsewhere.db",
    }

    assert Settings.from_environment(environment) == Settings(
        grace_s=2.5, poll_s=0.5, heartbeat_s=1.0, answers_mb=64.0
    )


@pytest.mark.parametrize("text", ["soon", "", "1 s"])
def test_what_is_no_number_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"NIGHTSWEEP_GRACE_S: .* is not a number of seconds"):
        Settings.from_environment({"NIGHTSWEEP_GRACE_S": text})


def test_a_size_is_not_described_as_a_time() -> None:
    with pytest.raises(
        UsageError, match="NIGHTSWEEP_ANSWERS_MB: 'much' is not a number of megabytes"
    ):
        Settings.from_environment({"NIGHTSWEEP_ANSWERS_MB": "much"})


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e9"])
def test_what_makes_no_sense_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"NIGHTSWEEP_POLL_S: .* is not between 0 and 86400"):
        Settings.from_environment({"NIGHTSWEEP_POLL_S": text})
