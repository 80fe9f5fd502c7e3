import gc
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import pytest

from engine.core.axes import Axis, AxisValue, NumberAxis, PromptAxis, TextAxis
from engine.core.matrix import Fold, JobCount, JobSpec, Matrix, MatrixAxis
from engine.core.money import CallSize


class Rules:
    """A kind that folds where the model says so."""

    def lane(self, labels: Mapping[str, Any]) -> str:
        return str(labels["model"])

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        return "one"

    def expected_tests(self, labels: Mapping[str, Any]) -> int | None:
        return 7

    def questions(self, labels: Mapping[str, Any]) -> int:
        return 0

    def calls(self, labels: Mapping[str, Any]) -> Mapping[str, int]:
        return {}

    def call_sizes(self, parameters: Mapping[str, Any]) -> Sequence[CallSize]:
        return ()

    def requests(self, labels: Mapping[str, Any]) -> int:
        return 2

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        return str(labels["model"]).startswith("folding")


def axis(kind: Axis, *values: Any, included: tuple[Any, ...] = ()) -> MatrixAxis:
    return MatrixAxis(
        axis=kind,
        values=tuple(AxisValue(label=value, content=value) for value in (*values, *included)),
        own=len(values),
    )


MODEL = TextAxis(name="models", field="model")
THRESHOLD = NumberAxis(name="thresholds", field="threshold", minimum=0, maximum=1)
PROMPT = PromptAxis(name="prompts", field="prompt")


def jobs(matrix: Matrix, identity: Any = "here") -> Iterator[JobSpec]:
    return matrix.jobs(Rules(), fold="exact", identity=identity)


def test_a_matrix_without_a_folded_field_has_one_job_a_cell() -> None:
    matrix = Matrix(axes=(axis(MODEL, "a", "b"), axis(PROMPT, "p", "q")), repeats=2)

    found = list(jobs(matrix))

    assert len(found) == len({job.key for job in found}) == matrix.size == 8
    assert all(job.cells == () and job.family is None for job in found)
    assert found[0].labels == {"model": "a", "prompt": "p", "repeat": 1}
    assert matrix.documents()[found[0].documents["prompt"]] == "p"


def test_keys_do_not_depend_on_the_order_of_a_kinds_axes() -> None:
    axes = (axis(MODEL, "a"), axis(PROMPT, "p"), axis(THRESHOLD, 0.5))
    one = Matrix(axes=axes, folded_field="threshold")
    other = Matrix(axes=axes[::-1], folded_field="threshold")

    assert [job.key for job in jobs(one)] == [job.key for job in jobs(other)]
    assert list(next(jobs(other)).labels) == ["threshold", "prompt", "model", "repeat"]


def test_a_key_depends_on_the_service() -> None:
    matrix = Matrix(axes=(axis(MODEL, "a"),))

    assert next(jobs(matrix, "here")).key != next(jobs(matrix, "there")).key


def test_a_value_on_another_axis_is_another_question() -> None:
    one = Matrix(axes=(axis(MODEL, "a"), axis(PROMPT, "b")))
    other = Matrix(axes=(axis(MODEL, "b"), axis(PROMPT, "a")))

    assert next(jobs(one)).key != next(jobs(other)).key


def test_each_repeat_has_a_key_and_a_family_of_its_own() -> None:
    matrix = Matrix(
        axes=(axis(MODEL, "a"), axis(THRESHOLD, 0.5, 0.7)), repeats=2, folded_field="threshold"
    )

    found = list(jobs(matrix))

    assert len({job.key for job in found}) == 4
    assert len({job.family for job in found}) == 2
    assert [job.repeat for job in found] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("own", "included", "excluded", "highest"),
    [
        ((0.3, 0.7, 0.5), (), (), 0.7),
        # What is included is not asked of all.
        ((0.3, 0.5), (0.9,), (), 0.5),
        ((), (0.9, 0.8), (), 0.9),
        ((0.3, 0.7), (), ({"threshold": frozenset({1})},), 0.3),
        ((0.3, 0.7), (), ({"model": frozenset({0}), "threshold": frozenset({1})},), 0.7),
    ],
)
def test_the_highest_threshold_is_one_that_is_asked_of_all(
    own: tuple[float, ...], included: tuple[float, ...], excluded: Any, highest: float
) -> None:
    axes = (axis(MODEL, "a", "b"), axis(THRESHOLD, *own, included=included))

    matrix = Matrix(axes=axes, folded_field="threshold", excluded=excluded)

    assert matrix.highest_threshold == highest
    assert Matrix(axes=axes[:1]).highest_threshold is None


def test_a_combination_folds_over_the_thresholds_that_it_is_left_with() -> None:
    matrix = Matrix(
        axes=(
            axis(MODEL, "folding", "folding too", "plain"),
            axis(THRESHOLD, 0.7, 0.3, 0.5, included=(0.9,)),
        ),
        folded_field="threshold",
        excluded=(
            {"model": frozenset({0}), "threshold": frozenset({0})},
            {"model": frozenset({1}), "threshold": frozenset({0, 1, 2})},
        ),
        included=({"model": frozenset({2}), "threshold": frozenset({2, 3})},),
    )

    found = [(job.lane, job.cells) for job in jobs(matrix)]

    assert found == [
        ("folding", (0.3, 0.5)),
        ("plain", (0.7,)),
        ("plain", (0.3,)),
        ("plain", (0.5,)),
        ("plain", (0.9,)),
    ]


