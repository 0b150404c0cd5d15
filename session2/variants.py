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

_variants: Final[WeakKeyDictionary[SessionManager[Any], dict[float | None, tuple[Clocks, Manager]]]] = \
    WeakKeyDictionary()
"""By idle clock; with the clocks of the manager that the variant was made from."""


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
    clocks, kind = manager.clocks, manager.session_class
    if idle_timeout == clocks.idle and (kind is DictSession or issubclass(kind, DictSession)):
        return manager
    variants = _variants.setdefault(manager, {})
    found = variants.get(idle_timeout)
    if found is None or found[0] is not clocks:
        found = variants[idle_timeout] = clocks, _made(manager, idle_timeout)
    return found[1]


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
