"""Requests to a Django site, each with a view of its own."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import django_shop
from django.conf import settings

if not settings.configured:
    django_shop.configure(ROOT_URLCONF="django_shop.views", SESSION2_MANAGER="django_shop.manager", LOGGING_CONFIG=None)

from django.http import HttpResponse
from django.test import Client
from django_shop.models import User

from session2 import DictSession, SessionManager, StoreUnavailable, merge
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import Clock

OURS = "session2_django.SessionMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
NAME = settings.SESSION_COOKIE_NAME

View = Callable[[Any], Any]


class ShopSession(DictSession):
    """With a counter."""

    merge_rules = {"visits": merge.add}


class Site:
    """A site whose sessions are in memory, with a clock to set."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.store = VolatileSessionStore(clock=self.clock)
        self.manager = SessionManager(self.store, ShopSession, **options)
        django_shop.manager = self.manager

    def browser(self, cookie: str | None = None) -> Browser:
        return Browser(cookie)

    @contextlib.contextmanager
    def store_is_away(self) -> Iterator[None]:
        """Make every look at a record fail."""
        def away(key: str) -> None:
            raise StoreUnavailable("the store is away")

        self.store.read = away  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            del self.store.read

    @property
    def sessions(self) -> list[DictSession]:
        """All that are stored."""
        return list(self.manager)


class Browser:
    """Keeps its cookies; `response` is the last answer."""

    def __init__(self, cookie: str | None = None) -> None:
        self.client = Client(raise_request_exception=False)
        if cookie is not None:
            self.client.cookies[NAME] = cookie

    @property
    def id(self) -> str | None:
        found = self.client.cookies.get(NAME)
        return found.value if found is not None and found.value else None

    @property
    def sent(self) -> Any:
        """The cookie of the last answer, None if there was none."""
        return self.response.cookies.get(NAME)

    def copy(self) -> Browser:
        return Browser(self.id)

    def get(self, view: View, status: int = 200, **options: Any) -> Any:
        """Ask for a page; return what the view returned."""
        given: list[Any] = []

        def answer(request: Any) -> Any:
            given.append(view(request))
            return given[0] if isinstance(given[0], HttpResponse) else HttpResponse("page")

        self.response = self.client.get("/", **{"shop.view": answer}, **options)
        assert self.response.status_code == status, self.response.content
        return given[0] if given else None


def sets(**items: Any) -> View:
    """Return a view that sets items."""
    return lambda request: request.session.update(items)


def items(request: Any) -> dict[str, Any]:
    return dict(request.session.items())


def user(request: Any) -> Any:
    return request.user.pk


def logs_in(name: str) -> View:
    from django.contrib.auth import login

    return lambda request: login(request, User(name=name))


def logs_out(request: Any) -> None:
    from django.contrib.auth import logout

    logout(request)
