"""The named facts that decide the answers of an evaluation; a run stores them when it begins.

The same labels always have the same facts, whatever the settings: a part that is not used has the value
`none`, so that using it later shows as a difference rather than as a new fact.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.kinds import Fact, hashed
from jobs.chat.target import Target
from jobs.evaluator import mutators
from jobs.evaluator.attacker import Attacker
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.protocol import Judge
from jobs.evaluator.settings import LocalSettings
from jobs.evaluator.translation import Translator

_NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The facts of one service, by the parts of an evaluation that they affect.

    `cases_of` returns the cases of a group; it raises UsageError if there is no such group.
    """

    settings: LocalSettings
    target: Target
    judge: Judge
    attacker: Attacker | None
    translator: Translator | None
    cases_of: Callable[[str], Sequence[Case]]

    def of_all(self, rules: str) -> Iterator[Fact]:
        """The facts of every answer; `rules` is the version of the evaluation's own rules.

        Those of the judge are marked as judging: a change of only those lets replies be judged again.
        """
        yield Fact(name="rules of the evaluation", value=rules)
        yield Fact(name="settings of the target", value=self.target.settings)
        yield Fact(name="seed", value=str(self.settings.seed))
        for name, value in self.judge.facts.items():
            yield Fact(name=name, value=value, judging=True)

    def of_groups(self, labels: Mapping[str, Sequence[Any]]) -> Iterator[Fact]:
        """A digest of the cases of each group; other parts of its file do not count.

        `labels` holds the values of each axis. Raises UsageError if there is no such group.
        """
        for group in labels["groups"]:
            cases = [
                case.model_dump(mode="json", exclude_defaults=True) for case in self.cases_of(group)
            ]
            yield Fact(name=f"cases of group {group}", value=hashed(cases))

    def of_attacker(self) -> Iterator[Fact]:
        """The facts of the attacker, or that there is none."""
        facts = {"attacker": _NONE} if self.attacker is None else self.attacker.facts
        yield from _facts(facts)

    def of_variations(self) -> Iterator[Fact]:
        """The facts of variations, of their writers and of the rule for cases to vary; for sweeps with further layers."""
        yield Fact(name="expand_on", value=self.settings.expand_on, judging=True)
        yield Fact(name="mutators", value=mutators.VERSION)
        yield from self.of_attacker()
        translator = self.translator
        yield from _facts({"translations": _NONE} if translator is None else translator.facts)


def _facts(of: Mapping[str, str]) -> Iterator[Fact]:
    for name, value in of.items():
        yield Fact(name=name, value=value)
