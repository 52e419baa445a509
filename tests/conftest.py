"""Settings that every test file shares; importing them needs nothing but this directory."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fisherkern", deadline=None, max_examples=30,
    # the same examples at every run of CI; new ones at a developer's
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
settings.load_profile("fisherkern")
