"""The messages for common mistakes in sweep files, each with the line and column."""

from pathlib import Path

import pytest

from engine.core.errors import SweepError
from engine.sweep import Sweep
from jobs.evaluator.providers import endpoint_advice

GOOD = """\
name: night
service:
  kind: local
evaluation: single_turn
matrix:
  models: [smollm2-135m]
  groups: [self_harm]
  thresholds: [0.5]
  prompts:
    - name: helper
      text: You are a helper.
"""
KEYED = GOOD.replace("kind: local", "kind: circuit-breaker-labs\n  api_key: {}")


def reported(folder: Path, text: str, name: str = "s.yaml") -> list[str]:
    """The mistakes of such a file, each from its line and column on, without the lines they show."""
    (folder / name).write_text(text, encoding="utf-8")
    with pytest.raises(SweepError) as caught:
        Sweep.load(folder / name)
    lines = [line for line in str(caught.value).splitlines() if not line.startswith("    ")]
    return [line.removeprefix(f"{folder / name}:") for line in lines]


def test_the_sweep_to_be_spoilt_is_good(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(GOOD)

    assert Sweep.load(tmp_path / "s.yaml").name == "night"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("You are a helper", "You are: a helper", '11:13: not YAML: text with a colon and a space in it must be in quotes: text: "..."'),
        ("- name: helper\n      text: You are a helper.", "- {name: helper, text: You are: kind}", '10:28: not YAML: text with a colon and a space in it must be in quotes: text: "...", or a comma is missing'),
        ("You are", "@you are", '11:13: not YAML: text that begins with @ must be in quotes: "..."'),
        ("You are", "%you are", '11:13: not YAML: text that begins with % must be in quotes: "..."'),
        ("You are", "`you` are", '11:13: not YAML: text that begins with ` must be in quotes: "..."'),
        ("You are", "*you* are", '11:13: not YAML: text that begins with * must be in quotes: "..."'),
        ("You are", "&you& are", '11:13: not YAML: text that begins with & must be in quotes: "..."'),
        ("You are", "{you} are", '11:13: not YAML: text that begins with { must be in quotes: "..."'),
        ("You are", "[you] are", '11:13: not YAML: text that begins with [ must be in quotes: "..."'),
        ("You are", "{{you}} are", '11:14: a key must be text; text that begins with { must be in quotes: "..."'),
        ("You are", "- you are", '11:13: not YAML: a list begins on a line of its own; text that begins with - must be in quotes: "..."'),
        ("You are", "!you are", "11:13: tags (!...) are not supported; write text that begins like this in quotes"),
        ("You are a helper.", '"You" are', '11:19: not YAML: text after its closing quote: write quotes within it as \\" in double quotes'),
        ("You are a helper.", '"You are', "11:13: not YAML: a quote is opened and never closed"),
        ("  kind", "\tkind", "3:1: not YAML: a tab: YAML is indented with spaces"),
        ("name: night", "name:night", "1:5: not YAML: a space is missing after the colon"),
        ("evaluation: single", "evaluation:single", "4:11: not YAML: a space is missing after the colon"),
        ("\n  kind: local", " {kind:local}", "2:11: service.kind:local: unknown key; write a space after the colon: kind: ..."),
        ("matrix:", "limits:\n  rate_per_min:5\nmatrix:", "5:1: limits: must be a mapping, not text: a space is missing after the colon"),
        ("[self_harm]", "[self_harm", "8:13: not YAML: the [ of line 7 is not closed, or a comma is missing"),
        ("  groups", "   groups", "7:4: not YAML: a line that is indented differently from those around it, or belongs to no key"),
        ("evaluation", " evaluation", "4:2: not YAML: a line that is indented differently from those around it, or belongs to no key"),
        ("service:\n", "service: local\n", "3:3: not YAML: a colon inside a value: indent the line like the one above, or write text with a colon in quotes"),
        ("local", "local\n  model_path: \"C:\\models\\m.gguf\"", "4:18: not YAML: backslashes in double quotes are escapes: write the text in single quotes, or / in a path"),
        ("text: You are a helper.", 'file: "C:\\new.md"', "10:7: matrix.prompts[0]"),
        ("single_turn", "“single_turn”", '4:13: evaluation: this service has no “single_turn”; did you mean "single_turn"; curly quotes are part of the text: write straight ones'),
        ("matrix:", "reuse: no\nmatrix:", "5:8: reuse: must be true or false, not no: write false"),
        ("matrix:", "reuse: 'on'\nmatrix:", "5:8: reuse: must be true or false, not on: write true"),
        ("matrix:", "name: again\nmatrix:", "5:1: name: the key occurs twice: keep one"),
        ("matrix:", "retry: {attempts: '5'}\nmatrix:", "5:19: retry.attempts: must be a whole number, not text: leave out the quotes"),
        ("matrix:", "retry: {attempts: five}\nmatrix:", "5:19: retry.attempts: must be a whole number, not text"),
        ("matrix:", "retry: {attempts: 2.5}\nmatrix:", "5:19: retry.attempts: must be a whole number, not 2.5"),
        ("matrix:", "fold: exacct\nmatrix:", "5:7: fold: must be 'exact', 'always' or 'never'; did you mean \"exact\"?"),
        ("matrix:", 'limits: {window: "22:00-07:00"}\nmatrix:', "5:18: limits: window needs a timezone, such as Europe/Berlin"),
        ("matrix:", "retry: {max_delay_s: 1, base_delay_s: 2}\nmatrix:", "5:39: retry: base_delay_s is above max_delay_s"),
        ("matrix:", "thresholds: [0.5]\nmatrix:", "5:1: thresholds: unknown key; it belongs in matrix"),
        ("matrix:", "endpoint: {}\nmatrix:", "5:1: endpoint: unknown key; it belongs in service"),
        ("matrix:", "rate_per_min: 5\nmatrix:", "5:1: rate_per_min: unknown key; it belongs in limits: {rate_per_min: ...}"),
        ("matrix:\n", "matrix:\n  rate_per_min: 5\n", "6:3: matrix.rate_per_min: unknown axis; rate_per_min belongs in limits"),
        ("matrix:\n", "matrix:\n  max_turns: [4]\n", "6:3: matrix.max_turns: is an axis of multi_turn, not of single_turn"),
        ("local", "local\n  base_url: http://127.0.0.1:1/v1", "4:3: service.base_url: unknown key; it belongs in endpoint: {base_url: ...}"),
        ("local", "local\n  judge: rubric", "4:10: service.judge: must be rules, or {kind: rubric, endpoint: ..., model: ...}"),
        ("local", "local\n  cases: nowhere", "4:10: service.cases: "),
        ("[0.5]", "[0.5, 1.5]", "8:21: matrix.thresholds[1]: 1.5 is above 1"),
        ("[0.5]", "{from: 0, to: 1, stp: 0.1}", '8:32: matrix.thresholds.stp: unknown key; did you mean "step"?'),
        ("[self_harm]", "[self_harm, mania, self_harn]", '7:30: matrix.groups[2]: there is no group self_harn; did you mean "self_harm"?'),
        ("[self_harm]", "[self_harm, self_harm]", "7:23: matrix.groups[1]: self_harm is listed already, at matrix.groups[0]"),
        ("[smollm2-135m]", "[smolm2-135m]", '6:12: matrix.models[0]: there is no model smolm2-135m; did you mean "smollm2-135m"?'),
        ("[smollm2-135m]", "[openai/gpt-4o]", "6:12: matrix.models[0]: there is no model openai/gpt-4o; this sweep evaluates smollm2-135m in this process; for other models set service.endpoint, such as {base_url: https://openrouter.ai/api/v1, api_key: env:OPENROUTER_API_KEY}"),
        ("[smollm2-135m]", "smollm2-135m", "6:11: matrix.models: must be a list, not text"),
        ("name: helper\n      text: You are a helper.", "file: gone.md", "10:7: matrix.prompts[0]: gone.md: there is no such file"),
        ("name: helper\n      text: You are a helper.", "file: no/*.md", "10:7: matrix.prompts[0]: no/*.md: matches no file"),
        ("matrix:", "exclude: [{groups: mania}]\nmatrix:", '5:20: exclude[0].groups: mania is none of groups'),
        ("kind: local", "kind: openrouter", "3:9: service.kind: there is no service 'openrouter'; use kind: local with endpoint: {base_url: https://openrouter.ai/api/v1, api_key: env:OPENROUTER_API_KEY}"),
        ("kind: local", "kind: Ollama", "3:9: service.kind: there is no service 'Ollama'; use kind: local with endpoint: {base_url: http://127.0.0.1:11434/v1}"),
        ("kind: local", "kind: lokal", "3:9: service.kind: there is no service 'lokal'; did you mean \"local\"?"),
        ("kind: local", "knd: local", '3:3: service.knd: unknown key; did you mean "kind"?'),
    ],
)  # fmt: skip
def test_a_mistake_is_reported_with_its_place_and_what_was_probably_meant(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    assert before in GOOD

    found = reported(tmp_path, GOOD.replace(before, after, 1))

    assert any(line.startswith(message) for line in found), found
    assert not any("Value error" in line or "Input should" in line for line in found)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("env: CBL_API_KEY", "4:12: not YAML: a reference contains no space: env:NAME"),
        ("$CBL_API_KEY", "4:12: service.api_key: the value of a variable is written as env:CBL_API_KEY"),
        ("CBL_API_KEY", "4:12: service.api_key: the value of a variable is written as env:CBL_API_KEY"),
        ("env:sk-abc-def", "4:12: service.api_key: do not write a key into a sweep file: after `env:` write the name of its variable"),
        ("env:AIzaSyD4x9Kq2Lm8Zt1Vb6Nw3Rp7Yc5Hg0Jf", "4:12: service.api_key: do not write a key into a sweep file: after `env:` write the name of its variable"),
        ("sk-abc-def", "4:12: service.api_key: do not write a key into a sweep file: set an environment variable"),
        ("", "4:11: service.api_key: must be text, but is empty"),
    ],
)  # fmt: skip
def test_a_key_in_the_wrong_form_is_reported_without_being_shown(
    tmp_path: Path, key: str, message: str
) -> None:
    found = reported(tmp_path, KEYED.format(key))

    assert any(line.startswith(message) for line in found), found
    assert "sk-abc" not in str(found)
    assert "AIza" not in str(found)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("s.json", '{"name": "n",}', "1:14: not JSON: a comma before }: remove it"),
        ("s.json", "{'name': 1}", '1:2: not JSON: text is written in straight double quotes: "..."'),
        ("s.json", '{"name": “n”}', '1:10: not JSON: text is written in straight double quotes: "..."'),
        ("s.json", '{\n// x\n"name": "n"}', "2:1: not JSON: JSON has no comments: remove it, or write the file in YAML"),
        ("s.json", '{"name": "C:\\models"}', "1:13: not JSON: a backslash is written twice (\\\\), or as / in a path"),
        ("s.json", '{"name": "n"', "1:13: not JSON: the file ends too early: a bracket, brace or quote is not closed"),
        ("s.json", '{"name": "n",\n "name": "m"}', "2:2: name: the key occurs twice: keep one"),
        ("s.toml", "name = night\n", "1:8: not TOML: a value is missing, or is not one of TOML: text is in straight quotes, \"...\" or '...'; true and false are in small letters"),
        ("s.toml", 'a = 1\na = 2\n', "2:1: a: the key occurs twice: keep one"),
        ("s.toml", "name: n\n", "1:5: not TOML: a key and its value have an equals sign between them: key = value"),
        ("s.toml", 'name = "C:\\models"\n', "1:13: not TOML: backslashes in double quotes are escapes: write the text in single quotes, or / in a path"),
        ("s.toml", '[service]\nkind = "local"\ntemprature = 1\n', '3:1: service.temprature: unknown key; did you mean "temperature"?'),
    ],
)  # fmt: skip
def test_mistakes_in_json_and_toml_are_reported_alike(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    found = reported(tmp_path, text, name)

    assert any(line.startswith(message) for line in found), found


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("OpenAI", "base_url: https://api.openai.com/v1, api_key: env:OPENAI_API_KEY"),
        ("llama.cpp", "base_url: http://127.0.0.1:8080/v1"),
        ("claude", "base_url: https://api.anthropic.com/v1, api_key: env:ANTHROPIC_API_KEY"),
        ("azure-openai", "base_url: ..., api_key: env:NAME"),
    ],
)
def test_a_provider_is_answered_with_its_endpoint(kind: str, advice: str) -> None:
    assert endpoint_advice(kind) == f"use kind: local with endpoint: {{{advice}}}"


