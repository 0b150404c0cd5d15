"""`for_mappings`: a manager as a framework needs it whose sessions are mappings."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from .clocks import Clocks
from .errors import ConfigurationError, of_kind
from .manager import SessionManager
from .session import DictSession, Session

Manager = SessionManager[DictSession]

_Wanted = tuple[float | None, Clocks]

_variants: Final[WeakKeyDictionary[SessionManager[Any], dict[_Wanted, Manager]]] = WeakKeyDictionary()


def for_mappings(manager: SessionManager[Any], idle_timeout: float | Literal["its own"] | None = "its own") -> Manager:
    """Return the manager, or another one over the same store where its idle clock or session class do not suit.

    :param idle_timeout: seconds; None: for ever.
    :raises ConfigurationError: for what is no manager, such as a store in its place; for a session class of the
        application's own that is no `DictSession`.
    """
    if not isinstance(manager, SessionManager):
        of_kind("manager", manager, SessionManager, "SessionManager(store)")
    if isinstance(idle_timeout, str):
        idle_timeout = manager.clocks.idle
    if idle_timeout == manager.clocks.idle and issubclass(manager.session_class, DictSession):
        return manager
    variants, wanted = _variants.setdefault(manager, {}), (idle_timeout, manager.clocks)
    found = variants.get(wanted)
    if found is None:
        found = variants[wanted] = _made(manager, idle_timeout)
    return found


def _made(manager: SessionManager[Any], idle_timeout: float | None) -> Manager:
    variant: Manager = copy.copy(manager)
    variant.session_class = _mapping_class(manager.session_class)
    variant.clocks = replace(manager.clocks, idle=idle_timeout)
    return variant


def _mapping_class(session_class: type[Session]) -> type[DictSession]:
    if issubclass(session_class, DictSession):
        return session_class
    if session_class is Session:
        return DictSession
    raise ConfigurationError("the sessions of this framework are mappings: derive "
                             f"{session_class.__name__} from DictSession")
