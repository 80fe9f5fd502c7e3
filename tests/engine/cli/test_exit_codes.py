import pytest

from engine.cli.exit_codes import exit_code
from engine.core.runs import RunState, StopReason
from tests.engine.report.samples import status


def _cancelled(cancelled: int, *, failed: int) -> dict[str, int]:
    return {"cells_cancelled": cancelled, "cells_failed": failed + cancelled}


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": RunState.FINISHED, "cells": 9, "cells_done": 9, "cells_failed": 0}, 0),
        ({"state": RunState.FINISHED, "cells": 0, "cells_done": 0, "cells_failed": 0}, 0),
        ({"state": RunState.FINISHED, "cells": 9, "cells_done": 8, "cells_failed": 1}, 1),
        ({"state": RunState.FINISHED, "cells": 9, "cells_done": 8, "cells_failed": 0}, 3),
        ({"state": RunState.FINISHED, "cells": 9, "cells_done": 8, **_cancelled(1, failed=0)}, 3),
        ({"state": RunState.FINISHED, "cells": 9, "cells_done": 7, **_cancelled(1, failed=1)}, 3),
        ({"state": RunState.ACTIVE, "reason": StopReason.QUOTA}, 3),
        ({"state": RunState.ACTIVE, "reason": StopReason.CREDIT}, 3),
        ({"state": RunState.ACTIVE, "reason": StopReason.UNAUTHORIZED}, 3),
        ({"state": RunState.ACTIVE, "reason": StopReason.UNHEALTHY}, 3),
        ({"state": RunState.ACTIVE, "reason": StopReason.DEADLINE}, 3),
        ({"state": RunState.PAUSED, "reason": StopReason.PAUSED}, 3),
        ({"state": RunState.CANCELLED, "reason": StopReason.CANCELLED}, 3),
        ({"state": RunState.ACTIVE, "reason": StopReason.INTERRUPTED}, 130),
    ],
)
def test_the_exit_code_says_how_a_run_ended(changes: dict[str, object], code: int) -> None:
    assert exit_code(status(**changes)) == code
