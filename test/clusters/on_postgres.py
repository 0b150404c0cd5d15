"""PostgreSQL with a synchronous replica that takes its place, and behind what balances and pools connections."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
from balancer import Balancer
from scenario import Cluster, Scenario
from servers_sql import PASSWORD, QUOTED, Bouncer, PostgresServer, program


class Standby(PostgresServer):
    """A replica that confirms every commit of its primary."""

    def __init__(self, primary: PostgresServer) -> None:
        self.primary = primary
        super().__init__()

    def prepare(self) -> None:
        place = f"host={self.primary.folder} port={self.primary.port} user=session2 password={PASSWORD}"
        self.run(program("pg_basebackup"), "--pgdata=data", f"--dbname={place}", "--write-recovery-conf",
                 "--checkpoint=fast", "--no-sync")

    def welcome(self) -> None:
        with self.primary.connect() as connection:
            connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            connection.execute("SELECT pg_reload_conf()")

    def promote(self) -> None:
        with self.connect() as connection:
            connection.execute("SELECT pg_promote()")


@contextlib.contextmanager
def pair() -> Iterator[tuple[PostgresServer, Standby]]:
    """Start a primary and its synchronous replica."""
    with contextlib.ExitStack() as stack:
        primary = PostgresServer()
        stack.callback(primary.close)
        standby = Standby(primary)
        stack.callback(standby.close)
        yield primary, standby


def _fail_over(primary: PostgresServer, standby: Standby) -> None:
    primary.send(signal.SIGKILL)
    primary.stop()
    standby.promote()


def _is_primary(server: PostgresServer) -> bool:
    with psycopg.connect(server.url, autocommit=True, connect_timeout=1) as connection:
        row = connection.execute("SELECT NOT pg_is_in_recovery()").fetchone()
        return row == (True,)


@contextlib.contextmanager
def _two_hosts(folder: Path) -> Iterator[Cluster]:
    with pair() as (primary, standby):
        hosts = f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        yield Cluster(f"postgresql://session2:{QUOTED}@{hosts}/postgres?target_session_attrs=read-write",
                      [lambda: _fail_over(primary, standby)])


@contextlib.contextmanager
def _balanced(folder: Path) -> Iterator[Cluster]:
    with pair() as (primary, standby), contextlib.ExitStack() as stack:
        balancer = Balancer({server.port: lambda server=server: _is_primary(server) for server in (primary, standby)})
        stack.callback(balancer.close)
        yield Cluster(f"postgresql://session2:{QUOTED}@127.0.0.1:{balancer.port}/postgres",
                      [lambda: _fail_over(primary, standby)])


@contextlib.contextmanager
def _pooled(mode: str) -> Iterator[Cluster]:
    server = PostgresServer()
    with contextlib.ExitStack() as stack:
        stack.callback(server.close)
        bouncer = Bouncer(server, mode)
        stack.callback(bouncer.close)
        query = "" if mode == "session" else "?prepare=false"

        def crash() -> None:
            server.crash()
            server.start()

        def restart_bouncer() -> None:
            bouncer.crash()
            bouncer.start()

        yield Cluster(bouncer.url + query, [crash, restart_bouncer, crash])


SCENARIOS = [
    Scenario("postgres, two hosts in the URL: primary killed, replica promoted", _two_hosts),
    Scenario("postgres behind HAProxy: primary killed, replica promoted", _balanced),
    Scenario("postgres behind PgBouncer, session mode: both crash", lambda folder: _pooled("session")),
    Scenario("postgres behind PgBouncer, transaction mode: both crash", lambda folder: _pooled("transaction")),
]
