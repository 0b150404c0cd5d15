"""The session that all pages work with, and the one manager that serves it on every framework."""

from __future__ import annotations

from typing import Final

from session2 import CookiePolicy, DictSession, SessionManager, merge
from session2.store.base import SessionStore
from session2.store.records import can_merge

COOKIE: Final = CookiePolicy(name="session2_demo")

RENEW_AFTER: Final = 900.0
"""Seconds."""


class DemoSession(DictSession):
    """A session that is not stored until its visitor asks to keep it, or logs in."""

    merge_rules = {"counter": merge.add, "lab": {"counter": merge.add}}

    device: str | None = None
    """Which browser logged in, in a few words: enough to tell one's own devices apart, too little to know one by."""

    admin: str | None = None
    """The start of the demo whose password was given; with the next one that is over."""

    def has_info(self) -> bool:
        """Tell whether the visitor asked for the session to be kept."""
        return bool(self.get("keep")) or self.user is not None


Manager = SessionManager[DemoSession]


def make_manager(store: SessionStore, idle: float | None = None) -> Manager:
    """Return the manager that every framework serves the demonstration with.

    :param idle: seconds after which an unused session ends, in place of 14 days.
    """
    renew_after = RENEW_AFTER if can_merge(type(store)) else None
    if idle is None:
        return SessionManager(store, DemoSession, cookie=COOKIE, renew_after=renew_after)
    return SessionManager(store, DemoSession, cookie=COOKIE, renew_after=renew_after, idle_timeout=idle)
