"""What real packages of other systems have stored, put back where a source finds it; test/migrate/data has it."""

from __future__ import annotations

import base64
import json
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "migrate/data"

Part = dict[str, Any]

TABLES = {
    "beaker_cache": {
        "sqlite": "id INTEGER PRIMARY KEY, namespace VARCHAR(255) NOT NULL UNIQUE, accessed DATETIME NOT NULL, "
                  "created DATETIME NOT NULL, data BLOB NOT NULL",
        "postgresql": "id SERIAL PRIMARY KEY, namespace VARCHAR(255) NOT NULL UNIQUE, "
                      "accessed TIMESTAMP WITHOUT TIME ZONE NOT NULL, created TIMESTAMP WITHOUT TIME ZONE NOT NULL, "
                      "data BYTEA NOT NULL",
        "mysql": "id INTEGER PRIMARY KEY AUTO_INCREMENT, namespace VARCHAR(255) NOT NULL UNIQUE, "
                 "accessed DATETIME NOT NULL, created DATETIME NOT NULL, data BLOB NOT NULL"},
    "django_session": {
        "sqlite": "session_key varchar(40) NOT NULL PRIMARY KEY, session_data text NOT NULL, "
                  "expire_date datetime NOT NULL",
        "postgresql": "session_key varchar(40) NOT NULL PRIMARY KEY, session_data text NOT NULL, "
                      "expire_date timestamp with time zone NOT NULL",
        "mysql": "session_key varchar(40) NOT NULL PRIMARY KEY, session_data longtext NOT NULL, "
                 "expire_date datetime(6) NOT NULL"},
    "shop_cache": {
        "sqlite": "cache_key varchar(255) NOT NULL PRIMARY KEY, value text NOT NULL, expires datetime NOT NULL",
        "postgresql": "cache_key varchar(255) NOT NULL PRIMARY KEY, value text NOT NULL, "
                      "expires timestamp with time zone NOT NULL",
        "mysql": "cache_key varchar(255) NOT NULL PRIMARY KEY, value longtext NOT NULL, expires datetime(6) NOT NULL"},
    "sessions": {
        "sqlite": "id INTEGER PRIMARY KEY, session_id VARCHAR(255) UNIQUE, data BLOB, expiry DATETIME",
        "postgresql": "id SERIAL PRIMARY KEY, session_id VARCHAR(255) UNIQUE, data BYTEA, "
                      "expiry TIMESTAMP WITHOUT TIME ZONE",
        "mysql": "id INTEGER PRIMARY KEY AUTO_INCREMENT, session_id VARCHAR(255) UNIQUE, data BLOB, expiry DATETIME"},
}
"""The tables as SQLAlchemy and Django make them, by database."""

_COLUMNS = {"beaker_cache": ("namespace", "accessed", "created", "data"),
            "django_session": ("session_key", "session_data", "expire_date"),
            "shop_cache": ("cache_key", "value", "expires"), "sessions": ("session_id", "data", "expiry")}
_BINARY, _TIMES = {"data"}, {"accessed", "created", "expire_date", "expires", "expiry"}


@cache
def capture(system: str, version: str) -> Part:
    """Return what a package has stored, by what it was told to store it in."""
    found: Part = json.loads((DATA / system / f"{version}.json").read_text("utf-8"))
    return found


def put_files(part: Part, folder: Path) -> Path:
    """Write the files that a package wrote."""
    for name, (content, changed) in part["files"].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(content))
        os.utime(path, (changed, changed))
    return folder


def put_sqlite(part: Part, table: str, folder: Path) -> Path:
    """Make the table that a package filled, in a new database."""
    path = folder / "shop.sqlite"
    connection = sqlite3.connect(path)
    _fill(connection.cursor(), part, table, "sqlite", "?", table)
    connection.commit()
    connection.close()
    return path


@contextmanager
def sql_table(part: Part, table: str, database: str, server: Any, name: str = "") -> Iterator[None]:
    """Make the table that a package filled, on a server, for a while, there under another name if one is given."""
    name = name or table
    with server.connect() as connection, connection.cursor() as cursor:
        _fill(cursor, part, table, database, "%s", name)
        try:
            yield
        finally:
            cursor.execute(f"DROP TABLE {name}")


def _fill(cursor: Any, part: Part, table: str, database: str, mark: str, name: str) -> None:
    columns = _COLUMNS[table]
    cursor.execute(f"CREATE TABLE {name} ({TABLES[table][database]})")
    for row in part["rows"]:
        values = [_value(name, value, database) for name, value in zip(columns, row, strict=True)]
        marks = ", ".join(mark for _ in columns)
        cursor.execute(f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({marks})", values)


def _value(column: str, text: str, database: str) -> Any:
    if column in _BINARY:
        return base64.b64decode(text)
    if column in _TIMES and database != "sqlite":
        moment = datetime.fromisoformat(text)
        return moment if database == "postgresql" else moment.replace(tzinfo=None)
    return text


def put_redis(part: Part, client: Any) -> None:
    """Set the keys that a package has set, and no others."""
    client.flushdb()
    for name, (content, seconds) in part["redis"].items():
        client.set(name, base64.b64decode(content), ex=seconds)


def put_memcached(part: Part, server: Any) -> None:
    """Set the items that a package has set."""
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        for name, (content, flags) in part["memcached"].items():
            data = base64.b64decode(content)
            connection.sendall(b"set %b %d 0 %d\r\n%b\r\n" % (name.encode(), flags, len(data), data))
            assert connection.recv(100) == b"STORED\r\n"


def value_of(visitor: Part) -> str:
    """Return the value of a visitor's cookie, as a server gets it."""
    text: str = visitor["cookie"].partition("=")[2]
    return text.removeprefix('"').removesuffix('"')
