"""Several processes and machines on the runs of one store."""
