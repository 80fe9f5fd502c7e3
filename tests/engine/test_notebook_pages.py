"""What sweeps, runs, statuses and plans show in a notebook and at a prompt."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from engine import Plan, Run, RunState, Sweep, job, open_engine, open_run
from engine.core.error_kinds import ErrorKind
from engine.core.runs import WaitReason
from engine.core.status import Waiting
from tests.engine.report.samples import status

HOSTILE = "<script>alert(\"1\")</script><img src=x onerror='alert(2)'> &lt;b&gt; </td></table>"
TAGS = {"div", "b", "progress", "table", "tr", "th", "td", "br"}


class Page(HTMLParser):
    """The tags, attributes and texts of a page; fails if a tag is not closed where it was opened."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "br":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return "\n".join(self.texts)


def test_a_status_shows_counts_what_jobs_wait_for_and_what_went_wrong() -> None:
    page = Page(status()._repr_html_())

    assert page.texts[0] == "crisis-safety: active"
    for fact in (
        "1,234 of 5,000 answered",
        "8,000 passed, 312 failed",
        "62.0 minutes",
        "2,700 x anthropic/claude: rate",
        "20 x qwen/qwen3: retry",
        "7 x not found (404), such as: Unknown model: qwen/qwen9",
    ):
        assert fact in page.texts, fact


def test_hostile_text_in_a_status_is_shown_and_never_becomes_markup() -> None:
    shown = status(
        run=HOSTILE,
        message=f"{HOSTILE}\n\x1b]0;title\x07second line",
        trouble=HOSTILE,
        waiting=(Waiting(lane=HOSTILE, why=WaitReason.ERRORS, jobs=1, detail=HOSTILE),),
        errors=(ErrorKind(message=HOSTILE, jobs=1, example=HOSTILE),),
    )

    page = Page(shown._repr_html_())

    assert page.tags <= TAGS
    assert page.attributes <= {"style", "max", "value"}
    # The title, the message, the trouble, and both parts of what waits and of the error.
    assert page.text.count(HOSTILE) == 7
    assert "\x1b" not in page.text


def test_hostile_text_in_a_plan_is_shown_and_never_becomes_markup() -> None:
    plan = Plan(
        sweep=HOSTILE,
        cells=1,
        jobs=1,
        jobs_unfolded=1,
        requests=1,
        expected_tests=None,
        hours=None,
        binding=HOSTILE,
        lanes={HOSTILE: 1},
        unknown=(HOSTILE,),
    )

    page = Page(plan._repr_html_())

    assert page.tags <= TAGS
    assert page.text.count(HOSTILE) == 4


def test_a_sweep_of_many_lanes_shows_the_first_and_counts_the_others() -> None:
    sweep = Sweep("lanes", ask, matrix={"model": [f"model-{n}" for n in range(9)], "seed": [1, 2]})

    page = Page(sweep._repr_html_())

    assert page.texts[0] == "lanes: the plan"
    assert [text for text in page.texts if " x " in text] == [f"2 x model-{n}" for n in range(5)]
    assert "and 4 more" in page.texts
    assert repr(sweep) == f"<sweep lanes: 18 cells of {ask.name}>"


def test_a_traceback_is_left_to_the_command_that_shows_jobs() -> None:
    error = ErrorKind(
        message="ValueError: no", jobs=2, example="Traceback:\n  line 1\nValueError: no"
    )

    page = Page(status(errors=(error,))._repr_html_())

    assert "2 x ValueError: no" in page.texts


async def test_a_run_shows_the_status_that_it_had_last(tmp_path: Path) -> None:
    sweep = Sweep("hostile", ask, matrix={"model": [HOSTILE, "b"], "seed": range(3)})

    async with open_engine(tmp_path / "store.db") as engine:
        run: Run = await engine.submit(sweep)
        before = repr(run), run._repr_html_()
        status = await run.execute()

    assert before == ("<run hostile>", None)
    assert status.state is RunState.FINISHED
    assert repr(run) == "<run hostile: finished, 3 of 6 cells answered, 3 failed>"
    page = Page(run._repr_html_() or "")
    assert "3 of 6 answered" in page.texts
    assert page.tags <= TAGS
    assert HOSTILE in page.text


def test_a_run_that_is_found_in_a_store_shows_its_status(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    Sweep("found", ask, matrix={"model": ["b"], "seed": [1]}).run(store, progress=False)

    run = open_run("found", store)

    assert repr(run) == f"<run found in {store}: finished, 1 of 1 cells answered>"
    assert "1 of 1 answered" in Page(run._repr_html_()).texts


@job(lane="model")
async def ask(model: str, seed: int) -> int:
    """Answers, except for a model with a name of several words."""
    if " " in model:
        raise ValueError(f"there is no {model}")
    return seed
