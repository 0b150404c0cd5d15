"""Sessions in a table of PostgreSQL, by psycopg 3."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ...errors import ConfigurationError
from ..servers.results import Result
from ..sql.rows import text
from ..sql.store import Ask, SQLSessionStore
from ..sql.tables import Found, columns_after, comment_of

if TYPE_CHECKING:
    import psycopg
    import psycopg_pool

_INSERT = """
INSERT INTO {table} ({key}, data, version, created, modified, accessed, expires, {user}, recent)
VALUES (%(key)s, %(data)s, %(version)s, %(created)s, %(modified)s, %(accessed)s, %(expires)s, %(owner)s, %(mark)s)
ON CONFLICT ({key}) DO UPDATE SET data = excluded.data, version = excluded.version, created = excluded.created,
    modified = excluded.modified, accessed = excluded.accessed, expires = excluded.expires, {user} = excluded.{user},
    recent = excluded.recent
WHERE {table}.expires <= %(now)s"""

_INSERT_LOCK = _INSERT.replace("VALUES (", "SELECT ").replace("%(mark)s)", "%(mark)s WHERE {unhurried}")

_REMOVE_LOCK = "DELETE FROM {table} WHERE {key} = %(key)s AND version = %(expected)s AND {unhurried}"

# For this transaction alone: its commit does not wait for the disk.  What is committed after it, the save under the
# lock, takes it there too.
_UNHURRIED = "set_config('synchronous_commit', 'off', true) IS NOT NULL"

# A row that is locked stays in its place, so it is deleted there and not looked up once again by its key.
_PURGE = """
DELETE FROM {table} WHERE expires <= %(now)s AND ctid = ANY(ARRAY(
    SELECT ctid FROM {table} WHERE expires_hour = %(hour)s AND {key} > %(after)s AND expires <= %(now)s
    ORDER BY {key} LIMIT %(batch)s FOR UPDATE SKIP LOCKED))
