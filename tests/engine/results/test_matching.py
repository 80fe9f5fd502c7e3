"""Which cells of two runs ask the same."""

from typing import Any

import pytest

from engine.core.errors import UsageError
from engine.core.samples import Setting
from engine.results.matching import AxisValues, CellKey, CellMatch, ChangedValue
from engine.results.observations import CaseFields, Observations


def axis(field: str, *labels: Any, has_cases: bool = False, **digests: str) -> AxisValues:
    """An axis of labels, or of contents by name."""
    values = {digest: name for name, digest in digests.items()} or {one: one for one in labels}
    return AxisValues(field=field, labels=values, is_large=bool(digests), has_cases=has_cases)


def match(own: AxisValues, other: AxisValues) -> CellMatch:
    return CellMatch.of([own], [other], folded_field="threshold")


def setting(digest: str | None = None, threshold: float | None = None, **labels: Any) -> Setting:
    digests = (digest, *(None for _ in labels))[: len(labels)]
    return Setting(labels=tuple(labels.values()), digests=digests, threshold=threshold)


def own_key(found: CellMatch, of: Setting, *axes: str) -> CellKey:
    return found.own_key(seen(axes), of)


def other_key(found: CellMatch, of: Setting, *axes: str) -> CellKey:
    return found.other_key(seen(axes), of)


def seen(axes: tuple[str, ...]) -> Observations:
    return Observations(axes=axes, case_fields=CaseFields())


def test_a_renamed_prompt_is_the_same_and_a_changed_one_is_matched_by_its_name() -> None:
    own = axis("prompt", kind="digest-1", strict="digest-2")
    other = axis("prompt", gentle="digest-1", strict="digest-0")

    found = match(own, other)

    for own_digest, other_digest in (("digest-1", "digest-1"), ("digest-2", "digest-0")):
        assert own_key(found, setting(own_digest, prompt="any"), "prompt") == other_key(
            found, setting(other_digest, prompt="any"), "prompt"
        )
    assert found.changes == (ChangedValue(field="prompt", own="strict", other="strict"),)


def test_exchanged_names_do_not_mislead() -> None:
    own = axis("prompt", first="digest-1", second="digest-2")
    other = axis("prompt", first="digest-2", second="digest-1")

    found = match(own, other)

    assert found.changes == ()
    assert own_key(found, setting("digest-1", prompt="first"), "prompt") == other_key(
        found, setting("digest-1", prompt="second"), "prompt"
    )


def test_two_runs_of_one_model_each_are_compared_over_these_models() -> None:
    found = match(axis("model", "a"), axis("model", "b"))

    assert own_key(found, setting(model="a"), "model") == other_key(
        found, setting(model="b"), "model"
    )
    assert found.changes == (ChangedValue(field="model", own="a", other="b"),)


@pytest.mark.parametrize(
    "axes",
    [
        (axis("model", "a", "b"), axis("model", "c")),
        (axis("group", "a", has_cases=True), axis("group", "b", has_cases=True)),
    ],
)
def test_other_values_have_no_counterpart(axes: tuple[AxisValues, AxisValues]) -> None:
    own, other = axes

    found = match(own, other)

    keys = {own_key(found, setting(of=label), own.field) for label in own.labels}
    others = {other_key(found, setting(of=label), own.field) for label in other.labels}
    assert found.changes == ()
    assert not keys & others


def test_thresholds_are_never_matched_with_others() -> None:
    found = match(axis("threshold", 0.3), axis("threshold", 0.5))

    assert found.fields == ()
    assert own_key(found, setting(threshold=0.3)) == other_key(found, setting(threshold=0.3))
    assert own_key(found, setting(threshold=0.3)) != other_key(found, setting(threshold=0.5))


def test_an_axis_that_only_one_run_has_is_left_out_if_it_has_one_value() -> None:
    models, single = axis("model", "a"), axis("temperature", 0.7)

    found = CellMatch.of([models], [models, single], folded_field=None)

    assert found.ignored == ("temperature",)
    assert own_key(found, setting(model="a"), "model") == other_key(
        found, setting(model="a", temperature=0.7), "model", "temperature"
    )
    with pytest.raises(UsageError, match=r"this run has no axis 'temperature', .* 2 values"):
        CellMatch.of([models], [models, axis("temperature", 0, 1)], folded_field=None)
