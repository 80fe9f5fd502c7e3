"""Commands whose arguments are the test's alone: some know no store, some name it themselves."""

import os

from tests.faults.sweeps import Ended, Scene


def command(scene: Scene, *arguments: str) -> Ended:
    """Run a command in the scene's folder to its end."""
    ended = scene.launcher.run(
        arguments, folder=scene.folder, environment={**os.environ, **scene.environment}
    )
    return Ended(code=ended.returncode, stdout=ended.stdout, stderr=ended.stderr)
