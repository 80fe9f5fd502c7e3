"""Run a plain, CPU-bound function in two processes: bootstrap intervals of samples.

python processes.py
"""

import random
import statistics

from engine import Sweep, job


@job(version="1", processes=2)
def interval(size: int, seed: int, resamples: int = 200) -> dict[str, float]:
    """The bootstrap 95 % interval of the mean of a sample."""
    chance = random.Random(seed)
    sample = [chance.gauss(0.0, 1.0) for _ in range(size)]
    means = sorted(statistics.fmean(chance.choices(sample, k=size)) for _ in range(resamples))
    low, high = means[int(resamples * 0.025)], means[int(resamples * 0.975)]
    return {"low": low, "high": high, "width": high - low}


sweep = Sweep("bootstrap", interval, matrix={"size": [20, 80, 320], "seed": range(10)})
run = sweep.run(store="bootstrap.db")

print(f"{run.status().cells_done} of {run.status().cells} cells answered")
widths: dict[int, list[float]] = {}
for row in run.rows():
    size, width = row.labels["size"], row.values["width"]
    assert isinstance(size, int)
    assert isinstance(width, float)
    widths.setdefault(size, []).append(width)
for size, found in widths.items():
    print(f"{size}: {statistics.fmean(found):.3f}")
