import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import SweepError, UsageError
from engine.registry import HEALTH_GROUP, SERVICES_GROUP, Registry
from engine.sweep import Sweep
from tests.engine.sweep.kinds import REGISTRY, Gate, Labs, SingleTurn

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

    with pytest.raises(UsageError, match=r"the service 'x' cannot be created: TypeError: .*region"):
        Registry(services={"x": Demanding}).service("x")


@pytest.mark.parametrize("declared", ["scores:Scores", 3, lambda: Labs()])
def test_what_is_neither_class_nor_instance_nor_entry_point_is_refused(declared: Any) -> None:
    with pytest.raises(UsageError, match=r"'x' is not an engine\.kinds\.Service"):
        Registry(services={"x": declared}).service("x")


def test_an_instance_in_a_registry_must_not_have_settings_yet() -> None:
    made = Labs().with_settings(Labs.settings_model(kind="x"))

    with pytest.raises(
        UsageError, match=r"the service 'x' cannot be used: it has settings already"
    ):
        Registry(services={"x": made}).service("x")


def test_a_service_and_a_health_gate_need_a_model_of_their_settings() -> None:
    class Unset(Labs):
        settings_model = dict  # type: ignore[assignment]

    class Shut(Gate):
        settings_model = None  # type: ignore[assignment]

    registry = Registry(services={"x": Unset}, health={"x": Shut})

    with pytest.raises(
        UsageError, match=r"settings_model of .*Unset to a subclass of engine\.kinds"
    ):
        registry.service("x")
    with pytest.raises(UsageError, match=r"settings_model of .*Shut to a subclass of pydantic\."):
        registry.health_gate("x")


class Nameless(SingleTurn):
    def __getattribute__(self, name: str) -> Any:
        if name == "name":
            raise AttributeError(name)
        return super().__getattribute__(name)


def kind(**fields: Any) -> SingleTurn:
    made = SingleTurn()
    vars(made).update(fields)
    return made


@pytest.mark.parametrize(
    ("kinds", "mistake"),
    [
        (lambda: SingleTurn(), "fails: TypeError: 'SingleTurn' object is not iterable"),
        (lambda: [][0], "called without settings, fails: IndexError: list index out of range"),
        (lambda: [SingleTurn], r"returns the class tests\..*SingleTurn, not an instance of"),
        (lambda: ["single_turn"], r"returns a builtins\.str, not an instance of"),
        (lambda: [Nameless()], "Nameless has no name: set it on the class or the instance"),
        (
            lambda: [kind(lane_field="modle")],
            "set lane_field of single_turn to a field of its axes, which are model, .*: it is 'modle'",
        ),
        (lambda: [kind(folded_field="treshold")], "set folded_field of single_turn to a field"),
    ],
)
def test_a_mistake_in_job_kinds_is_reported_with_those_in_settings(
    kinds: Any, mistake: str
) -> None:
    class Mistaken(Labs):
        def kinds(self) -> Any:
            return kinds()

    written = {"name": "n", "service": {"kind": "x", "colour": "blue"}, "evaluation": "single_turn"}

    with pytest.raises(SweepError, match=mistake) as caught:
        Sweep.parse(written, registry=Registry(services={"x": Mistaken}))

    assert {"service.kind", "service.colour"} <= {one.path for one in caught.value.problems}
    assert "Mistaken.kinds()" in str(caught.value)


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
