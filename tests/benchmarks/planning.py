"""Planning 1,000,000 jobs: seconds of CPU and peak memory of `plan`, and of walking the jobs with keys.

By hand: `python -m tests.benchmarks.planning`. Goals: under 10 s and 150 MB.
"""

import resource
import sys
import time
from collections import deque

from engine import Sweep

MODELS, PROMPTS, GROUPS = 100, 1_000, 10


def main() -> None:
    sweep = Sweep.parse(
        {
            "name": "planning",
            "service": {"kind": "circuit-breaker-labs", "api_key": "env:KEY"},
            "evaluation": "single_turn",
            "matrix": {
                "models": [f"vendor/model-{number}" for number in range(MODELS)],
                "prompts": [
                    {"name": f"prompt-{number}", "text": f"You are assistant number {number}."}
                    for number in range(PROMPTS)
                ],
                "groups": [f"group_{number}" for number in range(GROUPS)],
                "thresholds": [0.5],
            },
            "limits": {"rate_per_min": 6_000},
        }
    )
    cpu = time.process_time()
    plan = sweep.plan()
    planned_s = time.process_time() - cpu
    cpu = time.process_time()
    deque(sweep.jobs(), maxlen=0)
    walked_s = time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(
        f"{plan.jobs:,} jobs: planned in {planned_s:.1f} CPU s, walked with keys in {walked_s:.1f}"
        f" CPU s, peak {peak_mb:.0f} MB\n"
    )


if __name__ == "__main__":
    main()
