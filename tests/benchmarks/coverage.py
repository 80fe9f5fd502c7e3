"""How often the 95 % intervals of rates and paired differences hold the true value, in simulated answers.

By hand: `python -m tests.benchmarks.coverage [--rounds 1200] [--seed 1]`. Goals: at least 94 % for a rate
and 93 % for a difference. Each line is one combination; beside its share over all rates stands that of
the rate, or pair of rates, with the lowest. A share of 1,200 rounds is uncertain by 0.6 %, one of a
single rate by 1.5 %.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping

from tests.engine.core.statistics.simulation import (
    Coverage,
    Design,
    cover_difference,
    cover_rate,
    designs,
)

CASES, REPEATS = (12, 20, 50, 100, 200), (1, 2, 3, 5)
CORRELATIONS, LAYERS = (0.1, 0.3, 0.5, 0.7), (0, 1, 2)
HEADING = (
    "layers cases repeats corr. |  plain   rate  lowest at  without  width | difference  lowest at"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    write(HEADING)
    levels: dict[str, list[Measured]] = defaultdict(list)
    for design in designs(CASES, REPEATS, CORRELATIONS, LAYERS):
        measured = Measured(design, arguments.rounds, arguments.seed)
        write(measured.line())
        for level in ("all", f"{design.cases} cases", f"{design.repeats} repeats"):
            levels[f"{design.layers} layers, {level}"].append(measured)
    write_sums(levels)


class Measured:
    """The coverage of one combination."""

    def __init__(self, design: Design, rounds: int, seed: int) -> None:
        self.design = design
        self.plain = cover_rate(design, rounds, seed, plain=True)
        self.rate = cover_rate(design, rounds, seed)
        self.difference = cover_difference(design, rounds, seed)

    def line(self) -> str:
        design, rate = self.design, self.rate
        width = rate.width / rate.given if rate.given else 0.0
        return (
            f"{design.layers:6} {design.cases:5} {design.repeats:7} {design.correlation:5} |"
            f" {self.plain.share:6.1%} {rate.share:6.1%} {lowest(rate):>10}"
            f" {1 - rate.given / rate.rounds:7.1%} {width:6.3f} |"
            f" {self.difference.share:10.1%} {lowest(self.difference):>14}"
        )


def lowest(coverage: Coverage) -> str:
    rates, found = min(coverage.by_rate.items(), key=lambda one: one[1].share)
    return f"{found.share:.1%} {'-'.join(f'{rate:g}' for rate in rates)}"


def write_sums(levels: Mapping[str, list[Measured]]) -> None:
    write("\nmean and lowest of the combinations: plain, rate, difference")
    for level, several in sorted(levels.items()):
        columns = (
            [one.plain.share for one in several],
            [one.rate.share for one in several],
            [one.difference.share for one in several],
        )
        write(f"{level}: " + ", ".join(f"{mean(one):.1%} ({min(one):.1%})" for one in columns))


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def write(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
