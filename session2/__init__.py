"""Persistent sessions for Python web frameworks: no lost update, no resurrected logout."""

from typing import TYPE_CHECKING, Any

from . import legacy, merge
from .cookies import CookiePolicy
from .errors import (
    ConfigurationError,
    LockTimeout,
    SessionConflict,
    SessionError,
    StoreUnavailable,
)
from .exchange import Exchange
from .manager import SessionManager
from .serializers import (
    Encrypted,
    JSONSerializer,
    PickleSerializer,
    Signed,
    get_secret,
)
from .session import DictSession, Session

if TYPE_CHECKING:
    from .urls import from_url

__version__ = "1.0.0.dev0"

legacy.install()


def __getattr__(name: str) -> Any:
    """Import what takes long and not everybody needs."""
    if name != "from_url":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .urls import from_url

    return from_url


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "ConfigurationError",
    "CookiePolicy",
    "DictSession",
    "Encrypted",
    "Exchange",
    "JSONSerializer",
    "LockTimeout",
    "PickleSerializer",
    "Session",
    "SessionConflict",
    "SessionError",
    "SessionManager",
    "Signed",
    "StoreUnavailable",
    "from_url",
    "get_secret",
    "merge",
]
