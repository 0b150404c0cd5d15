"""Settings for all tests, and the database servers they share."""

import signal
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Tests of several folders share these modules.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("sql_cases")

from conformance import pytest_terminal_summary  # noqa: E402, F401 (a hook)
from servers_sql import mariadb, postgres  # noqa: E402, F401 (fixtures)

# What a shell runs in the background ignores interrupts, and so would the programs that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The machines are shared and noisy: how long an example takes says nothing about the code.
settings.register_profile("session2", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("session2")
