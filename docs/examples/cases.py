"""Take cases from a CSV file, crossed with an axis of your own, and score them as passed or failed.

python cases.py
"""

import ast
import operator
from collections.abc import Callable
from pathlib import Path

from engine import Measurement, Sweep, job

CASES = Path(__file__).with_name("cases.csv")
OPERATORS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def solve(question: str, solver: str) -> str:
    """A stand-in for a model: `exact` computes, `careless` takes the first number of the question."""
    text = question.removeprefix("What is ").rstrip("?")
    parsed = ast.parse(text, mode="eval").body
    assert isinstance(parsed, ast.BinOp)
    left, right = ast.literal_eval(parsed.left), ast.literal_eval(parsed.right)
    return str(left if solver == "careless" else OPERATORS[type(parsed.op)](left, right))


@job(version="1", lane="solver")
def arithmetic(question: str, expected: str, solver: str) -> Measurement:
    """Whether a solver's answer is the expected one, with the answer."""
    answer = solve(question, solver)
    is_right = answer == expected
    return Measurement(passed=int(is_right), failed=int(not is_right), values={"answer": answer})


sweep = Sweep("arithmetic", arithmetic, matrix={"solver": ["exact", "careless"]}, cases=CASES)
run = sweep.run(store="arithmetic.db")

print(f"{run.status().cells_done} of {run.status().cells} cells answered")
for row in run.rows():
    print(row.labels["solver"], row.labels["case"], row.values["answer"], row.failure_rate)
