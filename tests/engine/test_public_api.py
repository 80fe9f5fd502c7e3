"""What is public, and stays as it is."""

import subprocess
import sys
from dataclasses import fields

import engine
from engine import Row, Status
from tests.paths import ROOT


def test_every_public_name_can_be_had_and_is_documented() -> None:
    for name in engine.__all__:
        assert getattr(engine, name).__doc__, name


def test_there_is_nothing_public_but_what_is_listed() -> None:
    assert engine.__all__ == sorted(engine.__all__)
    assert set(engine.__all__) == set(engine._HOMES)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    assert not hasattr(engine, "Scheduler")


def test_importing_the_engine_imports_neither_the_store_nor_pydantic() -> None:
    program = (
        "import sys, engine; print([name for name in ('sqlalchemy', 'pydantic', 'anyio')"
        " if name in sys.modules])"
    )

    shown = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert shown.stdout.strip() == "[]"


def test_rows_and_status_have_the_fields_that_scripts_rely_on() -> None:
    assert {field.name for field in fields(Row)} >= {
        "labels",
        "state",
        "source",
        "passed",
        "failed",
        "total",
        "failure_rate",
        "ci_low",
        "ci_high",
        "error",
    }
    assert {field.name for field in fields(Status)} >= {
        "state",
        "reason",
        "message",
        "resume_at",
        "cells",
        "cells_done",
        "cells_failed",
        "tests_passed",
        "tests_failed",
    }
