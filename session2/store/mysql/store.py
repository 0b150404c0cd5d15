"""Sessions in a table of MySQL or MariaDB, by PyMySQL."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from ...errors import ConfigurationError
from ..servers.results import StatementFailed
from ..sql.rows import text
from ..sql.store import HOUR, Ask, SQLSessionStore
from ..sql.tables import Found, columns_after, comment_of

_SMALLEST_PACKET: Final = 1024
"""Below that no server can be set."""

# IGNORE turns a duplicate key into "no row inserted"; what else it would forgive is checked before.  It is clearer than
# ON DUPLICATE KEY UPDATE, whose row count means different things under different client flags.
_INSERT = """
INSERT IGNORE INTO {table} ({key}, data, version, created, modified, accessed, expires, {user},
    recent)
VALUES (%(key)s, %(data)s, %(version)s, %(created)s, %(modified)s, %(accessed)s, %(expires)s, %(owner)s, %(mark)s)"""

_REVIVE = """
UPDATE {table} SET data = %(data)s, version = %(version)s, created = %(created)s, modified = %(modified)s,
    accessed = %(accessed)s, expires = %(expires)s, {user} = %(owner)s, recent = %(mark)s
WHERE {key} = %(key)s AND expires <= %(now)s"""

# Found without locking anything, deleted by primary key: so no lock is taken on a row that stays.
_EXPIRED = """
SELECT {key} FROM {table} WHERE expires_hour = %(hour)s AND {key} > %(after)s AND expires <= %(now)s
ORDER BY {key} LIMIT %(batch)s"""

_REMOVE_EXPIRED = "DELETE FROM {table} WHERE {key} IN %(keys)s AND expires <= %(now)s"

# Of an hour that is over no row stays, but for one that is revived just now: so rows are deleted as they stand in the
# index, which takes half the time.
_PAST = """
SELECT count(*), max({key}) FROM (SELECT {key} FROM {table} WHERE expires_hour = %(hour)s AND {key} > %(after)s
ORDER BY {key} LIMIT %(batch)s) AS past"""

_REMOVE_PAST = """
DELETE FROM {table} WHERE expires_hour = %(hour)s AND {key} > %(after)s AND {key} <= %(last)s
AND expires <= %(now)s"""

# One plain question each: a join of the two tables of information_schema can crash MariaDB 10.11 while tables are made
# and dropped.
_TABLE_COMMENT = """
SELECT table_comment FROM information_schema.tables
WHERE table_schema = coalesce(nullif(%(database)s, ''), database()) AND table_name = %(table)s"""

# Each step turns a table of the schema before it into one of its own; a new table takes them all.
_STEPS: Final = (
    """CREATE TABLE IF NOT EXISTS {table} (
        {key} varchar(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY, data longblob NOT NULL,
        version bigint NOT NULL, created double NOT NULL, modified double NOT NULL, accessed double NOT NULL,
        expires double, {user} varbinary(1000)) ENGINE = InnoDB ROW_FORMAT = DYNAMIC COMMENT '{comment}'""",
    """ALTER TABLE {table} ADD COLUMN expires_hour bigint AS (ceiling(expires / 3600)) STORED,
        ADD INDEX (expires_hour), ADD INDEX ({user}), COMMENT '{comment}'""",
    "ALTER TABLE {table} ADD COLUMN recent varbinary(128) NOT NULL DEFAULT '', COMMENT '{comment}'",
)

_SHAPES: Final = columns_after(
    {"key": "varchar", "data": "longblob", "version": "bigint", "created": "double", "modified": "double",
     "accessed": "double", "expires": "double", "user": "varbinary"},
    {"expires_hour": "bigint"}, {"recent": "varbinary"})


class MySQLSessionStore(SQLSessionStore):
    """Keeps each session in a row of an InnoDB table.

    :param conn: the arguments of ``pymysql.connect`` as a dict, or a URL ``mysql://user:password@host:port/database``
        (the store makes connections of its own, as many as it needs up to `pool_size`); a pool, such as
        ``dbutils.pooled_db.PooledDB`` or anything else whose ``connection()`` returns one of PyMySQL; or a PyMySQL
        connection. Of a pool the store uses connections in autocommit mode; otherwise, and instead of a single
        connection, it makes its own to the same place. What it is lent it never commits, rolls back or switches to
        another mode.
    :param table: the table's name, with a database if need be; `setup` makes it.
    :param durable: only True: MySQL has no durability by connection.
    :param pool_size: how many connections of its own the store opens at most, in each process.
    :param connect_timeout: seconds after which a server that does not answer counts as away.
    :param timeout: seconds that a statement may take, or wait for a free connection.
    :param ssl_ca: a file with the certificates to trust; connections are then encrypted and the server's name checked.
    :param wsrep_sync_wait: 1 in a cluster of Galera where one visitor's requests go to several nodes: what is read
        waits until the node has caught up with what others were told is saved.

    The last five apply to connections the store makes.
    """

    _quote = "`"
    _parts: ClassVar = {"marked": "concat(%(mark)s, recent)"}
    _shapes = _SHAPES
    _comment = "ALTER TABLE {table} COMMENT = '{comment}'"

    def __init__(self, conn: Any, table: str | None = None, *, durable: bool = True, pool_size: int = 10,
                 connect_timeout: float = 5.0, timeout: float = 30.0, ssl_ca: str | None = None,
                 wsrep_sync_wait: int = 0, **options: Any) -> None:
        super().__init__(table, **options)
        try:
            from . import driver
        except ImportError as error:
            raise ConfigurationError("MySQLSessionStore needs PyMySQL: pip install 'session2[mysql]'") from error
        if not durable:
            raise ConfigurationError("MySQL has no durability by connection: set innodb_flush_log_at_trx_commit on the "
                                     "server, for all its databases")
        self._driver, self._send = driver, driver.send
        self._connections = driver.connections(conn, pool_size, connect_timeout, timeout, ssl_ca,
                                               wsrep_sync_wait)

    @classmethod
    def _from_location(cls, location: str, **options: Any) -> MySQLSessionStore:
        """Make a store from ``mysql://user:password@host:port/database``."""
        scheme, _, rest = location.partition(":")
        if not rest.startswith("//") or not rest[2:].partition("/")[2]:
            raise ConfigurationError(f"write '{scheme}://user:password@host:port/database'")
        return cls(location, **options)

    def setup(self, drop: bool = False) -> None:
        """Create the table or bring it up to date.  With `drop` delete it first, if it is one of ours.

        Raises `ConfigurationError` if the table is not ours.
        """
        self._driver.alone(self._connections, f"session2 {zlib.crc32(self._table.encode()):x}",
                           lambda connection: self._set_up(connection, drop))

    def _set_up(self, connection: Any, drop: bool) -> None:
        found = self._found(lambda statement, arguments: self._driver.ask(connection, statement, arguments))
        if drop and found.schema:
            self._driver.change(connection, f"DROP TABLE IF EXISTS {self._table}")
            found = Found(0)
        for number, step in list(enumerate(_STEPS, 1))[found.schema:]:
            self._driver.change(connection, step.format(table=self._table, key="`key`", user="`user`",
                                                        comment=comment_of(number)))
        if not found.is_marked:
            self._driver.change(connection, self._comment.format(table=self._table, comment=comment_of(len(_STEPS))))

    def _own_statements(self) -> Mapping[str, str]:
        return {"insert": _INSERT, "revive": _REVIVE, "expired": _EXPIRED, "remove_expired": _REMOVE_EXPIRED,
                "past": _PAST, "remove_past": _REMOVE_PAST,
                "comment": _TABLE_COMMENT, "columns": "SHOW COLUMNS FROM {table}",
                "packet": "SELECT @@max_allowed_packet"}

    def _describe(self, ask: Ask) -> Sequence[Sequence[Any]]:
        database, _, name = self.table.rpartition(".")
        comments = ask(self._sql["comment"], {"database": database, "table": name})
        return [(comments[0][0], *column[:2]) for column in ask(self._sql["columns"], {})] if comments else []

    def _purge_some(self, hour: int, after: str, now: float, batch: int) -> tuple[int, str | None]:
        if hour * HOUR <= now:
            return self._purge_past(hour, after, now, batch)
        keys = [text(key) for key, in self._execute("expired", hour=hour, after=after, now=now, batch=batch).rows]
        if not keys:
            return 0, None
        count = self._execute("remove_expired", keys=keys, now=now).changed
        return count, keys[-1] if len(keys) == batch else None

    def _purge_past(self, hour: int, after: str, now: float, batch: int) -> tuple[int, str | None]:
        [(found, last)] = self._execute("past", hour=hour, after=after, batch=batch).rows
        if last is None:
            return 0, None
        count = self._execute("remove_past", hour=hour, after=after, last=text(last), now=now).changed
        return count, text(last) if int(found) == batch else None

    def _explain(self, failure: StatementFailed, arguments: Mapping[str, Any]) -> str:
        size = len(arguments.get("data", b""))
        if 2 * size + 1000 > _SMALLEST_PACKET:  # the server drops the connection then, and says why only sometimes
            limit = self._number("packet") or 0
            if 2 * size + 1000 > limit:  # PyMySQL sends bytes as hexadecimal digits
                return (f"a session of {size} bytes needs a max_allowed_packet of twice that, the server has {limit}: "
                        "raise it, or keep less in the session")
        return super()._explain(failure, arguments)
