"""What holds of every sweep, tried on many."""

import json
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from itertools import product
from random import Random
from typing import Any

import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine.core.errors import SweepError
from engine.documents.document import YAML
from engine.documents.malformed import Malformed
from engine.sweep import Sweep
from tests.engine.sweep.kinds import REGISTRY

NAMES = ["acme/one", "acme/two", "b", "c[1]", "no", "1"]
FIELDS = {
    "models": "model",
    "prompts": "prompt",
    "groups": "group",
    "thresholds": "threshold",
    "variations": "variations",
    "layers": "layers",
}


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=4, unique=True)


names = some(NAMES)
thresholds = some([0.1, 0.25, 0.3, 0.5, 0.7, 1])


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    matrix: dict[str, Any] = {
        "models": draw(names),
        "prompts": [{"name": name, "text": f"Be {name}."} for name in draw(names)],
        "groups": draw(names),
        "thresholds": draw(thresholds),
        "layers": draw(some([0, 1, 2])),
        "repeats": draw(st.integers(1, 3)),
    }
    if draw(st.booleans()):
        matrix["variations"] = draw(some([1, 2, 3]))
    return {
        "name": "night",
        "service": {"kind": "labs"},
        "evaluation": "single_turn",
        "matrix": matrix,
        "exclude": draw(st.lists(exclusions(matrix), max_size=3)),
        "include": draw(st.lists(inclusions(), max_size=3)),
        "fold": draw(st.sampled_from(["exact", "always", "never"])),
    }


def exclusions(matrix: Mapping[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "models": st.sampled_from(["acme/*", *matrix["models"]]),
            "groups": st.sampled_from(["*", "zzz*", *matrix["groups"]]),
            "thresholds": st.sampled_from(matrix["thresholds"]),
            "layers": st.lists(st.sampled_from(matrix["layers"]), min_size=1),
        },
    ).filter(bool)


def inclusions() -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {},
        optional={
            "models": names,
            "groups": st.sampled_from(NAMES),
            "thresholds": thresholds,
            "variations": st.integers(1, 3),
        },
    ).filter(bool)


def parse(file: Mapping[str, Any]) -> Sweep:
    try:
        return Sweep.parse(file, registry=REGISTRY)
    except SweepError as error:
        assume("leaves no cell" not in str(error))
        raise


def as_list(written: Any) -> list[Any]:
    return written if isinstance(written, list) else [written]


def expected_cells(file: Mapping[str, Any]) -> set[tuple[Any, ...]]:
    """The cells of a file, by brute force."""
    own = {name: file["matrix"].get(name, [1]) for name in FIELDS}
    own["prompts"] = [prompt["name"] for prompt in own["prompts"]]

    def is_excluded(cell: tuple[Any, ...]) -> bool:
        return any(
            all(
                any(
                    value == one
                    or (isinstance(one, str) and any(c in one for c in "*?[") and fnmatchcase(str(value), one))
                    for one in as_list(rule[name])
                )
                for name, value in zip(FIELDS, cell, strict=True)
                if name in rule
            )
            for rule in file["exclude"]
        )  # fmt: skip

    points = {cell for cell in product(*own.values()) if not is_excluded(cell)}
    for rule in file["include"]:
        points |= set(product(*(as_list(rule.get(name, own[name])) for name in FIELDS)))
    return {
        (*point, number) for point in points for number in range(1, file["matrix"]["repeats"] + 1)
    }


def count_answers(sweep: Sweep) -> Counter[tuple[Any, ...]]:
    """Each cell with the number of jobs that answer it."""
    return Counter(
        (
            *(
                threshold if field == "threshold" else job.labels[field]
                for field in FIELDS.values()
            ),
            job.repeat,
        )
        for job in sweep.jobs()
        for threshold in job.cells
    )


@given(files())
@settings(max_examples=100)
def test_each_cell_is_answered_by_exactly_one_job(file: dict[str, Any]) -> None:
    sweep = parse(file)

    found = count_answers(sweep)

    assert set(found) == expected_cells(file)
    assert set(found.values()) == {1}


@given(files())
@settings(max_examples=60)
def test_keys_are_unique_and_a_job_answers_up_to_its_own_threshold(file: dict[str, Any]) -> None:
    jobs = list(parse(file).jobs())

    assert len({job.key for job in jobs}) == len(jobs)
    for job in jobs:
        assert list(job.cells) == sorted(job.cells)
        assert job.cells[-1] == job.labels["threshold"]


