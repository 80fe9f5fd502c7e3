"""Commands whose arguments are the test's alone: some know no store, some name it themselves."""

from tests.faults.failpoints import Faults
from tests.faults.sweeps import Ended, Scene
from tests.launcher.processes import Command


def command(scene: Scene, *arguments: str) -> Ended:
    """Run a command in the scene's folder to its end."""
    output = (scene.folder / "bare.stdout", scene.folder / "bare.stderr")
    pid = scene.launcher.start(
        [*arguments],
        folder=scene.folder,
        environment=scene.environment,
        output=output,
        faults=Faults(),
    )
    started = Command(scene.launcher, pid, output)
    return Ended(code=started.wait(), stdout=started.stdout, stderr=started.stderr)
