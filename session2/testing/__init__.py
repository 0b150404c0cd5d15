"""The conformance suites for stores and adapters of your own; they need the extra ``session2[testing]``."""

import pytest

# Before they are imported, so that a failing assertion in a suite shows its values.
pytest.register_assert_rewrite("session2.testing.contract", "session2.testing.sessions", "session2.testing.hostile",
                              "session2.testing.requests", "session2.testing.races", "session2.testing.work",
                              "session2.testing.crash", "session2.testing.security",
                              "session2.testing.model", "session2.testing.store",
                              "session2.testing.adapter", "session2.testing.site")

from .adapter import AdapterSuite  # noqa: E402
from .store import StoreSuite  # noqa: E402

__all__ = ["AdapterSuite", "StoreSuite"]
