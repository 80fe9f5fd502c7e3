"""`nightsweep serve`: the evaluations of jobs.evaluator over HTTP, as the Circuit Breaker Labs API."""
