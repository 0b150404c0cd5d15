"""Settings for all tests, and the database servers they share."""

import gc
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from zlib import crc32

import pytest
from hypothesis import HealthCheck, settings

# Tests of several folders share these modules.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("sql_cases")

from conformance import pytest_terminal_summary  # noqa: E402, F401 (a hook)
from servers_couchdb import pouch, strict  # noqa: E402, F401 (fixtures)
from servers_durus import CANNOT_WRITE  # noqa: E402
from servers_memcached import memcached, memcacheds  # noqa: E402, F401 (fixtures)
from servers_redis import redis_server  # noqa: E402, F401 (a fixture)
from servers_sql import mariadb, no_authorities, postgres  # noqa: E402, F401 (fixtures)

# What a shell runs in the background ignores interrupts, and so would the programs that the tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The machines are shared and noisy: how long an example takes says nothing about the code.
settings.register_profile("session2", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("session2")


# Of the suites of a store's second setting the first has run every case already.
EVERY_CASE = "SESSION2_EVERY_CASE" in os.environ
ONE_IN = 3

# Each takes long for how few tests it has, and is begun first: at the end one process would wait for the other.
LONG = ["test_packaging.py", "test_schedules.py", "test_killed.py", "test_browser.py", "test_checks.py",
        "test_django_upstream.py", "test_docs.py", "test_deploy.py", "test_cached_schedules.py", "test_pairs.py",
        "test_reference.py", "test_suite.py", "test_flask_upstream.py", "test_full_disk.py", "test_pgbouncer.py"]


def pytest_report_header() -> list[str]:
    durus = ["Durus cannot write on this Python: the tests marked durus are deselected, and "
             "test/store/test_durus_python.py takes their place"] if CANNOT_WRITE else []
    sampled = [] if EVERY_CASE else [f"of the suites marked sampled, each the second of its store, one case in "
                                     f"{ONE_IN} is run; SESSION2_EVERY_CASE=1 runs all"]
    return durus + sampled


def is_in_sample(item: pytest.Item) -> bool:
    """Tell of a case of a store's second setting whether it is run; each setting has others."""
    return EVERY_CASE or not item.get_closest_marker("sampled") or crc32(item.nodeid.encode()) % ONE_IN == 0


def longest_first(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return the tests with the files in the order in which they are begun: those with most tests first, too."""
    tests = Counter(item.path for item in items)
    return sorted(items, key=lambda item: (item.path.name not in LONG, -tests[item.path], item.path))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = {item for item in items if (CANNOT_WRITE and item.get_closest_marker("durus")) or not is_in_sample(item)}
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = longest_first([item for item in items if item not in left_out])


def pytest_collection_finish() -> None:
    """What has been imported stays: whoever collects garbage, or forks, need not go through it again and again."""
    gc.freeze()
