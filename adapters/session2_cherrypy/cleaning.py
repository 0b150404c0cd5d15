"""The clean-up threads: one for each store, which removes expired records and never dies."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import cherrypy  # type: ignore[import-untyped, unused-ignore]
from cherrypy.process.plugins import Monitor  # type: ignore[import-untyped, unused-ignore]

from session2.forks import PerProcess
from session2.mutex import Mutex
from session2.store import cleaning
from session2.store.base import SessionStore
from session2.store.turns import purge_in_turn

_monitors: Final[PerProcess[dict[SessionStore, Any]]] = PerProcess(dict)
"""Threads do not outlive a fork."""

_starting: Final = Mutex()

_PATIENCE: Final = 10.0
"""Seconds to wait for whoever starts or stops another one."""


def keep_clean(store: SessionStore, minutes: float | None) -> None:
    """See to it that the store is cleaned this often; 0 or None: never.  The first answer for a store holds."""
    if minutes is not None and minutes > 0 and store not in _monitors():
        _starting.run(partial(_start, store, minutes * 60), _PATIENCE, "the clean-up threads cannot be started")


def _start(store: SessionStore, every: float) -> None:
    monitors = _monitors()
    if store not in monitors:
        monitor = monitors[store] = Monitor(cherrypy.engine, partial(clean, store, every), every, "Session cleanup")
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
    monitor = _starting.run(lambda: _monitors().pop(store, None), _PATIENCE, "the clean-up thread cannot be stopped")
    if monitor is not None:
        monitor.unsubscribe()
        monitor.stop()
