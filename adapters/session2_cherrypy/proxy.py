"""What `cherrypy.session` is."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

import cherrypy  # type: ignore[import-untyped, unused-ignore]
from cherrypy import _ThreadLocalProxy


class SessionProxy(_ThreadLocalProxy):  # type: ignore[misc]
    """CherryPy's own proxy for the session of the current request, which can be iterated over too."""

    __slots__ = ()

    def __iter__(self) -> Iterator[str]:
        return iter(getattr(cherrypy.serving, self.__attrname__))


MutableMapping.register(SessionProxy)


def install() -> None:
    """Put this proxy where the session tool would put CherryPy's."""
    if type(getattr(cherrypy, "session", None)) is not SessionProxy:
        cherrypy.session = SessionProxy("session")
