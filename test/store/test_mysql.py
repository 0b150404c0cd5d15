"""MySQLSessionStore against a private MariaDB."""

from __future__ import annotations

import itertools
import random
import sys
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pymysql
import pytest
from dbutils.persistent_db import PersistentDB
from dbutils.pooled_db import PooledDB
from pymysql.constants import CLIENT, COMMAND, FIELD_TYPE
from pymysql.converters import conversions, encoders
from pymysql.cursors import DictCursor
from servers_sql import PASSWORD, MariaServer, only_mariadb
from sql_cases import KEY, SQLTests

import session2.store
from session2 import ConfigurationError, StoreUnavailable
from session2.errors import Conflict
from session2.store.mysql import driver
from session2.store.mysql.driver import _fault, is_free
from session2.store.mysql.store import _SHAPES, _STEPS, MySQLSessionStore
from session2.store.servers.results import Fault, Result
from session2.store.sql import store as sql
from session2.store.sql.store import SQLSessionStore
from session2.store.sql.tables import Found, comment_of
from session2.testing import StoreSuite
from session2.testing.fakes import Clock
from session2.testing.store.recipe import Recipe
from session2.testing.store.samples import contents, key_of, record_at
from session2.testing.store.shop import again, saved
from session2.urls import from_url

pytestmark = pytest.mark.usefixtures("no_authorities")

CONVERTERS = {**conversions, FIELD_TYPE.DOUBLE: Decimal, FIELD_TYPE.LONGLONG: Decimal,
              FIELD_TYPE.VAR_STRING: lambda text: text.encode() if isinstance(text, str) else text,
              FIELD_TYPE.LONG_BLOB: bytearray, str: lambda text, _: f"upper('{text}')", float: lambda *_: "NULL"}
ODD = {**conversions, FIELD_TYPE.DOUBLE: Decimal, FIELD_TYPE.LONGLONG: str, float: lambda *_: "0", str: lambda *_: "''"}
"""What an application may do to values."""


@pytest.fixture
def bare_table(mariadb: MariaServer) -> Iterator[str]:
    """A name for a table that nobody else uses."""
    name = f"s_{uuid.uuid4().hex}"
    yield name
    with mariadb.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS `{name}`")


@pytest.fixture
def server(mariadb: MariaServer) -> MariaServer:
    return mariadb


class TestMySQL(StoreSuite):
    store_class = MySQLSessionStore
    largest = 8_000_000  # bytes travel as hexadecimal digits, and max_allowed_packet is 16 MB

    @pytest.fixture
    def recipe(self, mariadb: MariaServer, bare_table: str) -> Recipe:
        return Recipe(MySQLSessionStore, (mariadb.arguments, bare_table))


