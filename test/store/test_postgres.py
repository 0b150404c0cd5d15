"""PostgresSessionStore against a private PostgreSQL."""

from __future__ import annotations

import itertools
import re
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Conninfo, ExecStatus, TransactionStatus
from psycopg.rows import dict_row
from psycopg.types.numeric import Float8BinaryLoader
from psycopg.types.string import TextBinaryLoader
from psycopg_pool import ConnectionPool
from servers_sql import PostgresServer
from sql_cases import KEY, SQLTests

import session2.store
from session2 import ConfigurationError
from session2.session import ties
from session2.store.postgres.driver import Wire, _answer
from session2.store.postgres.store import _PURGE, _STEPS, PostgresSessionStore
from session2.store.servers.results import StatementFailed
from session2.store.sql.store import SQLSessionStore
from session2.store.sql.tables import comment_of
from session2.testing import StoreSuite
from session2.testing.fakes import Clock
from session2.testing.store.recipe import Recipe
from session2.testing.store.samples import key_of, record_at
from session2.testing.store.shop import again, saved
from session2.traces import lock_key
from session2.urls import from_url


@pytest.fixture
def bare_table(postgres: PostgresServer) -> Iterator[str]:
    """A name for a table that nobody else uses."""
    name = f"s_{uuid.uuid4().hex}"
    yield name
    with postgres.connect() as connection:
        connection.execute(f'DROP TABLE IF EXISTS "{name}"')


class ToDecimal(Float8BinaryLoader):
    def load(self, data: Any) -> Any:
        return Decimal(super().load(data))


class ToBytes(TextBinaryLoader):
    def load(self, data: Any) -> Any:
        return bytes(data)


def with_loaders(connection: psycopg.Connection) -> None:
    """Have a connection return other types, as an application may."""
    for kind, loader in (("float8", ToDecimal), ("text", ToBytes)):
        connection.adapters.register_loader(kind, loader)


@pytest.fixture
def server(postgres: PostgresServer) -> PostgresServer:
    return postgres


class Reversed(Loader):
    """What an application may do to values."""

    def load(self, data: Any) -> str:
        return bytes(data).hex()[::-1]


class Shouting(Dumper):
    def dump(self, obj: str) -> bytes:
        return obj.upper().encode()


class TestPostgres(StoreSuite):
    store_class = PostgresSessionStore

    @pytest.fixture
    def recipe(self, postgres: PostgresServer, bare_table: str) -> Recipe:
        return Recipe(PostgresSessionStore, (postgres.url, bare_table))


