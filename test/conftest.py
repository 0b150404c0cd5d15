"""Settings for all tests."""

from hypothesis import HealthCheck, settings

# The machines are shared and noisy: how long an example takes says nothing about the code.
settings.register_profile("session2", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("session2")