RETURNING {key}"""

_TABLE = """
SELECT obj_description(attrelid, 'pg_class'), attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = to_regclass(%(table)s) AND attnum > 0 AND NOT attisdropped"""

# Each step turns a table of the schema before it into one of its own; a new table takes them all.
_STEPS: Final = (
    ("""CREATE TABLE {table} ({key} text COLLATE "C" PRIMARY KEY, data bytea NOT NULL, version bigint NOT NULL,
        created float8 NOT NULL, modified float8 NOT NULL, accessed float8 NOT NULL, expires float8, {user} bytea)
        WITH (fillfactor = 70)""",),
    ("""ALTER TABLE {table} ADD COLUMN expires_hour bigint
        GENERATED ALWAYS AS (ceil(expires / 3600)::bigint) STORED""",
     "CREATE INDEX ON {table} (expires_hour, {key})",
     "CREATE INDEX ON {table} ({user}, {key}) WHERE {user} IS NOT NULL"),
    ("ALTER TABLE {table} ADD COLUMN recent bytea NOT NULL DEFAULT ''",),
)

_SHAPES: Final = columns_after(
    {"key": "text", "data": "bytea", "version": "bigint", "created": "double precision", "user": "bytea",
     "modified": "double precision", "accessed": "double precision", "expires": "double precision"},
    {"expires_hour": "bigint"}, {"recent": "bytea"})

# What libpq knows of in the query of a URL, but for time limits, which are the store's own.
_LIBPQ: Final = """
    application_name channel_binding client_encoding fallback_application_name gssdelegation gssencmode gsslib
    hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts
    max_protocol_version min_protocol_version options passfile replication require_auth requirepeer service
    servicefile ssl_max_protocol_version ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl
    sslcrldir sslkey sslkeylogfile sslmode sslnegotiation sslpassword sslrootcert sslsni target_session_attrs
    tcp_user_timeout host port user password dbname"""


class PostgresSessionStore(SQLSessionStore):
    """Keeps each session in a row.

    :param conn: a conninfo string or URL of libpq (the store makes connections of its own, as many as it needs up to
        `pool_size`), a `psycopg_pool.ConnectionPool`, or a `psycopg.Connection`. Of a pool the store uses connections
        in autocommit mode; otherwise, and instead of a single connection, it makes its own to the same place. What it
        is lent it never commits, rolls back or switches to another mode.
    :param table: the table's name, with a schema if need be; `setup` makes it.
    :param durable: False lets PostgreSQL answer before a save is on disk (``synchronous_commit = off``): faster, but a
        crash of the server loses the saves of its last half second.
    :param pool_size: how many connections of its own the store opens at most, in each process.
    :param connect_timeout: seconds after which a server that does not answer counts as away.
    :param timeout: seconds that a statement may take, or wait for a free connection.
    :param ssl_ca: a file with the certificates to trust; connections are then encrypted and the server's name checked.
    :param prepare: False if there is a pooler in between that may send each statement to another process, such as
        PgBouncer in transaction mode: no names of statements, and nothing set for a connection.

    The last five apply to connections the store makes.
    """

    URL_OPTIONS: ClassVar = frozenset(_LIBPQ.split())

    _quote = '"'
    _parts: ClassVar = {"marked": "%(mark)s || recent", "unhurried": _UNHURRIED}
    _shapes = _SHAPES
    _comment = "COMMENT ON TABLE {table} IS '{comment}'"

    def __init__(self, conn: str | psycopg.Connection[Any] | psycopg_pool.ConnectionPool[Any],
                 table: str | None = None, *, durable: bool = True, pool_size: int = 10, connect_timeout: float = 5.0,
                 timeout: float = 30.0, ssl_ca: str | None = None, prepare: bool = True, **options: Any) -> None:
        super().__init__(table, **options)
        try:
            from . import driver
        except ImportError as error:
            raise ConfigurationError("PostgresSessionStore needs psycopg: pip install 'session2[postgres]'") from error
        if not isinstance(conn, str) and not durable:
            raise ConfigurationError("durable=False needs connections the store makes itself; on yours, set "
                                     "synchronous_commit = off")
        if not (durable or prepare):
            raise ConfigurationError("prepare=False leaves out what is set for a connection, as durable=False is: set "
                                     "synchronous_commit = off for the user of the database, by ALTER ROLE")
        self._driver, self._send = driver, driver.send
        self._connections = driver.connections(conn, pool_size, connect_timeout, timeout, durable, ssl_ca, prepare)

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> PostgresSessionStore:
        """Make a store from ``postgresql://user:password@host:port/database``; what is left out is libpq's default."""
        scheme, _, rest = location.partition(":")
        if not rest.startswith("//"):
            raise ConfigurationError(f"write '{scheme}://user:password@host:port/database'")
        return cls("postgresql:" + rest, **options)

    def setup(self, drop: bool = False) -> None:
        """Create the table or bring it up to date.  With `drop` delete it first, if it is one of ours.

        Raises `ConfigurationError` if the table is not ours.
        """
        self._driver.in_transaction(self._connections, lambda send: self._set_up(send, drop))

    def _set_up(self, send: Callable[[str, Mapping[str, Any]], Result], drop: bool) -> None:
        send(f"SELECT pg_advisory_xact_lock({zlib.crc32(self._table.encode())})", {})
        found = self._found(lambda statement, arguments: send(statement, arguments).rows)
        if drop and found.schema:
            send(f"DROP TABLE {self._table}", {})
            found = Found(0)
        for statement in [statement for step in _STEPS[found.schema:] for statement in step]:
            send(statement.format(table=self._table, key='"key"', user='"user"'), {})
        if found.schema < len(_STEPS) or not found.is_marked:
            send(self._comment.format(table=self._table, comment=comment_of(len(_STEPS))), {})

    def _own_statements(self) -> Mapping[str, str]:
        return {"insert": _INSERT, "insert_lock": _INSERT_LOCK, "remove_lock": _REMOVE_LOCK, "purge": _PURGE,
                "table": _TABLE}

    def _describe(self, ask: Ask) -> Sequence[Sequence[Any]]:
        return ask(self._sql["table"], {"table": self._table})

    def _purge_some(self, hour: int, after: str, now: float, batch: int) -> tuple[int, str | None]:
        keys = [text(key) for key, in self._execute("purge", hour=hour, after=after, now=now, batch=batch).rows]
        return len(keys), max(keys) if len(keys) == batch else None
