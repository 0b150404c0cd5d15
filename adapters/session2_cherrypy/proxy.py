"""What `cherrypy.session` is."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from types import NoneType

import cherrypy  # type: ignore[import-untyped, unused-ignore]
from cherrypy import _ThreadLocalProxy


class SessionProxy(_ThreadLocalProxy):  # type: ignore[misc]
    """CherryPy's own proxy for the session of the current request, which can be iterated over too."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        return iter(getattr(cherrypy.serving, self.__attrname__))


MutableMapping.register(SessionProxy)


def install() -> None:
    """Put this proxy where the session tool would put CherryPy's, and leave a stand-in that a test has put there."""
    if type(getattr(cherrypy, "session", None)) in (NoneType, _ThreadLocalProxy):
        cherrypy.session = SessionProxy("session")