class TestMySQLMore(SQLTests):
    store_class = MySQLSessionStore
    no_text = "X'ff'"
    whoami = "SELECT connection_id()"
    read_only = "SET SESSION TRANSACTION READ ONLY"

    @pytest.fixture(params=["mysql", "mariadb"])
    def scheme(self, request: Any) -> str:
        return request.param

    @pytest.fixture(params=["connection", "autocommit", "odd", "bytes", "no converters", "converters", "pool",
                            "autocommit-pool"])
    def lent(self, request: Any, server: MariaServer) -> Iterator[Any]:
        kinds = {
            "connection": lambda: pymysql.connect(**server.arguments),
            "autocommit": server.connect,
            "odd": lambda: pymysql.connect(**server.arguments, cursorclass=DictCursor, client_flag=CLIENT.FOUND_ROWS,
                                           charset="latin1"),
            "bytes": lambda: PooledDB(pymysql, autocommit=True, use_unicode=False, **server.arguments),
            "no converters": lambda: PooledDB(pymysql, autocommit=True, conv=encoders, **server.arguments),
            "converters": lambda: PooledDB(pymysql, autocommit=True, conv=CONVERTERS, **server.arguments),
            "pool": lambda: PooledDB(pymysql, maxconnections=4, blocking=True, **server.arguments),
            "autocommit-pool": lambda: PooledDB(pymysql, maxconnections=4, blocking=True, autocommit=True,
                                                **server.arguments),
        }
        lent = kinds[request.param]()
        yield lent
        if not isinstance(lent, pymysql.connections.Connection) or lent.open:
            lent.close()

    @pytest.fixture
    def fenced_pool(self, server: MariaServer) -> Iterator[Any]:
        """A pool whose first connections lead to a server that does not write."""
        pool = PooledDB(pymysql, mincached=4, maxcached=4, maxconnections=4, autocommit=True, **server.arguments)
        loans = [pool.connection() for _ in range(4)]
        for loan in loans:
            loan.cursor().execute(self.read_only)
        for loan in loans:
            loan.close()
        yield pool
        pool.close()

    @pytest.fixture(params=["url", "__import__('pymysql').connect(**__import__('session2.store.mysql.driver', "
                            "fromlist=['x'])._from_url(url))",
                            "__import__('dbutils.pooled_db', fromlist=['x']).PooledDB(__import__('pymysql'), "
                            "maxconnections=1, **__import__('session2.store.mysql.driver', "
                            "fromlist=['x'])._from_url(url))",
                            "__import__('dbutils.pooled_db', fromlist=['x']).PooledDB(__import__('pymysql'), "
                            "maxconnections=2, autocommit=True, blocking=True, "
                            "**__import__('session2.store.mysql.driver', fromlist=['x'])._from_url(url))"],
                    ids=["url", "connection", "pool", "autocommit-pool"])
    def lend(self, request: Any) -> str:
        """What to make a store with in another process."""
        return request.param

    @pytest.fixture
    def statements(self, server: MariaServer) -> Iterator[Callable[[], int]]:
        """A function that tells how many statements the server has been sent so far, besides its own."""
        own = itertools.count(1)
        with server.connect() as connection, connection.cursor() as cursor:
            def count() -> int:
                cursor.execute("SHOW GLOBAL STATUS LIKE 'Questions'")
                return int(cursor.fetchone()[1]) - next(own)

            yield count

    def ask_only(self, connection: Any) -> None:
        """Send a question and leave the answer to whoever comes next."""
        with connection.cursor() as cursor:
            cursor.connection._execute_command(COMMAND.COM_QUERY, "SELECT 'a stranger'")

    def kill_connections(self, server: MariaServer) -> None:
        own = "SELECT id FROM information_schema.processlist WHERE user = 'session2' AND id <> connection_id()"
        for number, in self.execute(server, own):
            self.execute(server, f"KILL {number}")
        while self.execute(server, own):  # it says so before it has done so
            pass

    def comment(self, server: MariaServer, store: SQLSessionStore, text: str) -> None:
        self.execute(server, f"ALTER TABLE {store._table} COMMENT = '{text}'")

    def comment_of(self, server: MariaServer, store: SQLSessionStore) -> str:
        return self.execute(server, "SELECT table_comment FROM information_schema.tables WHERE table_name = "
                                    f"'{store.table}'")[0][0]

    def quoted(self, name: str) -> str:
        return f"`{name}`"

    def make_schema(self, server: MariaServer, store: SQLSessionStore, schema: int) -> None:
        for number, step in enumerate(_STEPS[:schema], 1):
            self.execute(server, step.format(table=store._table, key="`key`", user="`user`",
                                             comment=comment_of(number)))

    def indexes(self, server: MariaServer, store: SQLSessionStore) -> set[Any]:
        return {(row[2], row[4]) for row in self.execute(server, f"SHOW INDEX FROM {store._table}")}

    @pytest.mark.parametrize("autocommit", [True, False])
    def test_transaction_of_the_application_stays_its_own(self, server: MariaServer, table: str,
                                                          autocommit: bool) -> None:
        connection = pymysql.connect(**server.arguments, autocommit=autocommit)
        cursor = connection.cursor()
        store = MySQLSessionStore(connection, table)
        session = saved(store, n=0)
        assert is_free(connection)
        assert connection.get_autocommit() is autocommit
        cursor.execute("CREATE TEMPORARY TABLE articles (n int) ENGINE = InnoDB")
        connection.begin()
        cursor.execute("INSERT INTO articles VALUES (1)")
        loaded = again(store, session)
        loaded["n"] = 1
        store.sessions.save(loaded)
        store.setup()
        assert not is_free(connection)
        connection.rollback()
        cursor.execute("SELECT count(*) FROM articles")
        assert cursor.fetchone() == (0,)
        connection.rollback()
        assert again(store, session)["n"] == 1
        store.close()
        connection.close()

    @pytest.mark.parametrize("mode", ["", "TRADITIONAL", "STRICT_ALL_TABLES", "ANSI", "ANSI_QUOTES",
                                      "NO_BACKSLASH_ESCAPES", "PAD_CHAR_TO_FULL_LENGTH",
                                      pytest.param("ORACLE", marks=only_mariadb)])
    def test_sql_modes(self, server: MariaServer, table: str, clock: Clock, mode: str) -> None:
        place = {**server.arguments, "init_command": f"SET SESSION sql_mode = '{mode}'"}
        store = MySQLSessionStore(place, table, clock=clock)
        data = bytes(range(256)) * 3
        written = record_at(clock.now, data, user="O'Hara\\\" \N{SNOWMAN} ")
        version = store.write(KEY, written, None)
        assert store.read(KEY) == written._replace(version=version)
        assert dict(store.records_of("O'Hara\\\" \N{SNOWMAN} ")) == {KEY: written._replace(version=version)}
        with pytest.raises(Conflict):
            store.write(KEY, written, None)
        version = store.write(KEY, written._replace(data=b"new", expires=clock.now + 1), version)
        store.touch(KEY, clock.now, clock.now + 2)
        assert store.delete_old_sessions(1) == (0, 1)
        clock.advance(2)
        store.write(KEY, written, None)
        clock.advance(2000)
        assert store.purge() == 1
        store.close()

    def test_a_purge_while_an_expired_record_is_replaced_is_no_conflict(
            self, server: MariaServer, table: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        store = MySQLSessionStore(server.arguments, table, clock=clock)
        store.write(KEY, record_at(clock.now, b"old", expires=clock.now + 10), None)
        clock.advance(10)
        execute, done = store._execute, []

        def purged_in_between(statement: str, **arguments: Any) -> Any:
            if statement == "revive":
                done.append(store.purge())
            return execute(statement, **arguments)

        monkeypatch.setattr(store, "_execute", purged_in_between)
        store.write(KEY, record_at(clock.now, b"new"), None)
        assert done == [1]
        assert contents(store) == {KEY: b"new"}
        store.close()

    def test_purge_names_no_keys_of_hours_that_are_over(self, make: Any, clock: Clock,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
        """Two statements for each batch; where others may still be in use it names the keys that it deletes."""
        store, hour = make(clock=clock), 3600 * (clock.now // 3600)
        clock.now = hour + 1800
        for number in range(10):
            expires = hour - 1 if number < 7 else clock.now
            store.write(key_of(number), record_at(clock.now, expires=expires), None)
        execute, seen = store._execute, []

        def note(statement: str, **arguments: Any) -> Any:
            result = execute(statement, **arguments)
            if "remove" in statement or any(row[-1] for row in result.rows):
                seen.append(statement)
            return result

        monkeypatch.setattr(store, "_execute", note)
        monkeypatch.setattr(sql, "_paced", lambda size, *_: size)
        assert store.purge(batch=3) == 10
        assert seen == ["past", "remove_past"] * 3 + ["expired", "remove_expired"]

    def test_purge_spares_what_is_made_anew_meanwhile(self, make: Any, clock: Clock,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
        store, execute = make(clock=clock), MySQLSessionStore._execute
        for number in range(5):
            store.write(key_of(number), record_at(clock.now, expires=clock.now - 7200), None)

        def make_first(statement: str, **arguments: Any) -> Any:
            if statement == "remove_past":
                monkeypatch.undo()
                store.write(key_of(3), record_at(clock.now, b"new"), None)
            return execute(store, statement, **arguments)

        monkeypatch.setattr(store, "_execute", make_first)
        assert store.purge() == 4
        assert contents(store) == {key_of(3): b"new"}

    @pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
    def test_isolation_of_a_lent_connection(self, server: MariaServer, table: str, isolation: str) -> None:
        """What another writes is seen at once, whatever snapshots the connection would keep."""
        connection = pymysql.connect(**server.arguments,
                                     init_command=f"SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")
        mine, theirs = MySQLSessionStore(connection, table), MySQLSessionStore(server.arguments, table)
        session = saved(mine, visits=0)
        for turn in range(5):
            for store in (mine, theirs):
                loaded = again(store, session)
                assert loaded["visits"] == turn * 2 + (store is theirs)
                loaded["visits"] += 1
                store.sessions.save(loaded)
        mine.close()
        theirs.close()
        connection.close()

    def test_session_larger_than_the_server_takes(self, make: Any) -> None:
        store = make()
        version = store.write(KEY, record_at(store.clock(), b"small"), None)
        for size in (10_000_000, 40_000_000):
            with pytest.raises(StoreUnavailable, match="max_allowed_packet"):
                store.write(KEY, record_at(store.clock(), random.randbytes(size)), version)
        assert contents(store) == {KEY: b"small"}
        store.write(KEY, record_at(store.clock(), b"still works"), version)

    def test_server_that_takes_little(self, server: MariaServer, make: Any, clock: Clock) -> None:
        make(clock=clock).write(key_of(1), record_at(clock.now, bytes(70_000)), None)
        [(usual,)] = self.execute(server, "SELECT @@global.max_allowed_packet")
        self.execute(server, "SET GLOBAL max_allowed_packet = 65536")
        try:
            store = make(clock=clock)
            version = store.write(KEY, record_at(clock.now, b"small"), None)
            for size in (33_000, 60_000, 70_000, 900_000):
                data = random.randbytes(size)
                for expected in (version, None):
                    with pytest.raises(StoreUnavailable, match=f"a session of {size} bytes.*max_allowed_packet.*65536"):
                        store.write(KEY if expected else key_of(2), record_at(clock.now, data), expected)
            assert store.read(KEY).data == b"small"
            store.write(KEY, record_at(clock.now, b"still works"), version)
            assert len(store.read(key_of(1)).data) == 70_000
        finally:
            self.execute(server, f"SET GLOBAL max_allowed_packet = {usual}")

    def test_a_session_of_several_packets_leaves_its_connection(self, server: MariaServer, make: Any) -> None:
        [(usual,)] = self.execute(server, "SELECT @@global.max_allowed_packet")
        self.execute(server, f"SET GLOBAL max_allowed_packet = {2**26}")
        try:
            store = make()
            before, data = store._connections.use(lambda lent: lent), random.randbytes(2**23 + 5)
            version = store.write(KEY, record_at(store.clock(), data), None)
            store.write(KEY, record_at(store.clock(), data[::-1]), version)
            assert store.read(KEY).data == data[::-1]
            assert store._connections.use(lambda lent: lent) is before
        finally:
            self.execute(server, f"SET GLOBAL max_allowed_packet = {usual}")

    def test_setup_on_several_nodes_at_once(self, server: MariaServer, make_bare: Any,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
        """The locks of a node of Galera are its own: each node sees the table as it was before the others' changes."""
        store = make_bare()
        for schema in range(3):
            monkeypatch.setattr(store, "_found", lambda *_, schema=schema: Found(schema))
            store.setup()
        monkeypatch.undo()
        store.setup()
        columns = [row[0] for row in self.execute(server, f"SHOW COLUMNS FROM {store._table}")]
        assert sorted(columns) == sorted({*_SHAPES[-1]})
        assert len(self.indexes(server, store)) == 3
        store.write(KEY, record_at(store.clock()), None)

    @only_mariadb
    def test_reads_that_wait_for_the_cluster(self, server: MariaServer, make: Any, table: str) -> None:
        """MariaDB knows the setting, in a cluster or not."""
        question = "SELECT @@wsrep_sync_wait"
        store = from_url(f"{server.url}?table={table}&wsrep_sync_wait=1")
        assert store._connections.use(lambda lent: store._send(lent, question, {})).rows == [(b"1",)]
        store.write(KEY, record_at(store.clock()), None)
        assert store.read(KEY)
        store.close()
        pool = PooledDB(pymysql, **server.arguments)
        with pytest.raises(ConfigurationError, match="wsrep_sync_wait"):
            MySQLSessionStore(pool, table, wsrep_sync_wait=1)
        pool.close()

    def test_server_that_is_no_cluster(self, server: MariaServer, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(driver, "_SYNC", "SET SESSION no_such_setting = {}")
        with pytest.raises(ConfigurationError, match="wsrep_sync_wait"):
            MySQLSessionStore(server.url, table, wsrep_sync_wait=1).read(KEY)

    def test_password_that_needs_cryptography(self, server: MariaServer, table: str,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
        """PyMySQL says so by a bare RuntimeError."""
        def connect(**_: Any) -> None:
            raise RuntimeError("'cryptography' package is required for sha256_password or caching_sha2_password auth "
                               "methods")

        monkeypatch.setattr(driver, "Own", connect)
        with pytest.raises(ConfigurationError, match=r"cryptography.*pip install 'session2\[mysql\]'"):
            MySQLSessionStore(server.url, table).read(KEY)

    def test_socket(self, server: MariaServer, table: str) -> None:
        path = server.socket().replace("/", "%2F")
        for store in (from_url(f"mysql://session2:p%40ss%3Aw%2Frd@{path}/session2?table={table}"),
                      MySQLSessionStore({"unix_socket": server.socket(), "user": "session2", "password": PASSWORD,
                                         "database": "session2"}, table)):
            assert store.read(KEY) is None
            store.close()

    def test_table_in_another_database(self, server: MariaServer) -> None:
        self.execute(server, "CREATE DATABASE app")
        store = MySQLSessionStore(server.url, "app.sessions")
        store.setup()
        store.write(KEY, record_at(1e10), None)
        assert self.execute(server, "SELECT count(*) FROM app.sessions") == [(1,)]
        store.close()
        self.execute(server, "DROP DATABASE app")

    def test_not_durable(self, server: MariaServer) -> None:
        with pytest.raises(ConfigurationError, match="innodb_flush_log_at_trx_commit"):
            from_url(f"{server.url}?durable=false")

    def test_port_that_is_no_number(self) -> None:
        with pytest.raises(ConfigurationError, match="port"):
            from_url("mysql://anna@localhost:port/database")

    def test_missing_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pymysql", None)
        monkeypatch.delitem(sys.modules, "session2.store.mysql.driver")
        monkeypatch.delattr(session2.store.mysql, "driver")
        with pytest.raises(ConfigurationError, match=r"session2\[mysql\]"):
            MySQLSessionStore({})

    def test_ids_that_differ_by_case(self, server: MariaServer, make: Any, clock: Clock) -> None:
        store = make(clock=clock, hash_ids=False)
        for key in ("a" * 43, "A" * 43):
            store.write(key, record_at(clock.now, key.encode()), None)
        assert contents(store) == {"a" * 43: b"a" * 43, "A" * 43: b"A" * 43}
        assert self.execute(server, f"SELECT count(*) FROM {store._table} WHERE `key` = '{key_of(0)}'") == [(0,)]

    # -- what is lent ----------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("told", [
        {"use_unicode": False}, {"conv": ODD}, {"charset": "latin1"}, {"charset": "gbk"}, {"cursorclass": DictCursor},
        {"client_flag": CLIENT.FOUND_ROWS}], ids=lambda told: next(iter(told)))
    @pytest.mark.parametrize("lend", ["arguments", "connection", "pool"])
    def test_what_connections_were_told_is_not_believed(self, server: MariaServer, table: str, lend: str,
                                                        told: dict[str, Any]) -> None:
        place = {**server.arguments, **told}
        lent: Any = place
        if lend == "connection":
            lent = pymysql.connect(**place)
        elif lend == "pool":
            lent = PooledDB(pymysql, autocommit=True, **place)
        store = MySQLSessionStore(lent, table)
        store.setup(drop=True)
        version = store.write(KEY, record_at(store.clock(), user="\N{SNOWMAN}"), None)
        assert store.read(KEY).version == version
        assert [key for key, _ in store.records_of("\N{SNOWMAN}")] == [key for key, _ in store.scan()] == [KEY]
        assert store.delete_old_sessions(60) == (0, 1)
        store.remove(KEY, version)
        store.write(KEY, record_at(store.clock(), expires=store.clock() - 1), None)
        assert store.purge(batch=1) == 1
        store.close()

    def test_connection_of_a_thread_keeps_its_transaction(self, server: MariaServer, table: str) -> None:
        """A pool that lends each thread its own connection lends one that the application is in a transaction on."""
        pool = PersistentDB(pymysql, autocommit=True, **server.arguments)
        store = MySQLSessionStore(pool, table)
        store.setup()
        mine = pool.connection()
        mine.begin()
        with mine.cursor() as cursor:
            cursor.execute("SELECT connection_id()")
            before = cursor.fetchall()
            cursor.execute(f"INSERT INTO {store._table} (`key`, data, version, created, modified, accessed) "
                           "VALUES ('theirs', '', 1, 1, 1, 1)")
            version = store.write(KEY, record_at(store.clock()), None)
            assert store.read(KEY).version == version
            cursor.execute("SELECT connection_id()")
            assert cursor.fetchall() == before
        mine.rollback()
        assert self.execute(server, f"SELECT count(*) FROM {store._table} WHERE `key` = 'theirs'") == [(0,)]
        assert store.read(KEY).version == version
        store.close()

    # -- time limits -----------------------------------------------------------------------------------------------

    def test_a_save_that_timed_out_is_not_applied_later(self, server: MariaServer, make: Any) -> None:
        """The server gives up before the store does: it waited 50 seconds for a row, and for a table a day."""
        store = make(timeout=1)
        version = store.write(KEY, record_at(store.clock(), b"old"), None)
        with pymysql.connect(**server.arguments) as other, other.cursor() as cursor:
            cursor.execute(f"SELECT * FROM {store._table} FOR UPDATE")
            with pytest.raises(StoreUnavailable, match=r"(?i)timeout|max_statement_time"):
                store.write(KEY, record_at(store.clock(), b"late"), version)
            other.rollback()
            cursor.execute(f"LOCK TABLES {store._table} WRITE")
            with pytest.raises(StoreUnavailable, match=r"(?i)timeout|max_statement_time"):
                store.write(KEY, record_at(store.clock(), b"late"), version)
            cursor.execute("UNLOCK TABLES")
        assert store.read(KEY).data == b"old"
        assert store.write(KEY, record_at(store.clock(), b"new"), version)

    @pytest.mark.parametrize("row", [(), (b"1",), (None, None, b""), (KEY.encode(),), (KEY.encode(), b"1", b"", None),
                                     (b"other", b"", b"1", b"1", b"1", None, None, b"1")])
    def test_row_of_another_question(self, make: Any, monkeypatch: pytest.MonkeyPatch, row: Any) -> None:
        store = make()
        monkeypatch.setattr(store, "_send", lambda *_: Result(1, [row]))
        with pytest.raises(StoreUnavailable, match="another question"):
            store.read(KEY)

    @pytest.mark.parametrize("code", [1047, 1290, 1792, 1836])
    def test_codes_of_a_server_that_does_not_write(self, code: int) -> None:
        fault = _fault(pymysql.err.OperationalError(code, "no"))
        assert fault is Fault.WRONG_ROLE
        assert not fault.leaves_connection
