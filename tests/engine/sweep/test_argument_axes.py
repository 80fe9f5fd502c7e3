"""Axes of a function's arguments: contents are kept once, and a stored sweep has them with their labels."""

import json

from engine import Sweep
from engine.core.canonical import digest
from engine.sweep import SweepFacts
from engine.testing import ScriptedService
from tests.engine.arguments import FunctionKind, function_sweep
from tests.engine.scenes import good, registry

SERVICE = ScriptedService(good, kind=FunctionKind)


def test_a_stored_sweep_has_the_labels_and_contents_of_arguments_and_cases() -> None:
    of = function_sweep(SERVICE)

    stored = json.loads(json.dumps(of.dump(), sort_keys=True))
    restored = Sweep.restore(stored, registry(SERVICE))

    assert restored.matrix.axes == of.matrix.axes
    assert list(restored.jobs()) == list(of.jobs())
    assert stored["matrix"]["tone"][1] == {"label": "no. 1", "content": None}


def test_they_are_known_without_the_function() -> None:
    of = function_sweep(SERVICE)

    facts = SweepFacts.restore(of.dump())

    assert facts is not None
    assert [(type(axis.axis), axis.values) for axis in facts.axes] == [
        (type(axis.axis), axis.values) for axis in of.matrix.axes
    ]
    assert facts.document_labels()["tone"][digest(None)] == "no. 1"


def test_contents_are_documents_and_jobs_have_their_labels_and_digests() -> None:
    of = function_sweep(SERVICE)

    first, *_ = of.jobs()

    assert of.documents()[digest(["a", {"b": 1}])] == ["a", {"b": 1}]
    assert first.labels == {"model": "a", "tone": "no. 0", "case": "no. 0", "repeat": 1}
    assert first.documents == {
        "tone": digest("calm"),
        "case": digest({"question": "Why?", "turns": 2}),
    }
