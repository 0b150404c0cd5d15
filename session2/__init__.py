"""Persistent sessions for every Python web framework: no lost update, no resurrected logout."""

from . import legacy, merge
from .errors import (
    ConfigurationError,
    LockTimeout,
    SerializationError,
    SessionConflict,
    SessionError,
    StoreUnavailable,
)
from .exchange import CookiePolicy, Exchange
from .manager import SessionManager
from .serializers import JSONSerializer, PickleSerializer
from .session import DictSession, Session
from .store import from_url

__version__ = "1.0.0.dev0"

legacy.install()

__all__ = [
    "ConfigurationError",
    "CookiePolicy",
    "DictSession",
    "Exchange",
    "JSONSerializer",
    "LockTimeout",
    "PickleSerializer",
    "SerializationError",
    "Session",
    "SessionConflict",
    "SessionError",
    "SessionManager",
    "StoreUnavailable",
    "from_url",
    "merge",
]
