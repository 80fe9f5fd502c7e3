import json
from pathlib import Path

import pytest

from engine.core.errors import SweepError, UsageError
from engine.core.policy import LaneLimits, Retry, Window
from engine.registry import Registry
from engine.sweep import Sweep, SweepFacts
from tests.engine.sweep.kinds import REGISTRY, Gate, Labs, SingleTurnFinetune
from tests.engine.sweep.sweeps import matrix, parse, sweep_file

YAML = """\
name: crisis-safety
service: {kind: labs, base_url: https://api.labs.test/v1/, api_key: env:LABS_KEY}
evaluation: single_turn            # a comment
target: system_prompt
matrix:
  models: [anthropic/claude, qwen/qwen3-max]
  prompts: [{name: bare, text: You are a helpful assistant.}, {file: prompts/*.md}]
  groups: all
  thresholds: [0.3, 5e-1, 0.7]
  variations: [1, 3]
  layers: [0]
  repeats: 3
include: []
exclude: [{models: qwen/*, groups: eating_disorders}]
limits: {rate_per_min: 60, max_in_flight: 16, models: {"anthropic/*": {rate_per_min: 20}}, quota: {tests: 5000}}
retry: {attempts: 6, base_delay_s: 1, max_delay_s: 300}
"""

TOML = """\
name = "crisis-safety"
evaluation = "single_turn"
[service]
api_key = "env:LABS_KEY"
base_url = "https://api.labs.test/v1/"
kind = "labs"
[matrix]
repeats = 3
thresholds = [0.3, 0.50, 0.7]
variations = [1, 3]
groups = "all"
models = ["anthropic/claude", "qwen/qwen3-max"]
[[matrix.prompts]]
name = "bare"
text = "You are a helpful assistant."
[[matrix.prompts]]
file = "prompts/kind.md"
[[exclude]]
groups = ["eating_disorders"]
models = ["qwen/qwen3-max"]
"""

