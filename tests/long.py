"""The files whose tests take longest, each of them seconds of waiting or of work. They are started first.

While they wait, other tests run. Started last, they would leave the other workers idle.
"""

from pathlib import Path

from tests.paths import ROOT

PATHS = (
    "tests/docs/test_gate_page.py",
    "tests/docs/test_format_page.py",
    "tests/docs/test_notebook.py",
    "tests/docs/test_porting_pages.py",
    "tests/engine/browser/test_report_page.py",
    "tests/engine/cli/test_signals.py",
    "tests/engine/cli/test_watching.py",
    "tests/engine/store/test_machine.py",
    "tests/engine/test_virtual_time.py",
    "tests/faults/test_cluster.py",
    "tests/faults/test_failpoints.py",
    "tests/faults/test_killed_quickstart.py",
    "tests/faults/test_killed_script.py",
    "tests/faults/test_kills.py",
    "tests/jobs/evaluator/test_built_in_evaluation.py",
    "tests/jobs/evaluator/test_deadlines.py",
    "tests/jobs/serve/test_guide.py",
    "tests/jobs/serve/test_held_quota.py",
    "tests/jobs/serve/test_long_evaluations.py",
    "tests/jobs/serve/test_schemathesis.py",
    "tests/test_suite.py",
)
"""`tests/test_suite.py` fails if one of them does not exist."""

_LONG = frozenset(ROOT / path for path in PATHS)


def is_long(file: Path) -> bool:
    """Whether a file's tests are long."""
    return file in _LONG
