from engine.core.runs import EventKind
from engine.report.events import EVENT_WORDS, event_words


def test_every_kind_of_event_has_words() -> None:
    assert set(EVENT_WORDS) == set(EventKind)
    assert event_words("outage") == "service away"


def test_a_kind_that_a_job_kind_made_up_stands_for_itself() -> None:
    assert event_words("probed") == "probed"
