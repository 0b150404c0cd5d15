"""The database servers' part of what is measured: each server is private and durable."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pymysql
from cases import Case, ours, raw
from peers import beakers, djangos
from psycopg.conninfo import conninfo_to_dict

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers_sql import MariaServer, PostgresServer


def postgres(folder: Path) -> list[Case]:
    """A SELECT and an UPDATE that commits itself, by psycopg, with a connection for each worker."""
    server = PostgresServer(durable=True)
    atexit.register(server.close)

    def begin(number: int) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
        connection = psycopg.connect(server.url, autocommit=True)
        connection.execute("CREATE TABLE IF NOT EXISTS s (key text PRIMARY KEY, data bytea) WITH (fillfactor = 70)")
        key = str(number)
        connection.execute("INSERT INTO s VALUES (%s, '')", [key])

        def load() -> bytes:
            row = connection.execute("SELECT data FROM s WHERE key = %s", [key], binary=True).fetchone()
            assert row is not None
            return bytes(row[0])

        return load, lambda data: connection.execute("UPDATE s SET data = %s WHERE key = %s", [data, key])

    place = conninfo_to_dict(server.url)
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    return [raw("psycopg, SELECT + UPDATE", begin), *ours("postgres", server.url),
            djangos("db", folder, ENGINE="django.db.backends.postgresql",
                    **{name: place[known] for name, known in names.items()}),
            beakers("ext:database", folder, url=server.url.replace("postgresql:", "postgresql+psycopg:"))]


def mysql(folder: Path) -> list[Case]:
    """A SELECT and an UPDATE that commits itself, by PyMySQL, with a connection for each worker."""
    server = MariaServer(durable=True)
    atexit.register(server.close)

    def begin(number: int) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
        connection = pymysql.connect(**server.arguments, autocommit=True)

        def execute(statement: str, *arguments: Any) -> Any:
            with connection.cursor() as cursor:
                cursor.execute(statement, arguments)
                return cursor.fetchone()

        key = str(number)
        execute("CREATE TABLE IF NOT EXISTS s (k varchar(100) PRIMARY KEY, data longblob) ENGINE = InnoDB")
        execute("INSERT INTO s VALUES (%s, '')", key)
        return (lambda: bytes(execute("SELECT data FROM s WHERE k = %s", key)[0]),
                lambda data: execute("UPDATE s SET data = %s WHERE k = %s", data, key))

    return [raw("PyMySQL, SELECT + UPDATE", begin),
            *ours("mysql", server.url),
            beakers("ext:database", folder, url=server.url.replace("mysql:", "mysql+pymysql:"))]


def groups() -> dict[str, Callable[[Path], list[Case]]]:
    """Return the groups by name."""
    return {"postgres": postgres, "mysql": mysql}
