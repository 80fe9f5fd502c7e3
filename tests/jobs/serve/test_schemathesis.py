"""Requests within and outside the OpenAPI documents never cause a crash or an undocumented answer."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.contracts.contract import CONTRACT_FILE
from tests.http_client import get
from tests.jobs.serve.running import GROUP, MODEL, Running, service, write_groups
from tests.patience import PATIENCE_S

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "negative_data_rejection",
    "missing_required_header",
)
_GROUP = "one_case"
# What is there to be named: without it nearly every example would name a model that is not.
_NAMES = {
    "openrouter_model_name": [MODEL, "acme/unknown"],
    "test_case_groups": [_GROUP],
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("examined")
    # One case: with layers and variations it still becomes up to 31 questions.
    groups = write_groups(folder / "groups")
    whole = (groups / f"{GROUP}.yaml").read_text(encoding="utf-8")
    first = whole.replace(f"name: {GROUP}", f"name: {_GROUP}").split("\n  - id:")[:2]
    (groups / f"{_GROUP}.yaml").write_text("\n  - id:".join(first) + "\n", encoding="utf-8")
    with service(folder, allotment=10_000_000) as started:
        yield started


def with_names(document: Any) -> Any:
    """The document with the names that there are, wherever one of these fields is described."""
    if isinstance(document, list):
        return [with_names(each) for each in document]
    if not isinstance(document, dict):
        return document
    described = {name: with_names(value) for name, value in document.items()}
    for field, names in _NAMES.items():
        if isinstance(described.get(field), dict):
            schema = described[field]
            named = {**schema.get("items", schema), "enum": names}
            described[field] = {**schema, "items": named} if "items" in schema else named
    return described


def examine(
    document: Any,
    base_url: str,
    key: str,
    folder: Path,
    *,
    examples: int,
    mode: str = "all",
    checks: Sequence[str] = _CHECKS,
) -> None:
    """Send what the document allows and what it forbids; fails with what was sent and answered."""
    file = folder / "document.json"
    file.write_text(json.dumps(with_names(document)), encoding="utf-8")
    done = subprocess.run(  # noqa: S603
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            str(file),
            f"--url={base_url}",
            f"--checks={','.join(checks)}",
            f"--max-examples={examples}",
            f"--mode={mode}",
            f"--request-timeout={PATIENCE_S}",
            "--phases=examples,coverage,fuzzing",
            "--seed=1",
            "--generation-deterministic",
            "--suppress-health-check=all",
            "--warnings=off",
            "--no-shrink",
            "--no-color",
            f"--header=cbl-api-key:{key}",
            f"--header=apikey:{key}",
        ],
        cwd=folder,
        env={name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_service_follows_its_own_document(running: Running, tmp_path: Path) -> None:
    document = get(f"{running.base_url}/openapi.json").json()
    before = len(running.models.asked)

    examine(document, running.base_url, running.key, tmp_path, examples=1)

    assert len(running.models.asked) > before


def test_the_service_follows_the_published_contract(running: Running, tmp_path: Path) -> None:
    document = json.loads(CONTRACT_FILE.read_text(encoding="utf-8"))
    before = len(running.models.asked)

    # What it forbids is forbidden by our own document as well, which the other test examines.
    examine(
        document,
        f"{running.base_url}/v1",
        running.key,
        tmp_path,
        examples=5,
        mode="positive",
        checks=(*_CHECKS, "positive_data_acceptance"),
    )

    assert len(running.models.asked) > before
