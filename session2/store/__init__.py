"""The stores, one module each; `from_url` makes one from text, for configuration files."""

from __future__ import annotations

import inspect
import os
import re
from importlib import import_module
from typing import Any, Final
from urllib.parse import parse_qsl

from ..errors import ConfigurationError
from ..serializers import Encrypted, JSONSerializer, MsgpackSerializer, PickleSerializer, Serializer, Signed
from .base import SessionStore

_STORES: Final = {
    "volatile": "volatile.VolatileSessionStore",
    "directory": "directory.DirectorySessionStore",
    "shelve": "shelve.ShelveSessionStore",
    "sqlite": "sqlite.SQLiteSessionStore",
    "postgresql": "postgres.PostgresSessionStore",
    "postgres": "postgres.PostgresSessionStore",
    "mysql": "mysql.MySQLSessionStore",
    "mariadb": "mysql.MySQLSessionStore",
    "durus": "durus.DurusSessionStore",
    "durus+unix": "durus.DurusSessionStore",
}

_FORMATS: Final[dict[str, type[Serializer]]] = {
    "pickle": PickleSerializer, "json": JSONSerializer, "msgpack": MsgpackSerializer}
_SEALS: Final = {"signed": Signed, "encrypted": Encrypted}

# One @, behind a user and a password of which no part can be taken for a host, a path or a query, and be shown as such.
_LOGIN: Final = re.compile(r"[^:]*://([^/?#@%\s]|%[0-9A-Fa-f]{2})*@[^@]*")

SECRETS: Final = "SESSION2_SECRETS"
"""The environment variable with the secrets for URLs that ask for a seal, separated by blanks, the newest first."""


def from_url(url: str, **options: Any) -> SessionStore:
    """Return the store that a URL describes, for example ``directory:/var/lib/sessions?create=true``.

    Query arguments, and `options`, become keyword arguments of the store.  ``serializer`` is ``pickle``, ``json`` or
    ``msgpack``, or for example ``signed-json`` or ``encrypted-pickle`` with secrets from the environment (`SECRETS`).
    Raises `ConfigurationError` for a scheme or an argument that does not exist.
    """
    check_login(url)
    location, _, query = url.partition("?")
    scheme = location.partition(":")[0]
    if scheme not in _STORES:
        raise ConfigurationError(f"no store is called {scheme!r}; there are: {', '.join(_STORES)}")
    module, name = _STORES[scheme].split(".")
    store: type[SessionStore] = getattr(import_module(f"{__name__}.{module}"), name)
    try:
        arguments = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    except ValueError as error:
        raise ConfigurationError(f"the query of the store URL cannot be read: {error}") from None
    defaults = _defaults(store)
    twice = arguments.keys() & options.keys()
    if twice:
        raise ConfigurationError(f"given in the URL and as an argument: {', '.join(sorted(twice))}")
    converted = {name: _convert(store, name, text, defaults) for name, text in arguments.items()}
    return store.from_location(location, **converted, **options)


def check_login(url: str) -> None:
    """Refuse a URL whose password would end up elsewhere, such as in an error about the host."""
    if "@" in url and re.match("[^:]*://[^/]", url) and not _LOGIN.fullmatch(url):
        raise ConfigurationError("the URL cannot be taken apart: in a user or password write %40 for @, and likewise "
                                 "for / ? # % and blanks")


def _defaults(store: type) -> dict[str, Any]:
    """Return the optional arguments of a store and of its bases."""
    return {name: parameter.default for base in reversed(store.__mro__) if "__init__" in vars(base)
            for name, parameter in inspect.signature(base).parameters.items()
            if parameter.default is not parameter.empty and name not in ("clock", "observer")}


def _convert(store: type, name: str, text: str, defaults: dict[str, Any]) -> Any:
    if name not in defaults:
        raise ConfigurationError(f"{store.__name__} has no argument {name!r}; it has: {', '.join(defaults)}")
    if name == "serializer":
        return _serializer(text)
    default = defaults[name]
    if isinstance(default, bool):
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigurationError(f"{name} must be true or false, not {text!r}")
        return text.lower() in ("true", "1")
    if not isinstance(default, (int, float)):
        return text
    try:
        return type(default)(text)
    except ValueError:
        raise ConfigurationError(f"{name} must be a number, not {text!r}") from None


def _serializer(text: str) -> Serializer:
    seal, _, name = text.rpartition("-")
    if name not in _FORMATS or seal not in ("", *_SEALS):
        raise ConfigurationError(f"no serializer is called {text!r}; there are: {', '.join(_FORMATS)}, each also "
                                 f"with {' or '.join(f'{seal}-' for seal in _SEALS)} in front")
    if not seal:
        return _FORMATS[name]()
    secrets = os.environ.get(SECRETS, "").split()
    if not secrets:
        raise ConfigurationError(f"{text} needs a secret in the environment variable {SECRETS}: see session2 secret")
    return _SEALS[seal](_FORMATS[name](), secrets)
