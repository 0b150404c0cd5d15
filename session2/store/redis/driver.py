"""The redis-py side of `RedisSessionStore`; imported when such a store is made."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from ...errors import ConfigurationError, StoreUnavailable
from ...urls import parts_of
from .wire import Link

Address = tuple[str, int]

_PORTS: Final = {"sentinel": 26379}
_HOST: Final = re.compile(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d{1,5}))?")

_FORMS: Final = ("redis://user:password@host:6379/0, rediss://… (encrypted), redis+unix:///path/to/socket, "
                 "redis+sentinel://host:26379,host:26379/name/0 or redis+cluster://host:6379,host:6379")


class Destination(NamedTuple):
    """Where a store's sessions are."""

    place: Place
    nodes: list[Address]
    """Of a cluster: those to ask for the others; empty if it is none."""
    slot_of: Callable[[bytes], int] = key_slot
    """Tells the number of the slot of a key."""
    translate: Callable[[Address], Address] | None = None
    """From an address that the nodes of a cluster tell to the one by which they are reached from here."""


@dataclass(repr=False)  # it knows the password
class Place:
    """What redis-py makes a connection of.

    :param pool: where redis-py would keep it.
    :param options: of the connection.
    """

    pool: Any
    options: dict[str, Any]

    def at(self, address: Address) -> Place:
        """Return another server of the same cluster."""
        return Place(self.pool, {**self.options, "host": address[0], "port": address[1]})

    def connect(self) -> Link:
        """Return a connection that the store makes itself."""
        try:
            connection = self.pool.connection_class(**self.options)
            connection.connect()
            return Link(connection)
        except (redis.RedisError, OSError, UnicodeError) as error:
            raise StoreUnavailable(f"no connection to Redis: {_first_line(error)}") from error
        except BaseException:
            self._silence_sentinels()
            raise

    def primary(self) -> Address | None:
        """Return the server that sentinels name at the moment; None if there are none, or none answers."""
        if not isinstance(self.pool, SentinelConnectionPool) or not self.pool.is_master:
            return None
        try:
            host, port = self.pool.sentinel_manager.discover_master(self.pool.service_name)
            return host, port
        except (redis.RedisError, OSError, UnicodeError):
            return None
        except BaseException:
            self._silence_sentinels()
            raise

    def _silence_sentinels(self) -> None:
        """Leave no answer of theirs to who asks next."""
        for sentinel in getattr(getattr(self.pool, "sentinel_manager", None), "sentinels", ()):
            sentinel.connection_pool.disconnect()


def _place(pool: Any, connect_timeout: float, timeout: float) -> Place:
    """Return where the connections of a pool lead, each of which is to wait no longer than so many seconds."""
    # What the server pushes unasked, and what redis-py repeats or asks on its own, has no place between question and
    # answer.
    known = {name: value for name, value in pool.connection_kwargs.items()
             if not name.startswith(("maint_notifications_", "oss_cluster_"))}
    return Place(pool, {
        **known, "socket_timeout": known.get("socket_timeout") or timeout,
        "socket_connect_timeout": known.get("socket_connect_timeout") or connect_timeout,
        "retry": Retry(NoBackoff(), 0), "retry_on_timeout": False, "retry_on_error": [], "health_check_interval": 0,
        "protocol": 2})


def destination(server: Any, connect_timeout: float, timeout: float, ssl_ca: str | None) -> Destination:
    """Return where the URL, or the client, that a store was made with leads."""
    place = partial(_place, connect_timeout=connect_timeout, timeout=timeout)
    if isinstance(server, str):
        return _of_url(server, place, {"socket_timeout": timeout, "socket_connect_timeout": connect_timeout}, ssl_ca)
    if ssl_ca is not None:
        raise ConfigurationError("ssl_ca needs connections the store makes of a URL; encrypt yours in the client")
    if isinstance(server, redis.RedisCluster):
        nodes: Any = server.nodes_manager.nodes_cache.values()
        pool = next(iter(nodes)).redis_connection.connection_pool
        return Destination(place(pool), [(node.host, node.port) for node in nodes],
                           translate=getattr(server.nodes_manager, "address_remap", None))
    if isinstance(server, redis.Redis):
        return Destination(place(server.connection_pool), [])
    raise ConfigurationError(f"RedisSessionStore needs a URL, a redis.Redis (also one of a Sentinel's master_for) or a "
                             f"redis.RedisCluster, not {type(server).__name__}")