def test_counts_are_those_of_the_jobs() -> None:
    matrix = Matrix(
        axes=(axis(MODEL, "folding", "plain"), axis(THRESHOLD, 0.3, 0.5)),
        repeats=3,
        folded_field="threshold",
    )

    counts = list(matrix.counts(Rules(), fold="exact"))

    assert counts == [
        JobCount("folding", 3, 6, 6, 7, most_tests=7),
        JobCount("plain", 3, 3, 6, 7, most_tests=7),
        JobCount("plain", 3, 3, 6, 7, most_tests=7),
    ]


def test_a_matrix_whose_every_cell_is_excluded_is_empty() -> None:
    matrix = Matrix(axes=(axis(MODEL, "a", "b"),), excluded=({"model": frozenset({0, 1})},))

    assert matrix.is_empty()
    assert list(jobs(matrix)) == []


def test_an_axis_without_values_leaves_nothing() -> None:
    matrix = Matrix(axes=(axis(MODEL, "a"), axis(THRESHOLD)), folded_field="threshold")

    assert matrix.is_empty()
    assert matrix.size == 0


def test_fingerprints_differ_if_the_jobs_or_their_order_differ() -> None:
    rules = ({"model": frozenset({0})}, {"model": frozenset({1})})
    one = Matrix(axes=(axis(MODEL, "a", "b", "c"),), excluded=rules)
    same = Matrix(axes=(axis(MODEL, "a", "b", "c"),), excluded=rules[::-1])
    reordered = Matrix(
        axes=(axis(MODEL, "c", "b", "a"),),
        excluded=({"model": frozenset({2})}, {"model": frozenset({1})}),
    )
    other = Matrix(axes=(axis(MODEL, "a", "b", included=("c",)),), excluded=rules)

    assert one.fingerprint() == same.fingerprint()
    assert one.fingerprint() != reordered.fingerprint()
    assert one.fingerprint() != other.fingerprint()


def test_the_first_repeat_of_every_cell_comes_before_the_second_of_any() -> None:
    matrix = Matrix(
        axes=(axis(MODEL, "b", "a"), axis(THRESHOLD, 0.7, 0.5)), repeats=3, folded_field="threshold"
    )

    found = [
        (job.repeat, job.place, job.labels["model"], job.labels["threshold"])
        for job in jobs(matrix)
    ]

    assert [(repeat, model, threshold) for repeat, _, model, threshold in found] == [
        (repeat, model, threshold)
        for repeat in (1, 2, 3)
        for model, threshold in [("b", 0.7), ("b", 0.5), ("a", 0.7), ("a", 0.5)]
    ]
    assert found == sorted(found, key=lambda job: job[:2])
    assert len({place for _, place, _, _ in found}) == 4


@pytest.mark.parametrize("fold", ["never", "always"])
@pytest.mark.parametrize("changed", range(3))
def test_a_value_at_the_end_of_an_axis_leaves_every_other_job_its_place(
    changed: int, fold: Fold
) -> None:
    values: list[list[Any]] = [["b", "a"], ["one", "two"], [0.7, 0.5]]
    more: list[Any] = ["c", "three", 0.3]

    def places() -> dict[tuple[Any, ...], int]:
        axes = [
            axis(of, *some) for of, some in zip((MODEL, PROMPT, THRESHOLD), values, strict=True)
        ]
        matrix = Matrix(
            axes=tuple(axes),
            folded_field="threshold",
            excluded=({"model": frozenset({0}), "prompt": frozenset({1})},),
        )
        return {
            tuple(job.labels.values()): job.place
            for job in matrix.jobs(Rules(), fold=fold, identity="")
        }

    before = places()
    values[changed].append(more[changed])
    after = places()

    assert list(after.values()) == sorted(set(after.values()))
    assert {labels: after[labels] for labels in before} == before
    assert len(after) > len(before) or (fold, changed) == ("always", 2)


def test_places_fit_a_store_however_many_values_there_are() -> None:
    axes = [axis(of, *map(str, range(33_000))) for of in (MODEL, PROMPT)]
    numbers = axis(THRESHOLD, *(number / 40_000 for number in range(33_000)))
    matrix = Matrix(axes=(*axes, numbers), folded_field="threshold")
    source = matrix.jobs(Rules(), fold="never", identity="")

    places = [job.place for job in islice(source, 66_001)]

    assert places == sorted(set(places))
    assert places[-1] < 2**61


@pytest.mark.parametrize("rules", [(), ({"model": frozenset({1})},)])
def test_memory_does_not_grow_with_the_number_of_jobs(rules: Any) -> None:
    matrix = Matrix(
        axes=(axis(MODEL, *map(str, range(1000))), axis(PROMPT, *map(str, range(1000)))),
        excluded=rules,
        included=rules,
    )
    assert matrix.size >= 1_000_000
    source = jobs(matrix)

    tracemalloc.start()
    try:
        for _ in islice(source, 2_000):
            pass
        early = _reachable_bytes()
        for _ in islice(source, 18_000):
            pass
        late = _reachable_bytes()
    finally:
        tracemalloc.stop()

    # Each job that was kept would take more than a hundred bytes.
    assert late < early + 50_000


def _reachable_bytes() -> int:
    """What is still in use: when garbage is collected depends on the tests before."""
    gc.collect()
    in_use, _ = tracemalloc.get_traced_memory()
    return in_use
