"""`AdapterSuite`, of its parts; what a test file holds tells `session2.testing.adapter`."""

from __future__ import annotations

from .beginning import BeginningTests
from .ending import EndingTests
from .failure import FailureTests
from .foreign_cookies import ForeignCookieTests
from .overlap import OverlapTests
from .set_cookie import SetCookieTests


class AdapterSuite(BeginningTests, SetCookieTests, ForeignCookieTests, EndingTests, FailureTests, OverlapTests):
    """Base class of an adapter's tests; see `session2.testing.adapter`."""
