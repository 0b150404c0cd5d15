"""Sources from text, and the one table of the systems that visitors can be moved from."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from ..errors import ConfigurationError
from ..urls import check_login, check_path
from .source import Source
from .unpickle import Unpickler


class System(NamedTuple):
    """What is known of a source before its module is imported."""

    module: str
    """Below `session2.migrate.sources`."""
    name: str
    """Of the class."""
    example: str
    """A URL; ``{}`` stands for a folder, in those that need no server."""
    extra: str = ""
    """What to install besides: ``session2[extra]``."""


def _objects(system: str) -> dict[str, System]:
    """Return the rows of a system that has the stores of session2 0.6."""
    return {
        f"{system}+directory": System("sessions06", "Directory", system + "+directory:{}/sessions"),
        f"{system}+shelve": System("sessions06", "Shelf", system + "+shelve:{}/sessions.shelf"),
        f"{system}+durus": System("durus06", "Durus", system + "+durus:{}/sessions.durus", "durus"),
        f"{system}+mysql": System("sessions06", "Rows", system + "+mysql://user@localhost/test", "mysql"),
        f"{system}+postgresql": System("sessions06", "Rows", system + "+postgresql://user@localhost/sql_store",
                                       "postgres"),
    }


def _tables(system: str, module: str, name: str) -> dict[str, System]:
    """Return the rows of a source that reads a table, for each database."""
    return {
        f"{system}+sqlite": System(module, name, f"{system}+sqlite:{{}}/shop.sqlite"),
        f"{system}+postgresql": System(module, name, f"{system}+postgresql://user@localhost/shop", "postgres"),
        f"{system}+mysql": System(module, name, f"{system}+mysql://user@localhost/shop", "mysql")}


def _redis(system: str, module: str, name: str) -> dict[str, System]:
    """Return the rows of a source that reads keys of Redis, for each way to reach it."""
    return {
        f"{system}+redis": System(module, name, f"{system}+redis://localhost/0", "redis"),
        f"{system}+rediss": System(module, name, f"{system}+rediss://user@localhost/0", "redis"),
        f"{system}+redis+unix": System(module, name, f"{system}+redis+unix:/run/redis/redis.sock", "redis")}


SYSTEMS: Final = {
    **_objects("session2-0.6"),
    **_objects("session3"),
    "quixote+shelve": System("sessions06", "Shelf", "quixote+shelve:{}/sessions.shelf"),
    "cherrypy+file": System("cherrypy", "Files", "cherrypy+file:{}/sessions"),
    "beaker+file": System("beaker", "Files", "beaker+file:{}/data"),
    "beaker+dbm": System("beaker", "DBM", "beaker+dbm:{}/data"),
    **_tables("beaker", "beaker", "Rows"),
    **_redis("beaker", "beaker", "Redis"),
    "beaker+memcached": System("beaker", "Memcached", "beaker+memcached://localhost:11211"),
    **_tables("django", "django", "Rows"),
    "django+file": System("django", "Files", "django+file:{}/sessions"),
    "django-cache+file": System("django", "CacheFiles", "django-cache+file:{}/cache"),
    **_tables("django-cache", "django", "CacheRows"),
    **_redis("django-cache", "django", "CacheRedis"),
    "django-cache+memcached": System("django", "CacheMemcached", "django-cache+memcached://localhost:11211"),
    "flask-session+file": System("flask_session", "Files", "flask-session+file:{}/flask_session"),
    **_redis("flask-session", "flask_session", "Redis"),
    "flask-session+memcached": System("flask_session", "Memcached", "flask-session+memcached://localhost:11211"),
    **_tables("flask-session", "flask_session", "Rows"),
}
"""The systems, by the scheme of their URLs."""


def open_source(url: str, allow: Iterable[str] = (), user_key: str | None = None) -> Source:
    """Return the source that a URL describes, for example ``cherrypy+file:/var/lib/sessions``.

    :param allow: classes of the application that may be imported and made, as ``module.Class``.
    :param user_key: the item that tells who is logged in, in systems whose sessions are mappings.
    :raises ConfigurationError: for a scheme or an argument that does not exist.
    """
    check_login(url)
    location, _, query = url.partition("?")
    scheme, _, path = location.partition(":")
    source, given = class_of(scheme), _given(query)
    encoding = given.pop("encoding", "")
    arguments = _arguments(source, scheme, given if user_key is None else {**given, "user_key": user_key})
    place = location.partition("+")[2] if path.startswith("//") else path
    if not place:
        raise ConfigurationError(f"the source names no place; write for example {SYSTEMS[scheme].example!r}")
    check_path(place)
    found: Source = source(place, Unpickler(map(_class_name, allow), _checked(encoding)), **arguments)
    return found


def class_of(scheme: str) -> Any:
    """Return the class of the source with this scheme."""
    if scheme not in SYSTEMS:
        raise ConfigurationError(_unknown(scheme))
    system = SYSTEMS[scheme]
    return getattr(import_module(f"session2.migrate.sources.{system.module}"), system.name)


def _unknown(scheme: str) -> str:
    name = re.split("[^A-Za-z0-9+._-]", scheme, maxsplit=1)[0]  # what follows may be a password
    near = "".join(f"; did you mean {found!r}?" for found in get_close_matches(name, SYSTEMS, 1))
    return f"no system is called {name!r}{near or '.'}  There are: {', '.join(SYSTEMS)}"


def _given(query: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError:  # it repeats what may be anything
        raise ConfigurationError("the query of the source cannot be read: write ?NAME=VALUE&NAME=VALUE") from None


def _arguments(source: Any, scheme: str, given: dict[str, str]) -> dict[str, Any]:
    parameters = inspect.signature(source).parameters.items()
    defaults = {name: parameter.default for name, parameter in parameters
                if parameter.default is not parameter.empty}
    for name in given:
        if name not in defaults:
            raise ConfigurationError(f"{scheme} has no argument {name!r}; it has: "
                                     f"{', '.join([*defaults, 'encoding'])}")
    return {name: _converted(name, text, defaults[name]) for name, text in given.items()}


def _converted(name: str, text: str, default: Any) -> Any:
    if not isinstance(default, (int, float)):
        return text
    try:
        number = type(default)(text)
    except ValueError:
        number = -1
    if not 0 <= number < math.inf:  # with "nan" sessions would have no end
        raise ConfigurationError(f"{name} must be a number, and not less than 0")
    return number


def _class_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", text, re.ASCII):
        raise ConfigurationError(f"a class to allow is written module.Class, not {text[:60]!r}")
    return text


def _checked(encoding: str) -> str:
    try:
        b"a".decode(encoding or "utf-8")
    except LookupError:
        raise ConfigurationError(f"Python knows no encoding {encoding[:60]!r}") from None
    return encoding
