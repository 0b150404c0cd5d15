"""Which store a command works on: from a URL or from the arguments of session2 0.6, the password kept out of both."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from getpass import GetPassWarning, getpass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlunsplit

from ..errors import ConfigurationError, SessionError, StoreMissing, StoreUnavailable
from ..store.base import SessionStore
from ..urls import from_url, parts_of

VARIABLE: Final = "SESSION2_PASSWORD"

_ASK: Final = "-"  # in the place of a password

# Where MySQL and MariaDB listen on this machine, in the packages of the usual systems.
_SOCKETS: Final = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock",
                   "/tmp/mysql.sock")  # noqa: S108 (nothing is made there)


def made_from(url: str, ask: bool = False, create: bool = False,
              variables: Sequence[str] = (VARIABLE,)) -> SessionStore:
    """Make the store of a URL, with the password from the environment or a prompt if the URL lacks one.

    :param ask: prompt for a password that is nowhere else.
    :param create: make a missing directory.
    :param variables: the environment variables to look in, in this order.
    """
    options = {"create": True} if create and url.startswith("directory:") and "create=" not in url else {}
    return from_url(with_password(url, ask, variables), **options)


@contextlib.contextmanager
def opened(url: str, ask: bool = False, create: bool = False) -> Iterator[SessionStore]:
    """Make the store of a URL and close it afterwards; errors end the process with one line."""
    with reporting():
        store = made_from(url, ask, create)
        try:
            yield store
        finally:
            store.close()


def with_password(url: str, ask: bool, variables: Sequence[str] = (VARIABLE,)) -> str:
    """Return a URL with the password from the environment or a prompt if it lacks one."""
    parts = parts_of(url)
    user, at, host = parts.netloc.rpartition("@")
    if not at or ":" in user:
        return url
    password = _from_environment(variables)
    if password is None and ask:
        password = _answer(f"Password for {shown(url)}: ")
    if password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{host}"))


def _from_environment(variables: Sequence[str]) -> str | None:
    return next((os.environ[name] for name in variables if name in os.environ), None)


def _answer(question: str) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", GetPassWarning)
            return getpass(question)
    except (GetPassWarning, EOFError):
        raise ConfigurationError(f"nobody is there to type a password: put it in {VARIABLE}") from None


def shown(text: str) -> str:
    """Return a text that may hold URLs, without their passwords."""
    text = re.sub(r"([?&](?:cache|store)=)([^&\s]*%[^&\s]*)", lambda url: url[1] + shown(unquote(url[2])), text)
    text = re.sub(r"(://[^:/?#@\s]*:)[^/?#\s]*@", r"\1***@", text)
    text = re.sub(r"(?i)(%3A%2F%2F[^:/?#@\s]*?%3A)[^/?#\s]*%40", r"\1***%40", text)  # of a store within the URL
    return re.sub(r"([?&]\w*(pass|secret)\w*=)[^&\s]*", r"\1***", text)


# -- the arguments of session2 0.6 ------------------------------------------------------------------------------------


def is_original(arguments: Sequence[str]) -> bool:
    """Tell whether these are ``mysql|psycopg HOST USER PASSWORD DATABASE [TABLE]``."""
    return len(arguments) in (5, 6) and arguments[0] in ("mysql", "psycopg")


def open_original(arguments: Sequence[str]) -> tuple[SessionStore, str]:
    """Return the store that ``mysql|psycopg HOST USER PASSWORD DATABASE [TABLE]`` names, and what to say about it."""
    kind, host, user, password, database = arguments[:5]
    table = arguments[5] if len(arguments) == 6 else "sessions"
    if password in ("", _ASK):
        given = _from_environment((VARIABLE,))
        password = _answer(f"Password of {user}: ") if given is None and password == _ASK else given or ""
    make, name = (_mysql, "MySQL") if kind == "mysql" else (_postgres, "PostgreSQL")
    return make(host, user, password, database, table), f"Creating {name} table {table!r} in database {database!r}"


def _mysql(host: str, user: str, password: str, database: str, table: str) -> SessionStore:
    """As the MySQL library does it: an empty host and ``localhost`` are the local socket, if there is one."""
    from ..store.mysql import MySQLSessionStore

    port = os.environ.get("MYSQL_TCP_PORT") or "3306"
    if not port.isdecimal():
        raise ConfigurationError(f"the environment variable MYSQL_TCP_PORT must be a number, not {port!r}")
    place: dict[str, Any] = {"host": host or "localhost", "port": int(port), "user": user, "password": password,
                             "database": database}
    local = _local_socket() if host in ("", "localhost") else None
    if local is not None:
        place["unix_socket"] = local
    return MySQLSessionStore({name: value for name, value in place.items() if value != ""}, table)


def _local_socket() -> str | None:
    named = os.environ.get("MYSQL_UNIX_PORT")
    return named or next((path for path in _SOCKETS if Path(path).is_socket()), None)


def _postgres(host: str, user: str, password: str, database: str, table: str) -> SessionStore:
    """What is left out is found as by all PostgreSQL programs: ``PGHOST``, ``PGPORT``, ``~/.pgpass`` and so on."""
    from ..store.postgres import PostgresSessionStore

    parts = {"dbname": database, "host": host, "user": user, "password": password}
    return PostgresSessionStore(" ".join(f"{name}={_quoted(value)}" for name, value in parts.items() if value), table)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


# -- what is printed, and errors ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def streams() -> Iterator[None]:
    """Have what is printed arrive, or say that it did not: behind cron, say, into a log on a full disk.

    A stream that was closed is one to nowhere; letters that the encoding of the terminal lacks are written as escapes.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115 (for the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        _seen_enough()
    except OSError as error:
        _print_nowhere()
        _end(f"what was to be printed could not be written: {error.strerror}", 1)


def _seen_enough() -> None:
    """End well: the reader of our output wants no more of it."""
    _print_nowhere()
    raise SystemExit(0) from None


def _print_nowhere() -> None:
    """Leave what was not written by now: at its end Python would try that once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def reporting() -> Iterator[None]:
    """Turn what can go wrong into one line and the exit code of its kind."""
    try:
        yield
    except BrokenPipeError:
        _seen_enough()
    except KeyboardInterrupt:
        _end("interrupted", 130)
    except ConfigurationError as error:
        _end(error, 2)
    except StoreMissing as error:
        _end(f"{error.what}; set it up with: session2 setup URL", 3)
    except (StoreUnavailable, OSError) as error:
        sys.stdout.flush()  # what cannot be printed is no fault of the store's
        _end(error, 3)
    except SessionError as error:
        _end(error, 1)


def _end(reason: object, code: int) -> None:
    text = shown(" ".join(str(reason).split())) or type(reason).__name__
    print(f"session2: {text}", file=sys.stderr)
    raise SystemExit(code) from None
