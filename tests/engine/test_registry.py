import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from engine.core.errors import UsageError
from engine.registry import HEALTH_GROUP, SERVICES_GROUP, Registry
from tests.engine.sweep.kinds import REGISTRY, Gate, Labs

HERE = "tests.engine.sweep.kinds"


def service(value: str) -> Registry:
    return Registry(services={"x": EntryPoint("x", value, SERVICES_GROUP)})


def test_a_class_is_found_by_its_kind() -> None:
    assert isinstance(REGISTRY.service("labs"), Labs)
    assert isinstance(REGISTRY.health_gate("gate"), Gate)


def test_an_entry_point_is_imported_when_it_is_asked_for() -> None:
    registry = Registry(
        services={"labs": EntryPoint("labs", f"{HERE}:Labs", SERVICES_GROUP)},
        health={"gate": EntryPoint("gate", f"{HERE}:Gate", HEALTH_GROUP)},
    )

    assert isinstance(registry.service("labs"), Labs)
    assert isinstance(registry.health_gate("gate"), Gate)


def test_a_name_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="there is no service 'lab'; did you mean \"labs\""):
        REGISTRY.service("lab")
    with pytest.raises(UsageError, match="there is no health gate 'x'; there are none"):
        Registry().health_gate("x")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no.such.module:Thing", "cannot be loaded from no.such.module:Thing: ModuleNotFoundError"),
        (f"{HERE}:Missing", "AttributeError"),
        (f"{HERE}:Gate", "is not an engine.kinds.Service"),
        (f"{HERE}:REGISTRY", "is not an engine.kinds.Service"),
    ],
)
def test_a_package_that_does_not_keep_its_promise_is_named(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        service(value).service("x")


def test_a_class_that_cannot_be_made_without_arguments_is_named() -> None:
    class Demanding(Labs):
        def __init__(self, region: str) -> None:
            self.region = region

    with pytest.raises(UsageError, match=r"the service 'x' cannot be made: TypeError: .*region"):
        Registry(services={"x": Demanding}).service("x")


def test_a_class_of_the_wrong_sort_is_no_health_gate() -> None:
    registry = Registry(health={"x": EntryPoint("x", f"{HERE}:Labs", HEALTH_GROUP)})

    with pytest.raises(UsageError, match=r"'x' is not an engine\.kinds\.HealthGate"):
        registry.health_gate("x")


def test_installed_packages_are_listed_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "plugin_of_a_test-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: plugin-of-a-test\nVersion: 1.0\n"
    )
    (folder / "entry_points.txt").write_text(f"[{SERVICES_GROUP}]\nmine = plugin_of_a_test:Mine\n")
    (tmp_path / "plugin_of_a_test.py").write_text(f"from {HERE} import Labs as Mine\n")
    monkeypatch.syspath_prepend(tmp_path)

    registry = Registry.installed()

    assert "mine" in registry.services
    assert "plugin_of_a_test" not in sys.modules
    assert isinstance(registry.service("mine"), Labs)
