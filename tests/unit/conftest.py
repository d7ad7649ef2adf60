"""How properties are tried here: in the time there is, which a busy machine stretches."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("unit"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "unit"))
