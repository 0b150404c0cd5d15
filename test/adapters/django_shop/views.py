"""The view that a test wants: it comes with the request."""

from __future__ import annotations

from typing import Any

from django.urls import re_path

urlpatterns = [re_path("", lambda request: request.META["shop.view"](request))]


class BelievesTheSession:
    """As docs/django.md has it, for users that no table has."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        from .models import User

        key = request.session.session.user
        if key is not None and not request.user.is_authenticated:
            request.user = User(name=key)
        return self.get_response(request)


class LooksAtTheSession:
    """A middleware behind that of sessions."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.session.get("a")
        return self.get_response(request)
