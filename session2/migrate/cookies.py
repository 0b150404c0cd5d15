"""The cookies of other systems, as `FormerCookie`: what they are called, and how an id is told from anything else.

Each takes the arguments of `FormerCookie` besides: ``source``, ``path``, ``domain``, ``keep``.
"""

from __future__ import annotations

import re
from typing import Any

from ..former import FormerCookie


def quixote(name: str = "QX_session", **options: Any) -> FormerCookie:
    """Return the cookie of session2 0.6, of session3, and of Quixote's own sessions."""
    return FormerCookie(name, lambda value: matched(r"[A-Za-z0-9_-]{8,64}", value), **options)


def cherrypy(name: str = "session_id", **options: Any) -> FormerCookie:
    """Return the cookie of CherryPy's own sessions."""
    return FormerCookie(name, lambda value: matched("[0-9a-f]{40}", value), **options)


def matched(pattern: str, value: str) -> str | None:
    """Return a value that is an id as a whole, None if it is not."""
    return value if re.fullmatch(pattern, value, re.ASCII) else None
