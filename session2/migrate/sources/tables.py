"""Reading the tables of other programs: `Table`, in PostgreSQL, MySQL or MariaDB, and SQLite."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple
from urllib.parse import quote, unquote

from ...errors import ConfigurationError, StoreUnavailable
from ...urls import parts_of

_BATCH: Final = 500

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?", re.ASCII)


class _Database(NamedTuple):
    driver: str
    connect: Callable[[Any, str], Any]
    """Given the driver and the place."""
    parameter: str
    quote: str
    extra: str = ""


class Table:
    """A table of which each row is a session.  Each method connects anew: it is called seldom, and from any thread.

    :param place: ``postgresql://...``, ``mysql://...`` or ``mariadb://...``, or the path of a SQLite file.
    :param name: of the table, which may begin with a schema and a dot.
    :param key: the column by which rows are found, and in whose order they are listed.
    :param columns: what to return of a row, besides the key.
    """

    def __init__(self, place: str, name: str, key: str, columns: Sequence[str]) -> None:
        if not _NAME.fullmatch(name):
            raise ConfigurationError("the name of a table consists of letters, digits and underscores")
        self._place = place
        self._database = database = _DATABASES.get(place.partition("://")[0], _SQLITE)
        mark = database.quote
        self._key = f"{mark}{key}{mark}"
        wanted = ", ".join([self._key, *(f"{mark}{column}{mark}" for column in columns)])
        self._select = f"SELECT {wanted} FROM {name}"  # noqa: S608 (of names that were checked, or are ours)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Iterate over the rows, each its key and its columns."""
        order = f"ORDER BY {self._key} LIMIT {_BATCH}"
        with self._connected() as ask:
            rows = ask(f"{self._select} {order}")
            while rows:
                yield from rows
                rows = ask(f"{self._select} WHERE {self._key} > {self._database.parameter} {order}", rows[-1][0])

    def row(self, key: Any) -> tuple[Any, ...] | None:
        """Return the row with exactly this key, None if there is none; to some databases capitals are the same."""
        with self._connected() as ask:
            rows = ask(f"{self._select} WHERE {self._key} = {self._database.parameter}", key)
        return next((row for row in rows if row[0] == key), None)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        driver = _imported(self._database)
        try:
            with contextlib.closing(self._database.connect(driver, self._place)) as connection:
                def ask(statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
                    with contextlib.closing(connection.cursor()) as cursor:
                        cursor.execute(statement, arguments)
                        return list(cursor.fetchall())

                yield ask
        except (driver.Error, OSError) as error:
            why = str(error).strip().partition("\n")[0] or type(error).__name__
            raise StoreUnavailable(f"the table of the former sessions cannot be read: {why}") from error


def as_bytes(value: Any) -> bytes:
    """Return what a column holds as bytes, whatever its type."""
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value or b"")


# -- the databases ----------------------------------------------------------------------------------------------------


def _imported(database: _Database) -> Any:
    try:
        return import_module(database.driver)
    except ImportError:
        raise ConfigurationError(f"to read from this database: pip install 'session2[{database.extra}]'") from None


def _to_postgres(driver: Any, place: str) -> Any:
    parts_of(place)  # whose error repeats no password
    # Nothing is set: behind a pooler that would hold for others too.
    return driver.connect(place, autocommit=True, prepare_threshold=None, connect_timeout=10)


def _to_mysql(driver: Any, place: str) -> Any:
    parts = parts_of(place)
    named = {"user": parts.username, "password": parts.password, "database": parts.path[1:], "host": parts.hostname}
    given: dict[str, Any] = {name: unquote(value) for name, value in named.items() if value}
    if given.get("host", "").startswith("/"):
        given["unix_socket"] = given.pop("host")
    return driver.connect(**given, port=_port(parts), autocommit=True, charset="utf8mb4", connect_timeout=10,
                          read_timeout=60, init_command="SET SESSION TRANSACTION READ ONLY")


def _port(parts: Any) -> int:
    try:
        return parts.port or 3306
    except ValueError:
        raise ConfigurationError("the port in the URL of the source is not a number") from None


def _to_sqlite(driver: Any, place: str) -> Any:
    return driver.connect(f"file:{quote(place)}?mode=ro", uri=True, timeout=10)


_SQLITE: Final = _Database("sqlite3", _to_sqlite, "?", '"')
_POSTGRES: Final = _Database("psycopg", _to_postgres, "%s", '"', "postgres")
_MYSQL: Final = _Database("pymysql", _to_mysql, "%s", "`", "mysql")
_DATABASES: Final = {"postgresql": _POSTGRES, "postgres": _POSTGRES, "mysql": _MYSQL, "mariadb": _MYSQL}
