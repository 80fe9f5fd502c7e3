"""A sweep on SLURM: dask-jobqueue submits the jobs in which Dask's workers run.

python dask_slurm.py sweep.yaml, with `pip install dask-jobqueue` beside Nightsweep.
"""

import subprocess
import sys

from dask_jobqueue import SLURMCluster

STORE = "postgresql://nightsweep@db.example.org/nightsweep"


def main(sweep: str) -> int:
    cluster = SLURMCluster(
        cores=1,
        memory="1GB",
        walltime="08:00:00",
        # The keys are read on each node, in the script of the job: they pass neither through Dask nor here.
        job_script_prologue=['set -a; source "$HOME/.config/nightsweep.env"; set +a'],
        # Two minutes before its time is up a worker gives back what it has in flight.
        worker_extra_args=["--lifetime", "478m", "--lifetime-stagger", "2m"],
    )
    with cluster:
        cluster.adapt(minimum=1, maximum=8)
        command = ["nightsweep", "run", sweep, "--store", STORE, "--on", cluster.scheduler_address]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
