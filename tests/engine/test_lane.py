"""A lane changes itself alone."""

import ast
from pathlib import Path

from engine.scheduler.lane import Lane
from tests.paths import ROOT

FIELDS = set(Lane.__dataclass_fields__) - {"name"}


def assigned_lane_fields(path: Path) -> list[str]:
    """Where a module assigns a field of something that is called a lane."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets += [node.target] if isinstance(node, ast.AugAssign | ast.AnnAssign) else []
        for target in targets:
            for one in target.elts if isinstance(target, ast.Tuple) else [target]:
                if not isinstance(one, ast.Attribute) or one.attr not in FIELDS:
                    continue
                if "lane" in ast.unparse(one.value).split(".")[-1]:
                    found.append(f"{path.name}:{one.lineno}")
    return found


def test_no_other_module_assigns_a_field_of_a_lane() -> None:
    modules = (ROOT / "engine").rglob("*.py")

    assert [place for module in modules for place in assigned_lane_fields(module)] == []
