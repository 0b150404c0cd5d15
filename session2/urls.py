"""Stores from text: `from_url`, for configuration files, and the one table of what stores there are.

Another distribution adds a store by an entry point of the group ``session2.stores``, named as the scheme of its URLs.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit

from .errors import ConfigurationError, StoreMissing
from .serializers import Encrypted, JSONSerializer, MsgpackSerializer, PickleSerializer, Serializer, Signed
from .store.base import SessionStore

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Store(NamedTuple):
    """What is known of a store before its module is imported."""

    module: str
    """Below `session2.store`; the page about it is called likewise."""
    name: str
    """Of the class."""
    example: str
    """A URL; ``{}`` stands for a folder, in those that need no server."""
    extra: str = ""
    """What to install besides: ``session2[extra]``."""
    takes_login: bool = False
    """Whether a URL may hold a user and a password."""
    takes_several: bool = False
    """Whether a URL may name several servers, with commas between."""


STORES: Final = {
    "volatile": Store("volatile", "VolatileSessionStore", "volatile:"),
    "directory": Store("directory", "DirectorySessionStore", "directory:{}/sessions?create=true"),
    "shelve": Store("shelve", "ShelveSessionStore", "shelve:{}/sessions.shelf?create=true"),
    "sqlite": Store("sqlite", "SQLiteSessionStore", "sqlite:{}/sessions.sqlite"),
    "durus": Store("durus", "DurusSessionStore", "durus:{}/sessions.durus?create=true", "durus"),
    "durus+unix": Store("durus", "DurusSessionStore", "durus+unix:/run/durus.socket", "durus"),
    "postgresql": Store("postgres", "PostgresSessionStore", "postgresql://user@localhost/sessions", "postgres", True),
    "postgres": Store("postgres", "PostgresSessionStore", "postgres://user@localhost/sessions", "postgres", True),
    "mysql": Store("mysql", "MySQLSessionStore", "mysql://user@localhost/sessions", "mysql", True),
    "mariadb": Store("mysql", "MySQLSessionStore", "mariadb://user@localhost/sessions", "mysql", True),
    "memcached": Store("memcached", "MemcachedSessionStore", "memcached://localhost:11211", takes_several=True),
    "cookie": Store("cookie", "CookieSessionStore", "cookie:?serializer=encrypted-json", "encrypted"),
    "redis": Store("redis", "RedisSessionStore", "redis://localhost/0", "redis", True),
    "rediss": Store("redis", "RedisSessionStore", "rediss://user@localhost/0", "redis", True),
    "redis+unix": Store("redis", "RedisSessionStore", "redis+unix:/run/redis/redis.sock", "redis", True),
    "redis+sentinel": Store("redis", "RedisSessionStore", "redis+sentinel://h1:26379,h2:26379/name/0", "redis", True),
    "rediss+sentinel": Store("redis", "RedisSessionStore", "rediss+sentinel://h1:26379,h2:26379/name/0", "redis", True),
    "redis+cluster": Store("redis", "RedisSessionStore", "redis+cluster://h1:6379,h2:6379", "redis", True),
    "rediss+cluster": Store("redis", "RedisSessionStore", "rediss+cluster://h1:6379,h2:6379", "redis", True),
    "cached": Store("cached", "CachedSessionStore",
                    "cached:?cache=memcached://localhost:11211&store=sqlite:sessions.sqlite"),
    "couchdb": Store("couchdb", "CouchDBSessionStore", "couchdb://user@localhost/sessions", takes_login=True),
    "couchdbs": Store("couchdb", "CouchDBSessionStore", "couchdbs://user@localhost/sessions", takes_login=True),
}
"""The stores of this distribution, by the scheme of their URLs."""

GROUP: Final = "session2.stores"
"""The group of entry points by which other distributions add theirs."""

_FORMATS: Final[dict[str, type[Serializer]]] = {
    "pickle": PickleSerializer, "json": JSONSerializer, "msgpack": MsgpackSerializer}
_SEALS: Final = {"signed": Signed, "encrypted": Encrypted}

# One @, behind a user and a password of which no part can be taken for a host, a path or a query, and be shown as such.
_LOGIN: Final = re.compile(r"[^:]*://([^/?#@%\s]|%[0-9A-Fa-f]{2})*@[^@]*")

# What looks like a login before the first slash, or for a port is none; behind a port a weight may stand.
_NO_PLACE: Final = re.compile(r"""
    [^:]*:( //[^/]*@ | /?[^/]*:[^/]*@
          | //(?!\[[0-9A-Fa-f:.]+\](:\d+(\*\d+)?)?(/|$)) ([^/:]*:(?!\d+(\*\d+)?(/|$)) | [^/]*[][]) )""", re.VERBOSE)

_APART: Final = ("the URL cannot be taken apart: in a user or password write %40 for @, and likewise for / ? # % and "
                 "blanks")

SECRETS: Final = "SESSION2_SECRETS"
"""The environment variable with the secrets for URLs that ask for a seal, separated by blanks, the newest first."""


def from_url(url: str, **options: Any) -> SessionStore:
    """Return the store that a URL describes, for example ``directory:/var/lib/sessions?create=true``.

    Query arguments, and `options`, become keyword arguments of the store; those that a store lists in ``URL_OPTIONS``
    stay in the URL, for the driver behind it.  ``serializer`` is ``pickle``, ``json`` or
    ``msgpack``, or for example ``signed-json`` or ``encrypted-pickle`` with secrets from the environment (`SECRETS`).
    Raises `ConfigurationError` for a scheme or an argument that does not exist.
    """
    check_login(url)
    location, _, query = url.partition("?")
    store = class_of(url)
    check_path(location.partition(":")[2])
    given = _given(query)
    passed = {name: given.pop(name) for name in list(given) if name in getattr(store, "URL_OPTIONS", ())}
    arguments = _arguments(store, given)
    if passed:
        location += "?" + urlencode(passed, quote_via=quote)
    twice = arguments.keys() & options.keys()
    if twice:
        raise ConfigurationError(f"given in the URL and as an argument: {', '.join(sorted(twice))}")
    try:
        return store._from_location(location, **arguments, **options)
    except StoreMissing as missing:
        raise StoreMissing(missing.what, "?create=true in the URL") from None
    except ValueError:  # it may repeat the URL
        raise ConfigurationError(_APART) from None


def extra_of(url: str) -> str:
    """Return what to install for the store of this URL or scheme, as in ``session2[extra]``; empty if nothing."""
    store = STORES.get(url.partition(":")[0])
    return store.extra if store else ""


def check(url: str) -> None:
    """Raise what `from_url` would, as far as that can be told with nothing installed."""
    check_login(url)
    scheme = url.partition(":")[0]
    if scheme not in STORES:
        class_of(url)


def check_login(url: str) -> None:
    """Refuse a URL whose password would end up elsewhere, such as in an error about the host, or the path of a file."""
    if "@" in url and re.match("[^:]*://[^/]", url) and not _LOGIN.fullmatch(url):
        raise ConfigurationError(_APART)
    store = STORES.get(url.partition(":")[0])
    if store and not store.takes_login and any(map(_NO_PLACE.match, _places(store, url.partition("?")[0]))):
        raise ConfigurationError(f"the URL of this store has no user and no password; write for example "
                                 f"{store.example.format('/var/lib')!r}, and ./ before a path with : and @")


def check_path(path: str) -> None:
    """Refuse a path that means the home directory: a folder called ~ would be made, which is dangerous to remove."""
    if path.startswith("~"):
        raise ConfigurationError("no shell replaces a ~ behind a colon: write the path in full, or ./~ for a folder "
                                 "that is called so")


def parts_of(url: str) -> SplitResult:
    """Return the parts of a URL that may hold a login; `ConfigurationError`, which repeats none, if there are none."""
    check_login(url)
    try:
        return urlsplit(url)
    except ValueError:
        raise ConfigurationError(_APART) from None


def _places(store: Store, location: str) -> list[str]:
    """Return the location, as one for each server if there may be several."""
    scheme, slashes, places = location.partition("://")
    return [scheme + slashes + place for place in places.split(",")] if store.takes_several else [location]


# -- the class for a scheme -------------------------------------------------------------------------------------------


def class_of(url: str) -> type[SessionStore]:
    """Return the class of the store that a URL describes."""
    scheme = url.partition("?")[0].partition(":")[0]
    if scheme in STORES:
        row = STORES[scheme]
        store: type[SessionStore] = getattr(import_module(f"session2.store.{row.module}"), row.name)
        return store
    offered = _offered()
    if scheme in offered:
        return _loaded(offered[scheme])
    known = [*STORES, *offered]
    name = re.split("[^A-Za-z0-9+.-]", scheme, maxsplit=1)[0]  # what follows may be a password
    shown = f"is called {name!r}" if name == scheme else "is called so; write its name and a colon"
    near = "".join(f"; did you mean {name!r}?" for name in get_close_matches(name, known, 1))
    raise ConfigurationError(f"no store {shown}{near or '.'}  There are: {', '.join(known)}")


def _offered() -> dict[str, EntryPoint]:
    """Return the entry points of other distributions, by scheme."""
    from importlib.metadata import entry_points  # it takes as long to import as all the rest

    return {point.name: point for point in entry_points(group=GROUP)}


def _loaded(point: EntryPoint) -> type[SessionStore]:
    try:
        store = point.load()
    except Exception as error:  # whatever the module of somebody else raises
        raise ConfigurationError(f"{_shown(point)} cannot be loaded: {type(error).__name__}: {error}") from error
    if not (isinstance(store, type) and issubclass(store, SessionStore)):
        raise ConfigurationError(f"{_shown(point)} is not a SessionStore")
    return store


def _shown(point: EntryPoint) -> str:
    source = f" of the distribution {point.dist.name}" if point.dist else ""
    return f"the store {point.name!r}{source}, entry point {GROUP}: {point.name} = {point.value},"


# -- its arguments ----------------------------------------------------------------------------------------------------


def _given(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:  # it repeats what may be anything
        raise ConfigurationError("the query of the store URL cannot be read: write ?NAME=VALUE&NAME=VALUE") from None
    if len(pairs) != len(given := dict(pairs)):
        raise ConfigurationError("the query of the store URL names something twice: only one of both could count")
    return given


def _arguments(store: type[SessionStore], given: dict[str, str]) -> dict[str, Any]:
    defaults = defaults_of(store)
    return {name: _convert(store, name, text, defaults) for name, text in given.items()}


def defaults_of(store: type) -> dict[str, Any]:
    """Return what a URL may say: the optional arguments of a store and of its bases, but not where the store is."""
    return {name: parameter.default for base in reversed(store.__mro__) if "__init__" in vars(base)
            for number, (name, parameter) in enumerate(inspect.signature(base).parameters.items())
            if parameter.default is not parameter.empty and name not in ("clock", "observer")
            and (number or parameter.kind is parameter.KEYWORD_ONLY)}


def _convert(store: type, name: str, text: str, defaults: dict[str, Any]) -> Any:
    if name not in defaults:
        raise ConfigurationError(f"{store.__name__} has no argument {name!r}; it has: {', '.join(defaults)}")
    if name == "serializer":
        return _serializer(text)
    default = defaults[name]
    if isinstance(default, bool):
        if text.lower() not in ("true", "false", "1", "0"):
            raise ConfigurationError(f"{name} must be true or false")
        return text.lower() in ("true", "1")
    if not isinstance(default, (int, float)):
        return text
    try:
        number = type(default)(text)
    except ValueError:
        raise ConfigurationError(f"{name} must be a number") from None
    if isinstance(number, float) and not math.isfinite(number):  # a wait for so long would never end
        raise ConfigurationError(f"{name} must be a number that is finite")
    return number


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
