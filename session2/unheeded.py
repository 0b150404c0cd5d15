"""What classes for Quixote's sessions, or those of session2 0.6, override, and nobody would heed here."""

from __future__ import annotations

from types import MemberDescriptorType
from typing import Final

from .errors import ConfigurationError

_SUCCESS: Final = "override finish_successful_request"
_FAILURE: Final = "override finish_failed_request"
_COOKIE: Final = "give the manager cookie=CookiePolicy(...), or derive a policy from that"
_IDS: Final = "ids are drawn and found by the library"

OF_MANAGERS: Final = {
    "maintain_session": _SUCCESS, "commit_changes": _SUCCESS, "abort_changes": _FAILURE, "forget_changes": _FAILURE,
    "get_session": "override start_request", "clear_session": _FAILURE, "_create_session": "override new_session",
    "set_session_cookie": _COOKIE, "revoke_session_cookie": _COOKIE, "_set_cookie": _COOKIE,
    "_make_session_id": _IDS, "_get_session_id": _IDS,
    "__setitem__": "sessions are stored by the store: derive one from session2.store.base.SessionStore",
}
"""What those managers call in each request; here an application may call it, but the manager does not."""

_OF_SESSIONS: Final = {"__getstate__": "get_state", "__setstate__": "set_state", "__reduce__": "get_state",
                       "__reduce_ex__": "get_state"}
"""Those sessions are pickled as they are; of these the state is."""


def refuse_hooks(cls: type, base: type) -> None:
    """Raise `ConfigurationError` for a hook of a manager's class that would never be called."""
    for name, instead in OF_MANAGERS.items():
        if getattr(cls, name, None) is not getattr(base, name, None):
            raise ConfigurationError(f"{cls.__name__}.{name} would not be called by session2 in a request; {instead}")


def refuse_pickling(cls: type, base: type) -> None:
    """Raise `ConfigurationError` for how a session's class would have itself pickled, and for values kept in slots."""
    for name, instead in _OF_SESSIONS.items():
        if getattr(cls, name) is not getattr(base, name) and getattr(cls, instead) is getattr(base, instead):
            raise ConfigurationError(f"{cls.__name__}.{name} would not be asked when its sessions are stored; override "
                                     f"{instead} (too)")
    for name, value in vars(cls).items():
        if isinstance(value, MemberDescriptorType):
            raise ConfigurationError(f"{cls.__name__}.{name} is a slot, which is not stored: leave it out of __slots__")
