"""The contracts of import-linter name what they are to hold."""

import tomllib
from typing import Any

from tests.paths import ROOT

CONTRACTS: list[dict[str, Any]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"][
    "importlinter"
]["contracts"]
OFFERED_TO_JOBS = "engine.kinds"


def test_every_module_of_the_engine_but_its_kinds_is_forbidden_to_jobs() -> None:
    [contract] = [one for one in CONTRACTS if one.get("source_modules") == ["jobs"]]
    modules = {
        f"engine.{path.stem}"
        for path in (ROOT / "engine").iterdir()
        if (path.suffix == ".py" and path.stem != "__init__") or (path / "__init__.py").exists()
    }

    forbidden = {name for name in contract["forbidden_modules"] if name.startswith("engine.")}

    assert forbidden == modules - {OFFERED_TO_JOBS}
