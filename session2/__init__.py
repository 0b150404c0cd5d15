"""Persistent sessions for every Python web framework: no lost update, no resurrected logout."""

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
from .urls import from_url

__version__ = "1.0.0.dev0"

legacy.install()

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
