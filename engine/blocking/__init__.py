"""Runs for scripts and notebooks: the calls of `Run` as ones that block, also within a running event loop."""

from engine.blocking.run import BlockingRun, open_run, run_sweep

__all__ = ["BlockingRun", "open_run", "run_sweep"]
