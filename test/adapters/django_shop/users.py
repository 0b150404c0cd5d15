"""Everybody who says a name is believed."""

from __future__ import annotations

from typing import Any

from .models import User


class Anybody:
    """An authentication backend."""

    def authenticate(self, request: Any, name: str) -> User:
        return User(name=name)

    def get_user(self, name: str) -> User:
        return User(name=name)
