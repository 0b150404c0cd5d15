"""A pytest plugin for Flask's own cases: every application has its sessions in a store of ours."""

from __future__ import annotations

import flask
import pytest
from _pytest import monkeypatch

from session2 import DictSession, SessionManager
from session2.store.volatile import VolatileSessionStore
from session2_flask import SessionInterface

if not hasattr(monkeypatch, "notset"):  # which Flask's own conftest.py wants, and pytest calls otherwise since 9
    monkeypatch.notset = monkeypatch.NOTSET


@pytest.fixture(autouse=True)
def session_in_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    # The cookie of a permanent session is refreshed whenever the idle clock is moved: here at each request, as they do.
    manager = SessionManager(VolatileSessionStore(), DictSession, touch_interval=0)
    monkeypatch.setattr(flask.Flask, "session_interface", SessionInterface(manager))
