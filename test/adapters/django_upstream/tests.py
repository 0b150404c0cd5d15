"""The cases of Django's, with our classes in place of its own; the rows of its table are our records."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from django.contrib.sessions.middleware import SessionMiddleware as DjangoMiddleware
from django.test import SimpleTestCase
from sessions_tests import tests as upstream

from session2_django import SessionMiddleware, SessionStore


def stored(session_key: str) -> Any:
    """Return what stands in for a row of Django's table."""
    return SimpleNamespace(get_decoded=SessionStore(session_key).load)


upstream.Session = SimpleNamespace(objects=SimpleNamespace(get=stored))


class EngineTests(upstream.SessionTestsMixin, SimpleTestCase):  # type: ignore[misc]
    backend = SessionStore


class DjangosMiddlewareTests(upstream.SessionMiddlewareTests):  # type: ignore[misc]
    def setUp(self) -> None:
        upstream.SessionMiddleware = DjangoMiddleware


class OurMiddlewareTests(upstream.SessionMiddlewareTests):  # type: ignore[misc]
    def setUp(self) -> None:
        upstream.SessionMiddleware = SessionMiddleware
