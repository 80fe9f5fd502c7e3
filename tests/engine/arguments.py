"""A sweep over a function's arguments and cases, for tests of what is made of their contents."""

from collections.abc import Sequence
from typing import Any

from engine import Sweep
from engine.core.axes import ArgumentAxis, AxisValue, CaseAxis, TextAxis
from engine.core.matrix import Matrix, MatrixAxis
from engine.testing import ScriptedKind, ScriptedService
from tests.engine.scenes import sweep

TONE = ArgumentAxis(name="tone", field="tone", required=False)
CASE = CaseAxis(name="case", field="case", required=False)
TONES: Sequence[Any] = ("calm", None, True, 3, 0.5, ["a", {"b": 1}])
CASES: Sequence[Any] = ({"question": "Why?", "turns": 2}, {"question": "How?", "turns": None})


class FunctionKind(ScriptedKind):
    """A kind whose jobs have two arguments that are JSON values, and no threshold."""

    axes = (TextAxis(name="models", field="model"), TONE, CASE)
    folded_field = None

    def cost_class(self, labels: Any) -> str:
        return ""


def function_sweep(
    service: ScriptedService, *, tones: Sequence[Any] = TONES, cases: Sequence[Any] = CASES
) -> Sweep:
    """A sweep of one model over these contents, whose labels are `no. 0`, `no. 1` and so on."""
    read = sweep(service)
    arguments = ((TONE, _labelled(tones)), (CASE, _labelled(cases)))
    axes = [
        MatrixAxis(axis=axis, values=values, own=len(values))
        for axis, values in arguments
        if values
    ]
    return read.with_fields(matrix=Matrix(axes=(*read.matrix.axes, *axes)))


def _labelled(contents: Sequence[Any]) -> tuple[AxisValue, ...]:
    return tuple(AxisValue(label=f"no. {n}", content=one) for n, one in enumerate(contents))
