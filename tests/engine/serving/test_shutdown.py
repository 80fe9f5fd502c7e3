"""Work in progress during a shutdown; the signals are tested in tests/jobs/serve."""

import anyio
import pytest

from engine.clock import SystemClock
from engine.serving.errors import ApiError
from engine.serving.shutdown import Shutdown


class Task:
    """Work that ends when `finish` is set; `error` is what ended it earlier."""

    def __init__(self, shutdown: Shutdown, *, has_begun: bool) -> None:
        self._shutdown = shutdown
        self._has_begun = has_begun
        self.finish = anyio.Event()
        self.error: ApiError | None = None

    async def run(self) -> None:
        try:
            with self._shutdown.working() as work:
                work.has_begun = self._has_begun
                await self.finish.wait()
        except ApiError as error:
            self.error = error


async def test_a_shutdown_waits_for_running_work_and_rejects_the_rest() -> None:
    shutdown = Shutdown(SystemClock(), retry_after_s=7)
    running, waiting = Task(shutdown, has_begun=True), Task(shutdown, has_begun=False)
    async with anyio.create_task_group() as group:
        group.start_soon(running.run)
        group.start_soon(waiting.run)
        await anyio.wait_all_tasks_blocked()
        async with anyio.create_task_group() as drain:
            drain.start_soon(shutdown.drain, 3600)
            await anyio.wait_all_tasks_blocked()
            with pytest.raises(ApiError) as rejected, shutdown.working():
                pass
            running.finish.set()

    assert (rejected.value.status, rejected.value.retry_after_s) == (503, 7)
    assert waiting.error is not None
    assert running.error is None


async def test_work_that_outlasts_its_grace_is_cancelled() -> None:
    shutdown = Shutdown(SystemClock(), retry_after_s=7)
    running = Task(shutdown, has_begun=True)
    async with anyio.create_task_group() as group:
        group.start_soon(running.run)
        await anyio.wait_all_tasks_blocked()
        await shutdown.drain(0)
        shutdown.stop()

    assert running.error is not None
    assert running.error.status == 503
