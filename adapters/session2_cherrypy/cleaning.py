"""The clean-up threads: one for each store, which removes expired records and never dies."""

from __future__ import annotations

import threading
from typing import Any, Final

import cherrypy  # type: ignore[import-untyped, unused-ignore]
from cherrypy.process.plugins import Monitor  # type: ignore[import-untyped, unused-ignore]

from session2.store import cleaning
from session2.store.base import SessionStore
from session2.store.turns import purge_in_turn

_monitors: Final[dict[SessionStore, Any]] = {}
_starting: Final = threading.Lock()


def keep_clean(store: SessionStore, minutes: float | None) -> None:
    """See to it that the store is cleaned this often; 0 or None: never.  The first answer for a store holds."""
    if minutes is None or minutes <= 0 or store in _monitors:
        return
    with _starting:
        if store in _monitors:
            return
        monitor = _monitors[store] = Monitor(cherrypy.engine, lambda: clean(store, minutes * 60), minutes * 60,
                                            "Session cleanup")
        monitor.subscribe()
        monitor.start()


def clean(store: SessionStore, every: float = 0.0) -> None:
    """Remove expired records, unless another process did within so many seconds or is about to.

    An error is logged and never raised: CherryPy ends a thread that raises one.
    """
    try:
        purge_in_turn(store, every) if every else cleaning.clean(store)
    except Exception:
        cherrypy.log("Expired sessions could not be removed; the next attempt follows as configured.",
                     context="TOOLS.SESSIONS", severity=40, traceback=True)


def stop_cleaning(store: SessionStore) -> None:
    """Stop the thread of a store that is no longer in use."""
    with _starting:
        monitor = _monitors.pop(store, None)
    if monitor is not None:
        monitor.unsubscribe()
        monitor.stop()