def test_what_is_no_provider_has_no_endpoint() -> None:
    assert endpoint_advice("lokal") is None


def test_three_misspelt_keys_and_more_are_reported_at_once_in_order(tmp_path: Path) -> None:
    spoilt = (
        GOOD.replace("local", "local\n  temprature: 0\n  seeed: 1")
        .replace("self_harm", "self_harn")
        .replace("0.5", "5")
    )

    found = reported(tmp_path, f"{spoilt}limts: {{}}\n")

    assert [line.split(": ")[1] for line in found] == [
        "service.temprature",
        "service.seeed",
        "matrix.groups[0]",
        "matrix.thresholds[0]",
        "limts",
    ]


def test_a_misspelt_group_of_ones_own_is_reported_with_a_misspelt_setting(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sleep.yaml").write_text(
        "group: sleep\ndescription: About sleep.\ncases:\n  - {id: one, user_input: I cannot sleep.}\n"
    )
    spoilt = GOOD.replace("local", f"local\n  temprature: 0\n  cases: {tmp_path / 'mine'}")

    found = reported(tmp_path, spoilt.replace("self_harm", "slep"))

    assert [line.split(": ")[1] for line in found] == ["service.temprature", "matrix.groups[0]"]
    assert 'did you mean "sleep"' in found[1]