# -- URLs -------------------------------------------------------------------------------------------------------------


def _of_url(url: str, place: Callable[[Any], Place], times: dict[str, float], ssl_ca: str | None) -> Destination:
    parts = parts_of(url)
    encrypt, _, kind = parts.scheme.partition("+")
    if encrypt not in ("redis", "rediss") or kind not in ("", "unix", "sentinel", "cluster"):
        raise ConfigurationError(f"no URL of Redis; write {_FORMS}")
    login, _, netloc = parts.netloc.rpartition("@")
    options = {**_login(login), **times, **_encryption(encrypt, ssl_ca)}
    if kind == "unix":
        local: Any = redis.Redis(unix_socket_path=_socket(netloc, parts.path), db=_number("", parts), **options)
        return Destination(place(local.connection_pool), [])
    hosts = [_address(host, _PORTS.get(kind, 6379)) for host in netloc.split(",")]
    path = parts.path.strip("/")
    name, _, number = path.partition("/") if kind == "sentinel" else ("", "", path)
    db = _number(number, parts)
    if kind == "sentinel":
        own = {**times, **_encryption(encrypt, ssl_ca), "retry": Retry(NoBackoff(), 0)}
        return Destination(place(_sentinel(hosts, name, own, db=db, **options)), [])
    if (not kind and len(hosts) > 1) or (kind == "cluster" and db):
        raise ConfigurationError(f"a URL of Redis names one host, and no database of a cluster; write {_FORMS}")
    pool = redis.Redis(host=hosts[0][0], port=hosts[0][1], db=db, **options).connection_pool
    return Destination(place(pool), hosts if kind == "cluster" else [])


def _sentinel(hosts: list[Address], name: str, own: dict[str, Any], **options: Any) -> Any:
    if not name:
        raise ConfigurationError(f"the URL lacks the name by which the sentinels know the server; write {_FORMS}")
    sentinel: Any = Sentinel
    return sentinel(hosts, sentinel_kwargs=own).master_for(unquote(name), **options).connection_pool


def _login(login: str) -> dict[str, Any]:
    user, _, password = login.partition(":")
    return {"username": unquote(user) or None, "password": unquote(password) or None}


def _encryption(scheme: str, ssl_ca: str | None) -> dict[str, Any]:
    if scheme == "rediss":
        return {"ssl": True, "ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": ssl_ca}
    if ssl_ca is not None:
        raise ConfigurationError("ssl_ca needs a URL that begins with rediss, with which connections are encrypted")
    return {}


def _socket(host: str, path: str) -> str:
    if host or not path.strip("/") or "@" in path:  # a login that stands in the wrong place
        raise ConfigurationError("the URL names no socket; write for example redis+unix:///run/redis/redis.sock")
    return unquote(path)


def _address(text: str, port: int) -> Address:
    found = _HOST.fullmatch(text)
    if not found:
        raise ConfigurationError(f"the URL names no host, or one that cannot be read; write {_FORMS}")
    return unquote(found[1].strip("[]")), int(found[2] or port)


def _number(number: str, parts: SplitResult) -> int:
    """Return the number of the database, which stands in the path or in the query."""
    query = parse_qsl(parts.query, keep_blank_values=True)
    if parts.fragment or any(name != "db" for name, _ in query):
        raise ConfigurationError("the query of the URL that RedisSessionStore is given names a db at most: give it "
                                 "the rest as arguments, or the URL to session2.from_url")
    numbers = [*filter(None, [number]), *[value for _, value in query]] or ["0"]
    if len(numbers) > 1 or not re.fullmatch(r"\d{1,9}", numbers[0], re.ASCII):
        raise ConfigurationError(f"the database of a URL of Redis is one number; write {_FORMS}")
    return int(numbers[0])


def _first_line(error: Exception) -> str:
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return text.partition(" : <")[0]  # what follows tells of a client of sentinels all that it was made with
