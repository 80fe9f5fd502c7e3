from engine.core.runs import EventKind, StopReason


def test_every_reason_to_stop_is_a_kind_of_event() -> None:
    assert {str(reason) for reason in StopReason} <= {str(kind) for kind in EventKind}
