"""Settings for all tests: the same examples on every run and every machine."""

from hypothesis import HealthCheck, settings

# Machines are noisy: how long an example takes says nothing of the code.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")
