"""The conformance suites for stores and adapters of your own; they need the extra ``session2[testing]``."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .adapter.suite import AdapterSuite
    from .store.suite import StoreSuite

__all__ = ["AdapterSuite", "StoreSuite"]

_HOME: Final = {"AdapterSuite": "adapter.suite", "StoreSuite": "store.suite"}

# Before they are imported, so that a failing assertion in a suite shows its values.  The processes that the suites
# start import this package too, and do without pytest.
if "pytest" in sys.modules:
    sys.modules["pytest"].register_assert_rewrite(f"{__name__}.adapter", f"{__name__}.store")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
