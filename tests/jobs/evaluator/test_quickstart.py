"""The quickstart's sweep file asks for what is there."""

import yaml

from jobs.chat.model_file import BUILT_IN
from jobs.evaluator import LocalEvaluator
from jobs.evaluator.groups import CaseSet
from jobs.evaluator.settings import LocalSettings
from tests.paths import ROOT

FILE = ROOT / "docs" / "examples" / "quickstart.yaml"


def test_the_quickstart_names_the_built_in_model_and_groups_and_stays_small() -> None:
    sweep = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    matrix = sweep["matrix"]

    kind, _ = LocalEvaluator().with_settings(LocalSettings(**sweep["service"])).kinds()
    asked = sum(
        kind.expected_tests({"group": group, "variations": 1, "maximum_iteration_layers": 0}) or 0
        for group in matrix["groups"]
    )

    assert kind.name == sweep["evaluation"]
    assert matrix["models"] == [BUILT_IN.name]
    assert set(matrix["groups"]) <= set(CaseSet().names)
    assert asked * len(matrix["prompts"]) <= 100
