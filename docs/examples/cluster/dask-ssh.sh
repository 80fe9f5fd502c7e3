#!/usr/bin/env bash
# A sweep on the machines of a file, one name a line, which you can reach by SSH without a password:
#   bash dask-ssh.sh hosts.txt sweep.yaml
# Nightsweep, in one version, is installed in the same place on all of them; here also paramiko.
set -euo pipefail

hosts=$1
sweep=$2
export NIGHTSWEEP_STORE=postgresql://nightsweep@db.example.org/nightsweep

# The first machine of the file gets the scheduler.
first=$(head -n 1 "$hosts")
dask ssh --hostfile "$hosts" --nworkers 2 --nthreads 1 &
cluster=$!
trap 'kill "$cluster"; wait "$cluster" || true' EXIT

until (exec 3<>"/dev/tcp/$first/8786") 2>/dev/null; do
  kill -0 "$cluster"
  sleep 1
done
nightsweep run "$sweep" --on "tcp://$first:8786"
