"""The cookies of other systems, as `FormerCookie`: what they are called, and how an id is told from anything else.

Each takes the arguments of `FormerCookie` besides: ``source``, ``path``, ``domain``, ``keep``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from ..clocks import DAY
from ..former import FormerCookie
from . import ids
from .signatures import checked, of_beaker, of_itsdangerous
from .sources import signed
from .unpickle import Unpickler


def quixote(name: str = "QX_session", **options: Any) -> FormerCookie:
    """Return the cookie of session2 0.6, of session3, and of Quixote's own sessions."""
    return FormerCookie(name, lambda value: matched(r"[A-Za-z0-9_-]{8,64}", value), **options)


def cherrypy(name: str = "session_id", **options: Any) -> FormerCookie:
    """Return the cookie of CherryPy's own sessions."""
    return FormerCookie(name, lambda value: matched("[0-9a-f]{40}", value), **options)


def matched(pattern: str, value: str) -> str | None:
    """Return a value that is an id as a whole, None if it is not."""
    return value if re.fullmatch(pattern, value, re.ASCII) else None


def beaker(name: str = "beaker.session.id", secrets: Sequence[str] = (), **options: Any) -> FormerCookie:
    """Return the cookie of Beaker's.

    :param secrets: Beaker's ``session.secret`` in a list, if it is set: what is not signed with one counts as nothing.
    """
    unsign = partial(of_beaker, secrets=checked(secrets)) if secrets else None
    return FormerCookie(name, partial(_unsigned, ids.BEAKER, unsign), **options)


def django(name: str = "sessionid", **options: Any) -> FormerCookie:
    """Return the cookie of Django's, whose sessions are in a table, in files or in a cache."""
    return FormerCookie(name, partial(_unsigned, ids.DJANGO, None), **options)


def flask_session(name: str = "session", secrets: Sequence[str] = (), **options: Any) -> FormerCookie:
    """Return the cookie of Flask-Session's.

    :param secrets: Flask's SECRET_KEY in a list, if SESSION_USE_SIGNER is set: what is not signed with one counts as
        nothing.
    """
    unsign = partial(of_itsdangerous, salt="flask-session", secrets=checked(secrets)) if secrets else None
    return FormerCookie(name, partial(_unsigned, ids.FLASK_SESSION, unsign), **options)


# -- sessions that are in the cookie ----------------------------------------------------------------------------------


def flask(secrets: Sequence[str], name: str = "session", *, lifetime: float = 31 * DAY, user_key: str = "_user_id",
          **options: Any) -> FormerCookie:
    """Return the cookie of Flask's own sessions, which are in it; see `session2.migrate.sources.signed.Flask`."""
    source = signed.Flask(secrets, lifetime=lifetime, user_key=user_key)
    return FormerCookie(name, source.signed, source, **options)


def django_signed(secrets: Sequence[str], name: str = "sessionid", *, cookie_age: float = 14 * DAY,
                  allow: Iterable[str] = (), **options: Any) -> FormerCookie:
    """Return the cookie of Django's ``signed_cookies``; see `session2.migrate.sources.signed.Django`."""
    source = signed.Django(secrets, cookie_age=cookie_age, unpickler=Unpickler(allow))
    return FormerCookie(name, source.signed, source, **options)


def beaker_signed(secrets: Sequence[str], name: str = "beaker.session.id", *, timeout: float = 0.0,
                  user_key: str = "", encrypt_key: str = "", allow: Iterable[str] = (),
                  **options: Any) -> FormerCookie:
    """Return the cookie of Beaker's sessions of type ``cookie``; see `session2.migrate.sources.signed.Beaker`."""
    source = signed.Beaker(secrets, timeout=timeout, user_key=user_key, encrypt_key=encrypt_key,
                           unpickler=Unpickler(allow))
    return FormerCookie(name, source.signed, source, **options)


def _unsigned(pattern: re.Pattern[str], unsign: Callable[[str], str | None] | None, value: str) -> str | None:
    """Return the id in the value of a cookie, which is signed if that is how the system was configured."""
    text = value if unsign is None else unsign(value)
    return text if text is not None and pattern.fullmatch(text) else None
