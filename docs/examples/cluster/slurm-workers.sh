#!/usr/bin/env bash
# Eight workers of Nightsweep on the runs of a PostgreSQL store: sbatch slurm-workers.sh
#SBATCH --job-name=nightsweep
#SBATCH --array=1-8
#SBATCH --cpus-per-task=1
#SBATCH --mem=1G
#SBATCH --time=08:00:00
# SIGTERM two minutes before the time is up: what is in flight is answered or given back.
#SBATCH --signal=TERM@120
set -euo pipefail

export NIGHTSWEEP_STORE=postgresql://nightsweep@db.example.org/nightsweep
export NIGHTSWEEP_GRACE_S=60
# MODEL_API_KEY and others that sweeps refer to, in a file that only you can read.
set -a
source "$HOME/.config/nightsweep.env"
set +a

# srun passes the signal on to the worker.
srun nightsweep worker
