import csv
import json
import re
import stat
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pytest

from engine.cli import main
from tests.engine.cli.conftest import Nightsweep

Sweep = Callable[..., str]


def test_a_sweep_is_run_and_its_results_come_out_in_every_format(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    ended = nightsweep("run", sweep("a", "b"))

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert "night: 4 of 4 cells answered" in ended.stderr
    assert "results: nightsweep results night" in ended.stderr

    rows = json.loads(nightsweep("results", "night", "--format", "json").stdout)
    assert [(row["model"], row["threshold"], row["failed"], row["total"]) for row in rows] == [
        ("a", 0.3, 1, 3),
        ("a", 0.5, 2, 3),
        ("b", 0.3, 1, 3),
        ("b", 0.5, 2, 3),
    ]
    assert json.loads(nightsweep("results", "--json").stdout) == rows
    lines = nightsweep("results", "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == rows
    cells = list(csv.DictReader(StringIO(nightsweep("results", "--format", "csv").stdout)))
    assert [row["model"] for row in cells] == ["a", "a", "b", "b"]
    table = nightsweep("results")
    assert "1/3         33.3%" in table.stdout
    assert table.stdout.startswith("run night, repeat 1\n\n")
    assert table.stderr == (
        "night: 4 of 4 cells answered\n"
        "tests failed: 2 of 6 at threshold 0.3, 4 of 6 at threshold 0.5\n"
    )
    assert "tests: 2 passed, 4 failed at threshold 0.5\n" in ended.stderr
    assert "tests: 2 passed, 4 failed at threshold 0.5\n" in nightsweep("status").stdout


def test_on_a_pipe_nothing_of_a_table_is_cut_off_whatever_columns_says(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("broken"))

    table = nightsweep("results", COLUMNS="20").stdout

    assert "threshold  failed  failure_rate  95 % interval  source" in table.splitlines()
    assert "    Unknown model: broken" in table.splitlines()
    assert "…" not in table


def test_results_are_of_what_the_sweep_asks_now_and_all_has_the_rest(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a", "b"))
    nightsweep("run", sweep("b"))

    now = nightsweep("results", "--json")
    everything = nightsweep("results", "--all", "--json")

    assert [(row["model"], row["asked"]) for row in json.loads(now.stdout)] == [("b", True)] * 2
    assert [(row["model"], row["asked"]) for row in json.loads(everything.stdout)] == [
        *[("b", True)] * 2,
        *[("a", False)] * 2,
    ]
    assert now.stderr.startswith(
        "night: 2 of 2 cells answered, 2 not asked for any more left out (--all)\n"
    )
    assert everything.stderr.startswith(
        "night: 2 of 2 cells answered, 2 not asked for any more\n"
        "tests failed: 1 of 3 at threshold 0.3, 2 of 3 at threshold 0.5\n"
    )


def test_a_plan_says_what_answers_of_the_store_cost(nightsweep: Nightsweep, sweep: Sweep) -> None:
    planned = nightsweep("plan", sweep("a", "b"))
    assert "quota      only the service knows" in planned.stdout
    assert nightsweep("run", sweep("a")).returncode == 0

    planned = nightsweep("plan", sweep("a", "b"))
    elsewhere = nightsweep("plan", sweep("a", "b"), "--store", "other.db")

    assert "quota      about 6 tests, based on earlier answers" in planned.stdout
    assert "not known" not in planned.stdout
    assert "quota      only the service knows" in elsewhere.stdout
    assert elsewhere.returncode == 0


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_change_that_stops_a_run_is_reported_and_can_be_accepted(
    nightsweep: Nightsweep, sweep: Sweep, command: str
) -> None:
    path = sweep("a")
    nightsweep("run", path)
    asked = (command, path if command == "run" else "night")

    refused = nightsweep(*asked, SCRIPTED_RULES="2")
    accepted = nightsweep(*asked, "--accept", SCRIPTED_RULES="2")
    later = nightsweep(*asked, SCRIPTED_RULES="2")
    results = nightsweep("results", SCRIPTED_RULES="2")

    expected = "accepted for what is not answered yet: rules changed from 1 to 2\n"
    assert expected in accepted.stderr
    assert expected in results.stderr
    assert expected in nightsweep("status").stdout
    assert (refused.returncode, accepted.returncode, later.returncode) == (2, 0, 0)
    assert "  rules changed from 1 to 2\n" in refused.stderr
    assert "`--accept`" in refused.stderr
    assert len(refused.stderr) < 600


def test_a_run_is_judged_again_beside_itself(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("a"))
    (tmp_path / "judge.yaml").write_text("strict\n")

    again = nightsweep("rejudge", "night", "--judge", "judge.yaml", "--threshold", "0.5")

    assert again.returncode == 0, again.stderr
    assert "night-rejudged: the kept replies are judged again by a strict judge" in again.stderr
    assert "results: nightsweep results night-rejudged" in again.stderr
    failed = {
        run: [row["failed"] for row in json.loads(nightsweep("results", run, "--json").stdout)]
        for run in ("night", "night-rejudged")
    }
    assert failed == {"night": [1, 2], "night-rejudged": [3]}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--judge", "judge.yaml"], "judge.yaml: there is no such file"),
        (["--name", "a/b"], "the name 'a/b' is used in names of files"),
        (["nothing"], "has no run 'nothing'"),
    ],
)
def test_a_run_that_cannot_be_judged_again_is_refused(
    nightsweep: Nightsweep, sweep: Sweep, options: list[str], expected: str
) -> None:
    nightsweep("run", sweep("a"))

    refused = nightsweep("rejudge", *options)

    assert refused.returncode == 2
    assert expected in refused.stderr


def test_failed_cells_end_in_exit_code_1_and_are_listed_with_their_error(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    ended = nightsweep("run", sweep("a", "broken"))

    assert ended.returncode == 1
    assert "night: 2 of 4 cells answered, 2 failed" in ended.stderr
    assert "Unknown model: broken" in ended.stderr
    assert "nightsweep retry night --failed" in ended.stderr
    assert "\x1b" not in ended.stderr


@pytest.mark.parametrize(("model", "reason"), [("exhausted", "quota"), ("locked", "unauthorized")])
def test_what_cannot_go_on_ends_in_exit_code_3_and_says_how_to_resume(
    nightsweep: Nightsweep, sweep: Sweep, model: str, reason: str
) -> None:
    ended = nightsweep("run", sweep(model), "--json")

    assert ended.returncode == 3, ended.stderr
    status = json.loads(ended.stdout)
    assert (status["reason"], status["cells_failed"]) == (reason, 0)
    assert "resume:  nightsweep resume night" in ended.stderr


def test_a_run_at_its_own_cap_says_what_to_raise_and_not_to_resume(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    ended = nightsweep("run", sweep("a", "b", more="limits: {requests: 1}\n"))

    assert ended.returncode == 3, ended.stderr
    assert "the sweep's own limit of 1 request" in ended.stderr
    assert "raise limits.requests" in ended.stderr
    assert "resume:" not in ended.stderr


def test_failed_jobs_are_put_back_and_resumed_without_the_file(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    path = Path(sweep("broken"))
    nightsweep("run", str(path))
    path.unlink()

    put_back = nightsweep("retry", "night", "--json")
    resumed = nightsweep("resume")

    assert json.loads(put_back.stdout) == {"run": "night", "requeued": 1}
    assert "nightsweep resume night" in put_back.stderr
    assert resumed.returncode == 1
    assert json.loads(nightsweep("status", "--json").stdout)["jobs"]["failed"] == 1


def test_jobs_that_are_put_back_are_sent_at_once_where_that_is_asked_for(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    path = Path(sweep("broken", "a"))
    nightsweep("run", str(path))
    path.unlink()

    again = nightsweep("retry", "--run", "--json")

    assert again.returncode == 1
    assert again.stderr.splitlines()[0] == "night: 1 job put back"
    assert "nightsweep resume" not in again.stderr
    status = json.loads(again.stdout)
    assert (status["jobs"]["failed"], status["session"]["attempts"]) == (1, 1)


def test_a_cancelled_run_is_taken_back_by_retry(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("exhausted"))

    cancelled = nightsweep("cancel", "night", "--json")
    put_back = nightsweep("retry", "night", "--cancelled", "--json")

    assert json.loads(cancelled.stdout)["jobs"]["cancelled"] == 1
    assert "nightsweep retry night --cancelled" in cancelled.stderr
    assert json.loads(put_back.stdout)["requeued"] == 1


def test_a_paused_run_says_so_until_it_is_resumed(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("a", "exhausted"))

    paused = nightsweep("pause", "--json")
    status = nightsweep("status").stdout

    assert json.loads(paused.stdout)["state"] == "paused"
    assert status.startswith("night: paused\n")
    assert status.endswith("paused; `nightsweep resume` continues it\n")
    assert " left" not in status
    resumed = nightsweep("resume")
    assert resumed.returncode == 3
    assert "night was paused and continues" in resumed.stderr
    assert nightsweep("status").stdout.startswith("night: active (quota)")


def test_a_paused_run_goes_on_with_run_as_well_and_says_so_once(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", path := sweep("a", "exhausted"))
    nightsweep("pause")

    goes_on, again = nightsweep("run", path), nightsweep("run", path)

    assert goes_on.stderr.splitlines()[0] == "night was paused and continues"
    assert "was paused" not in again.stderr


NEEDS_A_KEY = "kind: scripted, key: 'env:NIGHT_KEY'"
NO_KEY = "nightsweep: the environment variable {0} is not set (needed for env:{0})\n"


@pytest.mark.parametrize(
    ("service", "variable"),
    [
        (NEEDS_A_KEY, "NIGHT_KEY"),
        ("kind: scripted, health: enkrypt", "OPENROUTER_API_KEY"),
    ],
)
def test_a_run_that_never_got_a_key_leaves_nothing_behind(
    service: str, variable: str, nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    path = sweep("a", service=service)
    before = sorted(tmp_path.rglob("*"))

    refused = nightsweep("run", path, **{variable: ""})

    assert (refused.returncode, refused.stderr) == (2, NO_KEY.format(variable))
    assert sorted(tmp_path.rglob("*")) == before


def test_without_a_key_nothing_is_written_about_the_runs_of_a_store(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a", "exhausted", service=NEEDS_A_KEY), NIGHT_KEY="key of the night")
    nightsweep("pause")
    other = sweep("a", name="other", service=NEEDS_A_KEY)
    before = nightsweep("runs", "--json").stdout

    calls = (["run", other], ["resume"], ["retry", "--run"], ["rejudge", "night"])
    refused = [nightsweep(*call) for call in calls]

    expected = {(one.returncode, one.stderr) for one in refused}
    assert expected == {(2, NO_KEY.format("NIGHT_KEY"))}
    assert nightsweep("runs", "--json").stdout == before


def test_a_finished_run_is_neither_paused_nor_cancelled(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a"))

    paused, cancelled = nightsweep("pause"), nightsweep("cancel")
    status = nightsweep("status").stdout

    assert "night is finished: there is nothing to pause" in paused.stderr
    assert "night is finished: there is nothing to cancel" in cancelled.stderr
    assert status.startswith("night: finished\n")
    assert "left" not in status


def test_a_cancelled_run_stays_so_and_says_how_that_is_undone(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a", "exhausted"))
    nightsweep("cancel")

    resumed = nightsweep("resume")

    assert resumed.returncode == 3
    assert "night: 2 of 4 cells answered, 2 cancelled\n" in resumed.stderr
    assert "undo:    nightsweep retry night --cancelled" in resumed.stderr
    assert "--failed" not in resumed.stderr
    assert "resume:" not in resumed.stderr
    assert nightsweep("status").stdout.startswith("night: cancelled\n")
    table = nightsweep("results").stdout
    assert table.count("cancelled") == 2


def test_runs_are_listed(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("a", name="first"))
    nightsweep("run", sweep("a", name="second"))

    assert [run["name"] for run in json.loads(nightsweep("runs", "--json").stdout)] == [
        "second",
        "first",
    ]
    assert nightsweep("runs").stdout.splitlines()[1].startswith("second  finished  1/1")


def test_a_plan_sends_nothing_and_leaves_no_store(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    planned = nightsweep("plan", sweep("a", "b"), "--json")
    dry = nightsweep("run", sweep("a", "b"), "--dry-run")

    plan = json.loads(planned.stdout)
    assert (plan["cells"], plan["jobs"], plan["jobs_unfolded"]) == (4, 2, 4)
    assert "jobs       2 (folding saves 2)" in dry.stdout
    assert not (tmp_path / "nightsweep.db").exists()


def test_a_check_says_what_is_right_and_what_is_not(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    good = nightsweep("check", sweep("a"))
    path = Path(sweep("a"))
    path.write_text(path.read_text().replace("scripted}", "scripted, reachable: false}"))
    bad = nightsweep("check", str(path), "--json")

    assert (good.returncode, good.stdout) == (0, "ok   ping: asked\nok   key: accepted\n")
    assert bad.returncode == 1
    assert [one["ok"] for one in json.loads(bad.stdout)] == [False, True]


def test_results_are_written_to_a_private_file(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("a"))

    ended = nightsweep("results", "--output", "rows.jsonl")

    assert ended.stdout == ""
    assert ended.stderr.startswith("night: 2 of 2 cells answered\n")
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
    assert stat.S_IMODE((tmp_path / "rows.jsonl").stat().st_mode) == 0o600


def test_a_format_that_is_asked_for_goes_before_the_ending_of_the_file_and_says_so(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("a"))

    other = nightsweep("results", "--format", "json", "--output", "rows.csv")
    same = nightsweep("results", "--format", "csv", "--output", "rows.csv")
    unknown = nightsweep("results", "--output", "rows.xlsx")
    asked = nightsweep("results", "--output", "rows.xlsx", "--format", "parquet")

    expected = "warning: rows.csv is written as json, as asked for, whatever its name says\n"
    assert expected in other.stderr
    assert "warning" not in same.stderr + asked.stderr
    assert "from the name rows.xlsx which format to write: end it in .arrow" in unknown.stderr
    assert "or say it with --format" in unknown.stderr
    assert [done.returncode for done in (other, same, unknown, asked)] == [0, 0, 2, 0]
    assert (tmp_path / "rows.csv").read_text().startswith("model,")
    assert (tmp_path / "rows.xlsx").read_bytes().startswith(b"PAR1")


def test_logs_of_inspect_go_into_a_directory_and_what_they_lack_is_said(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("a", "broken"))

    nowhere = nightsweep("results", "--format", "inspect")
    written = nightsweep("results", "night", "--format", "inspect", "-o", "logs")
    other = nightsweep("results", "--format", "Inspect", "-o", "logs")
    some = nightsweep("results", "--format", "inspect", "-o", "some", "--where", "models=a")

    assert nowhere.returncode == other.returncode == 2
    assert nowhere.stderr == (
        "nightsweep: --format inspect writes one file for each model and prompt: name a directory"
        " with --output DIR\n"
    )
    assert "'Inspect' is not one of 'arrow', " in other.stderr
    assert (written.returncode, written.stdout) == (0, "")
    assert written.stderr == "night: 2 of 4 cells answered, 2 failed\n2 logs written to logs\n"
    assert some.stderr == "night: selected cells only\n1 log written to some\n"
    logs = [json.loads(path.read_bytes()) for path in (tmp_path / "logs").iterdir()]
    assert {log["eval"]["model"]: log["status"] for log in logs} == {
        "a": "success",
        "broken": "error",
    }


def test_the_store_is_an_option_and_an_environment_variable(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    ended = nightsweep("run", sweep("a"), "--store", "my store.db")

    assert "nightsweep results night --store 'my store.db'" in ended.stderr
    assert (tmp_path / "my store.db").exists()
    assert nightsweep("status", NIGHTSWEEP_STORE="my store.db").returncode == 0


def test_a_store_is_named_by_a_url_too_of_which_no_password_is_repeated(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    named = nightsweep("run", sweep("a"), "--store", "sqlite:///my%20store.db")
    looked = nightsweep("status", NIGHTSWEEP_STORE=f"sqlite:///{tmp_path}/my%20store.db")
    refused = nightsweep("status", NIGHTSWEEP_STORE="postgresql://me:secret@host/night")

    assert (named.returncode, looked.returncode, refused.returncode) == (0, 0, 2)
    assert [path.name for path in tmp_path.glob("*.db")] == ["my store.db"]
    assert "put the password into ~/.pgpass or PGPASSWORD" in refused.stderr
    assert "secret" not in refused.stdout + refused.stderr


def test_mistakes_in_a_sweep_are_reported_without_a_traceback(
    nightsweep: Nightsweep, tmp_path: Path
) -> None:
    (tmp_path / "bad.yaml").write_text("name: x\nservice: {kind: scripted}\nmatrix: {}\n")

    ended = nightsweep("run", "bad.yaml")

    assert ended.returncode == 2
    assert ended.stderr.splitlines() == ["nightsweep: bad.yaml:1:1: evaluation: is missing"]
    assert not (tmp_path / "nightsweep.db").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("results", "--format", "parquett"), ": 'parquett' is not one of 'arrow', 'csv',"),
        (("run", "x.yaml", "--progress-every", "x"), ": must be a whole number\n"),
        (("run", "x.yaml", "--progress-every", "-5"), ": must be at least 0\n"),
        (("rejudge", "--threshold", "2"), ": must be at most 1\n"),
        (("rejudge", "--threshold", "x"), ": must be a number\n"),
    ],
)
def test_a_wrong_value_of_an_option_is_reported_in_our_words(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert called(*arguments) == 2

    output = capsys.readouterr().err
    assert message in output
    assert "Value error" not in output
    assert "Input should" not in output


OF_A_RUN = ("status", "results", "resume", "retry", "pause", "cancel")


def called(*args: str) -> int:
    """The exit code of a command that is run in this process."""
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.parametrize("command", [*OF_A_RUN, "runs"])
def test_a_store_that_does_not_exist_is_wrong_usage_and_is_not_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    store = tmp_path / "typo.db"

    assert called(command, "--store", str(store)) == 2
    assert f"nightsweep: there is no store at {store}" in capsys.readouterr().err
    assert not store.exists()


@pytest.mark.parametrize("command", ["status", "plan", "run"])
def test_a_store_that_cannot_be_looked_up_is_a_named_error(
    sweep: Sweep, nightsweep: Nightsweep, command: str
) -> None:
    path = sweep("a")

    ended = nightsweep(
        command, *([path] if command != "status" else []), "--store", "x" * 300 + ".db"
    )

    assert ended.returncode == 2
    assert ended.stderr.endswith("cannot be accessed: File name too long\n")
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("store", [":memory:", "mysql://me:secret@host/night", "s3://a/b.db"])
@pytest.mark.parametrize("command", ["status", "plan", "run", "backup"])
def test_a_store_that_is_no_file_is_refused_by_name_and_nothing_is_made(
    sweep: Sweep, nightsweep: Nightsweep, tmp_path: Path, command: str, store: str
) -> None:
    arguments = [sweep("a")] if command in ("plan", "run") else []
    before = sorted(tmp_path.rglob("*"))

    ended = nightsweep(command, *arguments, "--store", store)

    assert ended.returncode == 2
    assert f"nightsweep: {store.partition('//')[0]}" in ended.stderr
    assert "such as nightsweep.db" in ended.stderr
    assert "secret" not in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_does_not_exist_is_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a"))

    for command in OF_A_RUN:
        assert called(command, "nobody", "--store", str(tmp_path / "nightsweep.db")) == 2
        error = capsys.readouterr().err
        assert "nobody" in error
        assert "; known: night" in error
        assert "Traceback" not in error


def test_a_backup_is_made_named_and_resumed_from(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("a", "b"))

    made = nightsweep("backup", "copy.db", "--json")
    again = nightsweep("backup", "copy.db")
    beside = nightsweep("backup")

    assert (json.loads(made.stdout)["answers"], json.loads(made.stdout)["runs"]) == (2, 1)
    assert re.fullmatch(
        r"2 answers of 1 run, [\d,]+ bytes\n"
        r"continue with it: nightsweep resume --store copy\.db\n",
        made.stderr,
    )
    assert (again.returncode, again.stdout) == (2, "")
    assert "copy.db: exists already" in again.stderr
    assert beside.stdout.startswith("nightsweep-20")
    shown = nightsweep("status", "--store", beside.stdout.strip(), "--json")
    assert json.loads(shown.stdout)["cells_done"] == 4


def test_there_is_no_backup_of_a_store_that_is_not_there(nightsweep: Nightsweep) -> None:
    ended = nightsweep("backup", "--store", "none.db")

    assert ended.returncode == 2
    assert "there is no store at none.db" in ended.stderr


def test_every_command_works_in_an_interpreter_that_has_imported_nothing(
    nightsweep: Nightsweep, installed_nightsweep: Nightsweep, sweep: Sweep
) -> None:
    # `run` and `results` are started so elsewhere: see test_signals and test_streams. `pause` takes the way of `cancel`.
    path = sweep("a", "exhausted")
    nightsweep("run", path)
    calls = {
        ("plan", path): 0,
        ("check", path): 0,
        ("status",): 0,
        ("runs",): 0,
        ("backup",): 0,
        ("resume",): 3,
        ("cancel",): 0,
        ("retry", "--cancelled"): 0,
    }

    ended = {call: installed_nightsweep(*call) for call in calls}

    assert {call: one.returncode for call, one in ended.items()} == calls
    assert not any("Traceback" in one.stderr for one in ended.values())


def test_a_report_is_written_to_a_file_of_its_owner(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("a", "broken"))

    ended = nightsweep("report")
    named = nightsweep("report", "night", "--output", "other.html", "--picture", "heatmap.svg")

    assert ended.returncode == named.returncode == 0, ended.stderr + named.stderr
    assert ended.stdout == ""
    assert ended.stderr == "the report is in night-report.html\n"
    report = tmp_path / "night-report.html"
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    text = report.read_text()
    assert "Not complete: 2 of 4 cells answered, 2 failed." in text
    assert "nightsweep retry night" in text
    assert (tmp_path / "other.html").read_text().count("<section") == text.count("<section")
    assert named.stderr == "the report is in other.html\nthe picture is in heatmap.svg\n"
    assert (tmp_path / "heatmap.svg").read_text().startswith("<svg")


def test_a_report_is_written_as_markdown_or_as_pictures_alone(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("a"))

    markdown = nightsweep("report", "--format", "md")
    picture = nightsweep("report", "--picture", "night-heatmap.png")

    assert markdown.stderr == "the report is in night-report.md\n"
    assert (tmp_path / "night-report.md").read_text().startswith("## `night`\n")
    assert picture.stderr == "the picture is in night-heatmap.png\n"
    assert not (tmp_path / "night-report.html").exists()


def test_a_file_of_a_report_in_no_known_format_is_refused_before_anything_is_read(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a"))

    for arguments, message in (
        (["-o", "report.doc"], "report.doc: the name of a report ends in one of .html, .md"),
        (["--picture", "x.png"], "x.png: the name of a picture says which chart it is"),
        (["--format", "doc"], "'doc' is not one of 'html', 'md'"),
    ):
        ended = nightsweep("report", *arguments)
        assert ended.returncode == 2
        assert message in ended.stderr


def test_a_report_that_cannot_be_written_is_a_usage_error(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a"))

    ended = nightsweep("report", "--output", "missing/report.html")

    assert ended.returncode == 2
    assert ended.stderr.startswith("nightsweep: cannot write missing/report.html: ")