class TestPostgresMore(SQLTests):
    store_class = PostgresSessionStore
    no_text = r"'\xff'"
    whoami = "SELECT pg_backend_pid()"
    read_only = "SET default_transaction_read_only = on"

    @pytest.fixture(params=["postgresql", "postgres"])
    def scheme(self, request: Any) -> str:
        return request.param

    @pytest.fixture(params=["connection", "autocommit", "dict_row", "bytes", "loaders", "pool", "autocommit-pool"])
    def lent(self, request: Any, server: PostgresServer) -> Iterator[Any]:
        kinds = {
            "connection": lambda: psycopg.connect(server.url),
            "autocommit": server.connect,
            "dict_row": lambda: psycopg.connect(server.url, row_factory=dict_row),
            "bytes": lambda: ConnectionPool(server.url, kwargs={"autocommit": True, "client_encoding": "SQL_ASCII"},
                                            min_size=1, max_size=4, open=True),
            "loaders": lambda: ConnectionPool(server.url, kwargs={"autocommit": True}, configure=with_loaders,
                                              min_size=1, max_size=4, open=True),
            "pool": lambda: ConnectionPool(server.url, min_size=1, max_size=4, open=True),
            "autocommit-pool": lambda: ConnectionPool(server.url, min_size=1, max_size=4, open=True,
                                                      kwargs={"autocommit": True}),
        }
        lent = kinds[request.param]()
        yield lent
        lent.close()

    @pytest.fixture
    def fenced_pool(self, server: PostgresServer) -> Iterator[Any]:
        """A pool whose first connections lead to a server that does not write."""
        fenced = iter(range(4))

        def configure(connection: psycopg.Connection) -> None:
            if next(fenced, None) is not None:
                connection.execute(self.read_only)

        with ConnectionPool(server.url, min_size=4, max_size=4, open=True, configure=configure,
                            kwargs={"autocommit": True}) as pool:
            pool.wait()
            yield pool

    @pytest.fixture(params=["url", "__import__('psycopg').connect(url)",
                            "__import__('psycopg_pool').ConnectionPool(url, min_size=1, max_size=1, open=True)",
                            "__import__('psycopg_pool').ConnectionPool(url, min_size=2, max_size=2, open=True, "
                            "kwargs={'autocommit': True})"],
                    ids=["url", "connection", "pool", "autocommit-pool"])
    def lend(self, request: Any) -> str:
        """What to make a store with in another process."""
        return request.param

    @pytest.fixture
    def statements(self, server: PostgresServer) -> Iterator[Callable[[], int]]:
        """A function that tells how many statements the server has been sent so far."""
        self.execute(server, "ALTER ROLE session2 SET log_statement = 'all'")
        yield lambda: len(re.findall("LOG:  (?:statement:|execute) ", server.log.read_text()))
        self.execute(server, "ALTER ROLE session2 RESET log_statement")

    def ask_only(self, connection: Any) -> None:
        """Send a question and leave the answer to whoever comes next."""
        connection.pgconn.send_query(b"SELECT 'a stranger'")

    def kill_connections(self, server: PostgresServer) -> None:
        self.execute(server, "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                             "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")

    def comment(self, server: PostgresServer, store: SQLSessionStore, text: str) -> None:
        self.execute(server, f"COMMENT ON TABLE {store._table} IS '{text}'")

    def comment_of(self, server: PostgresServer, store: SQLSessionStore) -> str:
        return self.execute(server, f"SELECT obj_description('{store._table}'::regclass)")[0][0]

    def quoted(self, name: str) -> str:
        return f'"{name}"'

    def make_schema(self, server: PostgresServer, store: SQLSessionStore, schema: int) -> None:
        for statement in itertools.chain(*_STEPS[:schema]):
            self.execute(server, statement.format(table=store._table, key='"key"', user='"user"'))
        self.comment(server, store, comment_of(schema))

    def indexes(self, server: PostgresServer, store: SQLSessionStore) -> set[str]:
        rows = self.execute(server, f"SELECT indexdef FROM pg_indexes WHERE tablename = '{store.table}'")
        return {definition for definition, in rows}

    def test_database_without_an_encoding(self, server: PostgresServer, clock: Clock,
                                          monkeypatch: pytest.MonkeyPatch) -> None:
        """Text comes back as bytes there, and everywhere if the environment says so."""
        self.execute(server, "CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
        monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
        for url in (server.url.replace("/postgres", "/ascii"), server.url):
            store = PostgresSessionStore(url, "s_ascii", clock=clock)
            store.setup()
            self.use_everything(store, clock)
            store.close()
        self.execute(server, "DROP TABLE s_ascii")
        self.execute(server, "DROP DATABASE ascii")

    @pytest.mark.parametrize("autocommit", [True, False])
    def test_transaction_of_the_application_stays_its_own(self, server: PostgresServer, table: str,
                                                          autocommit: bool) -> None:
        connection = psycopg.connect(server.url, autocommit=autocommit)
        store = PostgresSessionStore(connection, table)
        session = saved(store, n=0)
        assert connection.info.transaction_status == TransactionStatus.IDLE
        assert connection.autocommit is autocommit
        connection.execute("CREATE TEMPORARY TABLE articles (n int)")
        connection.commit()
        if autocommit:
            connection.execute("BEGIN")
        connection.execute("INSERT INTO articles VALUES (1)")
        loaded = again(store, session)
        loaded["n"] = 1
        store.sessions.save(loaded)
        store.setup()
        assert connection.info.transaction_status == TransactionStatus.INTRANS
        connection.rollback()
        assert connection.execute("SELECT count(*) FROM articles").fetchone() == (0,)
        connection.rollback()
        assert again(store, session)["n"] == 1
        store.close()
        connection.close()

    def test_updates_are_heap_only(self, server: PostgresServer, make: Any, table: str) -> None:
        """An update that need not touch an index leaves no garbage in any."""
        clock = Clock()
        store = make(clock=clock)
        sessions = [saved(store, n=0, text="x" * 1000) for _ in range(200)]
        for turn in range(1, 31):
            for session in sessions:
                clock.advance(0.01)
                ties(session).accessed, ties(session).expires = clock(), clock() + 1800
                session["n"] = turn
                store.sessions.save(session)
                ties(session).accessed, ties(session).expires = clock() + 0.001, clock() + 1800
                store.sessions.touch(session)
        store.close()
        self.execute(server, "SELECT pg_stat_force_next_flush()")
        [(updates, heap_only)] = self.execute(
            server, f"SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = '{table}'")
        assert updates == 12000
        assert heap_only / updates > 0.9

    def test_not_durable(self, server: PostgresServer, table: str) -> None:
        store = from_url(f"{server.url}?table={table}&durable=false")
        shown = store._connections.use(lambda connection: connection.execute("SHOW synchronous_commit").fetchone())
        assert shown == ("off",)
        store.close()
        with server.connect() as connection, pytest.raises(ConfigurationError, match="synchronous_commit"):
            PostgresSessionStore(connection, table, durable=False)

    def test_table_in_a_schema(self, server: PostgresServer) -> None:
        self.execute(server, "CREATE SCHEMA app")
        store = PostgresSessionStore(server.url, "app.sessions")
        store.setup()
        store.write(KEY, record_at(1e10), None)
        assert self.execute(server, "SELECT count(*) FROM app.sessions") == [(1,)]
        store.close()
        self.execute(server, "DROP SCHEMA app CASCADE")

    def test_conninfo(self, server: PostgresServer, table: str) -> None:
        conninfo = f"host={server.folder} port={server.port} user=session2 password=p@ss:w/rd dbname=postgres"
        store = PostgresSessionStore(conninfo, table)
        assert store.read(KEY) is None
        store.close()

    def test_serialisable_by_default(self, server: PostgresServer, make: Any, clock: Clock) -> None:
        """A server set to the strictest isolation refuses concurrent statements; the store repeats them."""
        self.execute(server, "ALTER ROLE session2 SET default_transaction_isolation = 'serializable'")
        try:
            self.test_64_threads_on_4_connections(server, make)
        finally:
            self.execute(server, "ALTER ROLE session2 RESET default_transaction_isolation")

    def test_commit_that_fails(self, server: PostgresServer, make: Any, clock: Clock, table: str) -> None:
        """The server has told what a statement did, and says behind it that it was undone: the store repeats it."""
        store = make(clock=clock)
        self.execute(server, f"CREATE SEQUENCE {table}_turns")
        self.execute(server, f"""CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            IF nextval('{table}_turns') < 3 THEN RAISE serialization_failure; END IF; RETURN NULL; END $$""")
        self.execute(server, f"""CREATE CONSTRAINT TRIGGER refuse AFTER INSERT OR UPDATE ON {table}
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {table}_refuse()""")
        version = store.write(KEY, record_at(clock.now), None)
        assert store.read(KEY).version == version
        with psycopg.connect(server.url) as connection:
            assert connection.execute(f"SELECT last_value FROM {table}_turns").fetchone() == (3,)

    def test_locks_do_not_wait_for_the_disk(self, server: PostgresServer, make: Any, clock: Clock, table: str) -> None:
        """A save does; and a lock before it changes nothing of that."""
        store = make(clock=clock, pool_size=1)
        self.execute(server, f"CREATE TABLE {table}_log (number serial, key text, setting text)")
        self.execute(server, f"""CREATE FUNCTION {table}_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO {table}_log (key, setting)
            VALUES (coalesce(new.key, old.key), current_setting('synchronous_commit')); RETURN NULL; END $$""")
        self.execute(server, f"""CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION {table}_note()""")
        with store.lock(KEY):
            version = store.write(KEY, record_at(clock.now), None)
        store.remove(KEY, version)
        with psycopg.connect(server.url) as connection:
            noted = connection.execute(f"SELECT key, setting FROM {table}_log ORDER BY number").fetchall()
        assert noted == [(lock_key(KEY), "off"), (KEY, "on"), (lock_key(KEY), "off"), (KEY, "on")]

    def test_missing_driver(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        monkeypatch.delitem(sys.modules, "session2.store.postgres.driver")
        monkeypatch.delattr(session2.store.postgres, "driver")
        with pytest.raises(ConfigurationError, match=r"session2\[postgres\]"):
            PostgresSessionStore("")

    def test_purge_passes_over_what_is_in_use(self, server: PostgresServer, make: Any, clock: Clock,
                                              table: str) -> None:
        store = make(clock=clock)
        for number in range(3):
            store.write(key_of(number), record_at(clock.now, expires=clock.now), None)
        with psycopg.connect(server.url) as connection:
            connection.execute(f'SELECT 1 FROM "{table}" WHERE key = %s FOR UPDATE', [key_of(1)])
            assert store.purge() == 2
        assert store.purge() == 1

    def test_purge_looks_for_each_row_once(self, server: PostgresServer, make: Any, clock: Clock, table: str) -> None:
        """It finds what has expired by the index of hours, and deletes it where it stands."""
        make(clock=clock)
        values = {"now": clock.now, "hour": int(clock.now // 3600), "after": "", "batch": 1000}
        with psycopg.connect(server.url) as connection:
            connection.execute("SET enable_seqscan = off")
            statement = _PURGE.format(table=f'"{table}"', key='"key"')
            plan = "\n".join(row[0] for row in connection.execute("EXPLAIN " + statement, values))
        assert "Tid Scan" in plan
        assert f"{table}_expires_hour_key_idx" in plan
        assert f"{table}_pkey" not in plan

    # -- what is lent ----------------------------------------------------------------------------------------------

    def test_other_threads_keep_their_transactions(self, server: PostgresServer, table: str) -> None:
        """The store switched the mode of the connection, and what another thread rolled back was committed."""
        self.execute(server, f'CREATE TABLE "{table}_articles" (n int)')
        connection, over = psycopg.connect(server.url), threading.Event()
        store = PostgresSessionStore(connection, table)
        store.setup()
        rolled_back: list[int] = []

        def roll_back() -> None:
            while not over.is_set():
                connection.execute(f'INSERT INTO "{table}_articles" VALUES (1)')
                connection.rollback()
                rolled_back.append(1)

        with ThreadPoolExecutor(1) as threads:
            other = threads.submit(roll_back)
            session, turn = saved(store, n=0), 0
            while turn < 300 or (len(rolled_back) < 50 and not other.done()):
                turn += 1
                session["n"] = turn
                store.sessions.save(session)
            over.set()
            other.result()
        assert again(store, session)["n"] == turn
        assert self.execute(server, f'SELECT count(*) FROM "{table}_articles"') == [(0,)]
        assert not connection.autocommit
        store.close()
        connection.close()
        self.execute(server, f'DROP TABLE "{table}_articles"')

    @pytest.mark.parametrize("autocommit", [True, False])
    def test_pool_keeps_its_modes(self, server: PostgresServer, table: str, autocommit: bool) -> None:
        told = []

        class Watched(psycopg.Connection):
            def commit(self) -> None:
                told.append("commit")
                super().commit()

            def rollback(self) -> None:
                told.append("rollback")
                super().rollback()

            def set_autocommit(self, value: bool) -> None:
                told.append(value)
                super().set_autocommit(value)

        with ConnectionPool(server.url, connection_class=Watched, min_size=1, max_size=1, open=True,
                            kwargs={"autocommit": autocommit}) as pool:
            store = PostgresSessionStore(pool, table)
            session = saved(store, n=0)
            session["n"] = 1
            store.sessions.save(session)
            assert again(store, session)["n"] == 1
            store.close()
        assert told == []

    def test_one_question_has_one_answer(self) -> None:
        answer = SimpleNamespace(status=ExecStatus.COMMAND_OK)
        answers = iter([answer, answer, None])

        class Server:
            def flush(self) -> bool:
                return False

            is_busy = flush

            def get_result(self) -> object:
                return next(answers)

        with pytest.raises(StatementFailed, match="2 answers") as caught:
            _answer(Wire(Server(), None, 1))
        assert not caught.value.fault.leaves_connection

    # -- text that comes as bytes ----------------------------------------------------------------------------------

    @pytest.fixture
    def ascii_url(self, server: PostgresServer) -> Iterator[str]:
        name = f"ascii_{uuid.uuid4().hex}"
        self.execute(server, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
        yield server.url.removesuffix("postgres") + name
        self.execute(server, f"DROP DATABASE {name} WITH (FORCE)")

    @pytest.mark.parametrize("lend", [
        lambda url: url, lambda url: psycopg.connect(url),
        lambda url: ConnectionPool(url, min_size=1, open=True, kwargs={"autocommit": True})],
        ids=["url", "connection", "pool"])
    def test_database_that_knows_no_encoding(self, ascii_url: str, lend: Any) -> None:
        self.all_that_reads_text(lend(ascii_url))

    @pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "SJIS"])
    def test_encoding_of_the_environment(self, server: PostgresServer, table: str, encoding: str,
                                         monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGCLIENTENCODING", encoding)
        with ConnectionPool(server.url, min_size=1, open=True, kwargs={"autocommit": True}) as pool:
            for lent in (server.url, pool):
                self.all_that_reads_text(lent, table)

    def test_types_of_the_application(self, server: PostgresServer, table: str) -> None:
        def configure(connection: psycopg.Connection) -> None:
            for name in ("text", "float8", "int8", "bytea"):
                connection.adapters.register_loader(name, Reversed)
            connection.adapters.register_dumper(str, Shouting)

        with ConnectionPool(server.url, min_size=1, open=True, kwargs={"autocommit": True},
                            configure=configure) as pool:
            self.all_that_reads_text(pool, table)

    def all_that_reads_text(self, lent: Any, table: str | None = None) -> None:
        store = PostgresSessionStore(lent, table)
        store.setup(drop=True)
        version = store.write(KEY, record_at(store.clock(), user="\N{SNOWMAN}"), None)
        assert store.read(KEY).version == version
        assert [key for key, _ in store.records_of("\N{SNOWMAN}")] == [key for key, _ in store.scan()] == [KEY]
        assert store.delete_old_sessions(60) == (0, 1)
        store.remove(KEY, version)
        store.write(KEY, record_at(store.clock(), expires=store.clock() - 1), None)
        assert store.purge(batch=1) == 1
        store.close()
        if lent is not None and not isinstance(lent, str):
            lent.close()

    # -- URLs ------------------------------------------------------------------------------------------------------

    def test_hosts_of_which_one_writes(self, server: PostgresServer, table: str) -> None:
        """Two places are tried; libpq's parameters stand in the URL beside those of the store."""
        login, _, _ = server.url.partition("@")
        url = (f"{login}@127.0.0.1:1,127.0.0.1:{server.port}/postgres?target_session_attrs=read-write&table={table}"
               "&application_name=a%20shop&pool_size=2&sslmode=prefer")
        store = from_url(url)
        store.write(KEY, record_at(1e10), None)
        assert self.execute(server, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'a shop'") == [(1,)]
        store.close()

    def test_host_of_a_url_may_stand_in_its_query(self, server: PostgresServer, table: str) -> None:
        store = from_url(f"postgresql:///postgres?host={server.folder}&port={server.port}&user=session2"
                         f"&password=p%40ss%3Aw%2Frd&table={table}")
        assert store.read(KEY) is None
        store.close()

    def test_parameter_that_nobody_knows(self, server: PostgresServer) -> None:
        with pytest.raises(ConfigurationError, match="'tabel'"):
            from_url(f"{server.url}?tabel=sessions&sslmode=prefer")
        with pytest.raises(ConfigurationError):
            from_url(f"{server.url}?connect_timeout=soon")

    def test_no_parameter_of_libpq_is_forgotten(self) -> None:
        known = {option.keyword.decode() for option in Conninfo.get_defaults()} - {"connect_timeout", "authtype", "tty"}
        missing = {name for name in known if not name.startswith(("scram_", "oauth_"))}
        assert missing <= PostgresSessionStore.URL_OPTIONS