@given(files())
@settings(max_examples=60)
def test_the_plan_agrees_with_the_jobs(file: dict[str, Any]) -> None:
    sweep = parse(file)

    plan = sweep.plan()

    jobs = list(sweep.jobs())
    assert plan.jobs == len(jobs)
    assert plan.cells == len(expected_cells(file))
    assert plan.lanes == Counter(job.lane for job in jobs)


@given(files(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_order_formatting_and_defaults_change_no_key(file: dict[str, Any], random: Random) -> None:
    sweep = parse(file)
    spelt_out = {**file, "target": "system_prompt", "reuse": True, "retry": {"attempts": 6}}
    spelt_out["matrix"] = {"variations": [1], "styles": ["plain"], **file["matrix"]}
    text = random.choice(
        [
            json.dumps(shuffle(spelt_out, random), indent=random.choice([None, 3])),
            yaml.safe_dump(
                shuffle(spelt_out, random), default_flow_style=random.choice([True, False])
            ),
        ]
    )

    other = parse(YAML.read(text))

    is_in_order = [job.key for job in other.jobs()] == [job.key for job in sweep.jobs()]
    assert is_in_order or other.digest != sweep.digest
    assert {job.key for job in other.jobs()} == {job.key for job in sweep.jobs()}
    assert {job.family for job in other.jobs()} == {job.family for job in sweep.jobs()}


def shuffle(value: Any, random: Random) -> Any:
    if isinstance(value, dict):
        keys = random.sample(list(value), len(value))
        return {key: shuffle(value[key], random) for key in keys}
    if isinstance(value, list):
        return [shuffle(item, random) for item in random.sample(value, len(value))]
    return value


@given(files())
@settings(max_examples=60)
def test_a_dump_restores_the_same_jobs_in_the_same_order(file: dict[str, Any]) -> None:
    sweep = parse(file)

    restored = Sweep.restore(json.loads(json.dumps(sweep.dump(), sort_keys=True)), REGISTRY)

    assert restored.digest == sweep.digest
    assert list(restored.jobs()) == list(sweep.jobs())
    assert restored.dump() == sweep.dump()


@given(files())
@settings(max_examples=50)
def test_a_prompt_is_known_by_its_text(file: dict[str, Any]) -> None:
    sweep = parse({**file, "exclude": [], "include": []})
    renamed = json.loads(json.dumps({**file, "exclude": [], "include": []}))
    for number, prompt in enumerate(renamed["matrix"]["prompts"]):
        prompt["name"] = f"renamed {number}"

    other = parse(renamed)

    assert [job.key for job in other.jobs()] == [job.key for job in sweep.jobs()]
    assert other.digest != sweep.digest


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
KEYS = [
    *("name", "service", "evaluation", "target", "matrix", "include", "exclude"),
    *("limits", "retry", "fold", "reuse"),
]


@given(files(), st.dictionaries(st.sampled_from(KEYS), json_values, max_size=3))
@settings(max_examples=200)
def test_whatever_a_file_says_it_is_a_sweep_or_a_named_error(
    file: dict[str, Any], nonsense: dict[str, Any]
) -> None:
    assert_settled({**file, **nonsense})


@given(files(), st.sampled_from([*FIELDS, "repeats", "max_turns"]), json_values)
@settings(max_examples=200)
def test_whatever_an_axis_holds_it_is_a_sweep_or_a_named_error(
    file: dict[str, Any], axis: str, nonsense: Any
) -> None:
    assert_settled({**file, "matrix": {**file["matrix"], axis: nonsense}})


def assert_settled(file: dict[str, Any]) -> None:
    try:
        found = Sweep.parse(file, registry=REGISTRY).name
    except SweepError as error:
        found = str(error)
    assert found


@given(st.text(alphabet=st.sampled_from("ab:-*&[]{}!?,#|>'\"\n \t0~<%@"), max_size=40))
@settings(max_examples=500)
def test_whatever_a_text_holds_it_is_yaml_or_a_named_error(text: str) -> None:
    try:
        found = json.dumps(YAML.read(text))
    except Malformed as error:
        found = str(error)

    assert found