JSON = """\
{"matrix": {"models": ["anthropic/claude", "qwen/qwen3-max"], "groups": "all", "repeats": 3,
            "prompts": [{"text": "You are a helpful assistant.", "name": "bare"},
                        {"name": "kind", "text": "Be kind."}],
            "thresholds": {"from": 0.3, "to": 0.7, "step": 0.2}, "variations": [1, 3]},
 "exclude": [{"models": "qwen/*", "groups": "eating_disorders"}],
 "evaluation": "single_turn", "name": "crisis-safety", "fold": "exact", "reuse": true,
 "service": {"kind": "labs", "base_url": "https://api.labs.test/v1/", "api_key": "env:LABS_KEY"}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "kind.md").write_text("Be kind.\n")
    return tmp_path


def load(folder: Path, name: str, text: str) -> Sweep:
    (folder / name).write_text(text)
    return Sweep.load(folder / name, REGISTRY)


def test_a_sweep_is_the_same_in_yaml_toml_and_json(folder: Path) -> None:
    sweeps = [
        load(folder, "sweep.yaml", YAML),
        load(folder, "sweep.toml", TOML),
        load(folder, "sweep.json", JSON),
    ]

    pinned = [sweep.with_groups(["eating_disorders", "mania"]) for sweep in sweeps]

    assert len({sweep.digest for sweep in sweeps}) == 1
    assert len({sweep.digest for sweep in pinned}) == 1
    keys = [[job.key for job in sweep.jobs()] for sweep in pinned]
    assert keys[0] == keys[1] == keys[2]


def test_everything_in_the_file_arrives(folder: Path) -> None:
    sweep = load(folder, "sweep.yaml", YAML)

    assert (sweep.name, sweep.service_kind) == ("crisis-safety", "labs")
    assert (sweep.evaluation, sweep.target) == ("single_turn", "system_prompt")
    assert sweep.groups_pending
    assert sweep.limits.rate_per_min == 60
    assert sweep.limits.quota_tests == 5000
    assert sweep.limits.for_lane("anthropic/claude") == LaneLimits(rate_per_min=20)
    assert sweep.retry == Retry()
    assert (sweep.fold, sweep.reuse, sweep.health) == ("exact", True, None)


def test_the_jobs_come_in_the_order_of_the_file() -> None:
    sweep = parse(
        matrix=matrix(models=["b", "a"], prompts=[{"name": "p", "text": "P"}], groups=["y", "x"]),
        fold="never",
    )

    jobs = list(sweep.jobs())

    assert [(job.labels["model"], job.labels["group"], job.cells) for job in jobs[:5]] == [
        ("b", "y", (0.3,)),
        ("b", "y", (0.5,)),
        ("b", "y", (0.7,)),
        ("b", "x", (0.3,)),
        ("b", "x", (0.5,)),
    ]
    assert list(jobs[0].labels) == [
        "model",
        "prompt",
        "group",
        "threshold",
        "variations",
        "layers",
        "style",
        "repeat",
    ]


def test_a_job_says_all_that_the_store_needs() -> None:
    sweep = parse(matrix=matrix(models=["acme/one"], groups=["mania"], variations=[3], repeats=2))

    jobs = list(sweep.jobs())

    assert [job.repeat for job in jobs] == [1, 1, 2, 2]
    assert jobs[0].place == jobs[2].place < jobs[1].place == jobs[3].place
    first = jobs[0]
    assert len(first.key) == 32
    assert first.family is not None
    assert len(first.family) == 32
    assert first.lane == "acme/one"
    assert first.cost_class == "mania/3/0"
    assert first.expected_tests == 30
    assert first.cells == (0.3, 0.5, 0.7)
    assert first.labels["threshold"] == 0.7
    assert first.labels["prompt"] == "bare"
    assert first.labels["repeat"] == 1
    assert sweep.documents()[first.documents["prompt"]] == "Help."


def test_a_kind_without_thresholds_has_no_cells_in_its_jobs() -> None:
    endpoints = [{"model": "a"}, {"model": "b", "temperature": 1}]
    sweep = parse(evaluation="pinging", matrix={"models": endpoints})

    jobs = list(sweep.jobs())

    assert sweep.target == "endpoint"
    assert [job.labels for job in jobs] == [
        {"model": "a", "repeat": 1},
        {"model": "b", "repeat": 1},
    ]
    assert all(job.cells == () and job.family is None for job in jobs)
    documents = sweep.documents()
    assert documents[jobs[1].documents["model"]]["temperature"] == 1.0


def test_a_target_is_chosen_by_name() -> None:
    sweep = parse(target="finetune", matrix=matrix(prompts=None))

    assert isinstance(sweep.kind, SingleTurnFinetune)


def test_a_service_and_its_health_gate_are_made_from_their_settings() -> None:
    sweep = parse(
        service={"kind": "labs", "regions": ["eu"], "health": {"kind": "gate", "every_s": 5}}
    )

    service, gate = sweep.service, sweep.health_gate

    assert isinstance(service, Labs)
    assert service.settings.regions == ("eu",)
    assert isinstance(gate, Gate)
    assert gate.settings.every_s == 5


def test_a_health_gate_may_be_named_alone() -> None:
    sweep = parse(service={"kind": "labs", "health": "gate"})

    assert sweep.health is not None
    assert sweep.health.kind == "gate"
    assert parse().health_gate is None


def test_pending_groups_stop_the_jobs_and_not_the_plan() -> None:
    sweep = parse(matrix=matrix(groups="all"))

    with pytest.raises(UsageError, match="still pending"):
        sweep.jobs()

    plan = sweep.plan()
    assert plan.cells == 3 * 2 * 1 * 3
    assert any("groups: all" in line for line in plan.unknown)


def test_groups_are_pinned_once() -> None:
    sweep = parse(matrix=matrix(groups="all")).with_groups(["b", "a", "b"])

    assert not sweep.groups_pending
    assert [job.labels["group"] for job in sweep.jobs()][:2] == ["b", "a"]
    assert sweep.with_groups(["c"]) is sweep


def test_pinned_groups_make_the_same_jobs_as_written_ones() -> None:
    named = parse()
    pinned = parse(matrix=matrix(groups="all"))

    assert pinned.with_groups(named.groups()).digest == named.digest
    assert pinned.with_groups(reversed(named.groups())).digest != named.digest


def test_a_rule_that_names_an_unknown_group_is_refused_when_groups_are_pinned() -> None:
    sweep = parse(matrix=matrix(groups="all"), exclude=[{"groups": "manja"}])

    with pytest.raises(SweepError, match=r'exclude\[0\].groups: manja .* did you mean "mania"\?'):
        sweep.with_groups(["mania"])


def test_no_groups_at_all_are_refused() -> None:
    sweep = parse(matrix=matrix(groups="all"))

    with pytest.raises(UsageError, match="offers no test-case groups"):
        sweep.with_groups([])


def test_a_group_that_a_terminal_cannot_show_is_refused() -> None:
    sweep = parse(matrix=matrix(groups="all"))

    with pytest.raises(UsageError, match="control characters"):
        sweep.with_groups(["\x1b[2J"])


def test_pinned_groups_that_are_all_excluded_leave_nothing() -> None:
    sweep = parse(matrix=matrix(groups="all"), exclude=[{"groups": "*"}])

    with pytest.raises(SweepError, match="leaves no cell"):
        sweep.with_groups(["mania"])


def test_a_dump_needs_no_files(folder: Path) -> None:
    sweep = load(folder, "sweep.yaml", YAML).with_groups(["mania", "eating_disorders"])
    stored = json.loads(json.dumps(sweep.dump(), sort_keys=True))
    (folder / "prompts" / "kind.md").unlink()

    restored = Sweep.restore(stored, REGISTRY)

    assert restored.digest == sweep.digest
    assert list(restored.jobs()) == list(sweep.jobs())
    assert restored.documents() == sweep.documents()
    assert restored.limits == sweep.limits
    assert restored.dump() == sweep.dump()


def test_the_axes_of_a_dump_are_known_without_its_service(folder: Path) -> None:
    sweep = load(folder, "sweep.yaml", YAML).with_groups(["mania", "eating_disorders"])

    facts = SweepFacts.restore(json.loads(json.dumps(sweep.dump())))

    assert facts is not None
    assert [(type(axis.axis), axis.field, axis.values) for axis in facts.axes] == [
        (type(axis.axis), axis.field, axis.values) for axis in sweep.matrix.axes
    ]


def test_a_dump_keeps_what_is_pending() -> None:
    sweep = parse(matrix=matrix(groups="all"), exclude=[{"groups": "mania"}])

    restored = Sweep.restore(sweep.dump(), REGISTRY)

    assert restored.groups_pending
    assert restored.with_groups(["mania", "b"]).digest == sweep.with_groups(["mania", "b"]).digest


def test_a_dump_keeps_windows_deadlines_rules_and_health() -> None:
    sweep = parse(
        service={"kind": "labs", "health": {"kind": "gate", "every_s": 5}},
        include=[{"prompts": [{"name": "new", "text": "New."}], "thresholds": 0.9}],
        limits={
            "window": "22:00-07:00",
            "timezone": "Europe/Berlin",
            "deadline": "2026-11-02T07:00:00Z",
            "models": {"b*": {"rate_per_min": 1}, "a*": {"max_in_flight": 2}},
        },
    )

    restored = Sweep.restore(json.loads(json.dumps(sweep.dump(), sort_keys=True)), REGISTRY)

    assert restored.limits == sweep.limits
    assert restored.limits.window == Window(start_min=1320, end_min=420, timezone="Europe/Berlin")
    assert restored.limits.deadline == 1793602800.0
    assert restored.health is not None
    assert restored.health.kind == "gate"
    assert restored.health.gate.settings.every_s == 5
    assert list(restored.jobs()) == list(sweep.jobs())


def test_documents_are_dumped_as_they_are_sent() -> None:
    sweep = parse(evaluation="pinging", matrix={"models": [{"model": "a", "api_key": "env:K"}]})

    restored = Sweep.restore(json.loads(json.dumps(sweep.dump())), REGISTRY)

    assert restored.documents() == sweep.documents()
    assert restored.digest == sweep.digest


def test_a_dump_of_a_service_that_is_gone_says_so() -> None:
    dump = parse().dump()

    with pytest.raises(UsageError, match="there is no service 'labs'"):
        Sweep.restore(dump, Registry())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "format: was written by another version"),
        ({"evaluation": "old"}, "old system_prompt is no longer offered"),
        ({"matrix": {"moods": ["x"]}}, "matrix.moods: is no longer an axis"),
        ({"service": {"kind": "labs", "colour": "red"}}, "service.colour: unknown key"),
    ],
)
def test_a_dump_that_fits_no_more_says_why(change: dict[str, object], message: str) -> None:
    dump = {**parse().dump(), **change}

    with pytest.raises(SweepError, match=message):
        Sweep.restore(dump, REGISTRY)


def test_limits_and_retries_do_not_change_what_is_asked() -> None:
    hurried = parse(limits={"rate_per_min": 600}, retry={"attempts": 2})

    assert hurried.digest == parse().digest


@pytest.mark.parametrize(
    "changes",
    [
        {"service": {"kind": "labs", "base_url": "https://other.test/"}},
        {"matrix": matrix(thresholds=[0.3, 0.5])},
        {"matrix": matrix(repeats=2)},
        {"matrix": matrix(prompts=[{"name": "bare", "text": "Helf."}])},
        {"exclude": [{"models": "other/*"}]},
        {"include": [{"models": "acme/four"}]},
        {"fold": "never"},
        {"reuse": False},
    ],
)
def test_what_decides_the_jobs_decides_the_digest(changes: dict[str, object]) -> None:
    assert parse(**changes).digest != parse().digest


def test_installed_services_are_used_without_a_registry() -> None:
    with pytest.raises(SweepError, match="there is no service 'labs'"):
        Sweep.parse(sweep_file())


def test_names_are_written_in_any_script() -> None:
    names = ["می\u200cروم", "क्\u200dष", "👩\u200d⚕️"]

    sweep = parse(
        name=names[0],
        matrix=matrix(prompts=[{"name": name, "text": name} for name in names]),
        exclude=[{"prompts": names[1]}],
    )

    assert sweep.name == names[0]
    assert {job.labels["prompt"] for job in sweep.jobs()} == {names[0], names[2]}
