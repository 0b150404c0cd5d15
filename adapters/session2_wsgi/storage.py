"""The store that Beaker's options describe."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from session2 import ConfigurationError, Encrypted, JSONSerializer, PickleSerializer, Signed, from_url
from session2.store.base import SessionStore

Options = dict[str, Any]

_URLS: Final[dict[str, Callable[[Options], str]]] = {
    "memory": lambda options: "volatile:",
    "file": lambda options: f"directory:{_folder(options)}/session2?create=true",
    "dbm": lambda options: f"shelve:{_folder(options)}/session2?create=true",
    "cookie": lambda options: "cookie:",
    "ext:database": lambda options: _sql(_place(options)),
    "ext:sqla": lambda options: _sql(_place(options)),
    "ext:memcached": lambda options: "memcached://" + _place(options).replace(";", ","),
    "ext:redis": lambda options: _place(options),
    "ext:rediscluster": lambda options: _cluster(_place(options)),
}


def store_of(found: Options, store: SessionStore | str | None) -> SessionStore:
    """Return the store, set up: the given one, or that of the options."""
    if isinstance(store, SessionStore):
        if found.get("encrypt_key") or found.get("data_serializer"):
            raise ConfigurationError("session.encrypt_key and session.data_serializer come too late for a store that "
                                     "is made already: give its URL, or make it with serializer= and leave them out")
        return store
    in_cookies = store is None and kind_of(found) == "cookie"
    made = from_url(store or _url(found), **_serializer(found, in_cookies))
    made.setup()
    return made


def _serializer(found: Options, in_cookies: bool) -> Options:
    kinds = {"pickle": PickleSerializer, "json": JSONSerializer}
    kind, key = found.get("data_serializer") or ("json" if in_cookies else None), found.get("encrypt_key")
    secret = key or (found.get("validate_key") if in_cookies else None)
    if kind is None and not secret:
        return {}
    if kind not in (None, *kinds):
        raise ConfigurationError(f"session.data_serializer must be pickle or json, not {kind!r}; for another one give "
                                 "store=, made with serializer=")
    inner = kinds[kind or "pickle"]()
    try:
        return {"serializer": (Encrypted if key else Signed)(inner, secret) if secret else inner}
    except ConfigurationError as error:
        raise ConfigurationError(f"session.{'encrypt' if key else 'validate'}_key: {error}") from error


def kind_of(found: Options) -> str:
    """Return Beaker's name of where sessions are kept."""
    return str(found.get("type") or ("file" if found.get("data_dir") else "memory"))


def _url(found: Options) -> str:
    kind = kind_of(found)
    if kind not in _URLS:
        raise ConfigurationError(f"session.type = {kind} has no counterpart here: give store=, a store or its URL")
    return _URLS[kind](found)


def _place(found: Options) -> str:
    name = "urls" if kind_of(found) == "ext:rediscluster" else "url"
    url = found.get(name) or found.get("sa.url")
    if not url:
        raise ConfigurationError(f"session.type = {kind_of(found)} needs session.{name}")
    if not isinstance(url, str):
        raise ConfigurationError(f"session.{name} must be text here, not a {type(url).__name__}: for a client that is "
                                 "made already give store=, a store made with it")
    return url


def _folder(found: Options) -> str:
    if not found.get("data_dir"):
        raise ConfigurationError(f"session.type = {kind_of(found)} needs session.data_dir")
    folder = Path(found["data_dir"])
    folder.mkdir(parents=True, exist_ok=True)  # as Beaker does
    return str(folder)


def _cluster(urls: str) -> str:
    """Return the URL of a store for the nodes of a cluster, which Beaker takes each with a URL of its own."""
    first, *others = urls.split(",")
    return first.replace("://", "+cluster://", 1) + "".join("," + re.sub(r"^\s*\w+://", "", url) for url in others)


def _sql(url: str) -> str:
    """Return the URL of a store for one of SQLAlchemy's."""
    url = re.sub(r"^(\w+)\+\w+:", r"\1:", url)
    return re.sub("^sqlite:///", "sqlite:", url)
