"""Private PostgreSQL and MariaDB servers, started by the tests on free ports and stopped by them."""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest.mock import patch

import psycopg
import pymysql
import pytest
from mirakuru.exceptions import ProcessFinishedWithError
from mirakuru.unixsocket import UnixSocketExecutor

MYSQLD = shlex.split(os.environ.get("SESSION2_MYSQLD", ""))
"""A server of MySQL itself, to be tested in place of MariaDB's, which Debian has; options may follow."""

only_mariadb = pytest.mark.skipif(bool(MYSQLD), reason="only MariaDB has it")

Certificate = tuple[Path, Path]
"""The files of a certificate and of its private key."""

MEMORY = Path("/dev/shm")
ENOUGH = 2 * 2**30
"""Bytes that must be free there for the files of a server that need not outlive the machine."""


def in_memory() -> str | None:
    """Return the folder for such files, None if it is that of all temporary ones; nothing there is of the dead.

    MariaDB syncs several files for each table that is made, and each test has a table of its own.
    """
    for folder in MEMORY.glob("s2-*-*"):  # of a run that was killed
        if not Path("/proc", folder.name.split("-")[1]).exists():
            shutil.rmtree(folder, ignore_errors=True)
    return str(MEMORY) if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH else None


def wait_until_stopped(pid: int) -> None:
    """Wait for what SIGSTOP was sent to: a thread on another processor may answer one more question before it stops."""
    end = time.monotonic() + 10
    while not all(map(_is_stopped, Path(f"/proc/{pid}/task").iterdir())):
        assert time.monotonic() < end
        time.sleep(0.01)


PASSWORD = "p@ss:w/rd"
QUOTED = "p%40ss%3Aw%2Frd"


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """Return the path of a server's program; Debian keeps PostgreSQL's out of the way."""
    folders = [os.environ["PATH"], "/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
    found = shutil.which(name, path=os.pathsep.join(folders))
    assert found, f"{name} is not installed; test/system-packages.txt lists what the tests need"
    return found


class Server:
    """A server process that keeps its folder and its port over restarts.

    It runs as an unprivileged user where we are root (these servers refuse to be root), and dies with the test run even
    if that is killed.
    """

    account: str
    stop_signal: signal.Signals
    crash_signal: signal.Signals

    fast: dict[str, object]
    """Settings for tests: what is saved survives a crash of the server, but not of the machine."""
    durable: dict[str, object]
    """Settings for measurements."""

    def __init__(self, durable: bool = False, certificate: Certificate | None = None) -> None:
        self.settings = dict(self.durable if durable else self.fast)
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix=f"s2-{os.getpid()}-", dir=None if durable else in_memory()))
        self.log = self.folder / "log"
        if os.geteuid() == 0:
            shutil.chown(self.folder, self.account)
        self._process: UnixSocketExecutor | None = None
        try:
            if certificate is not None:
                self.settings |= self.encrypting(*map(self._own, certificate))
            self.prepare()
            self.start()
            self.welcome()
        except BaseException:
            self.close()
            raise

    def encrypting(self, certificate: Path, key: Path) -> dict[str, object]:
        """Return the settings with which the server encrypts connections."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the files of an empty database."""
        raise NotImplementedError

    def command(self) -> list[str]:
        """Return the command that serves in the foreground."""
        raise NotImplementedError

    def socket(self) -> str:
        """Return the path of the socket that appears when the server is up."""
        raise NotImplementedError

    def welcome(self) -> None:
        """Make what is missing on a server that is up."""

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = UnixSocketExecutor(self._unprivileged(self.command()), socket_name=self.socket(),
                                               timeout=60, sleep=0.05, cwd=self.folder, stdout=log, stderr=log)
            self._process.start()
        self._wait_until(self.answers, 60)

    def answers(self) -> bool:
        """Tell whether the server is ready; the socket is there a moment earlier."""
        try:
            self.open().close()
        except (psycopg.Error, pymysql.err.Error):
            return False
        return True

    def open(self) -> psycopg.Connection | pymysql.connections.Connection:
        """Return any connection."""
        raise NotImplementedError

    def _wait_until(self, holds: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def crash(self) -> None:
        """End without saving anything."""
        self.stop(self.crash_signal)

    def stop(self, number: int | None = None) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessFinishedWithError):  # it was dead already, or says how it died
                process.stop(self.stop_signal if number is None else number)

    @property
    def pid(self) -> int:
        """The number of the server's first process."""
        assert self._process is not None
        return int(self._process.process.pid)

    def send(self, number: int) -> None:
        """Send a signal to all processes of the server."""
        main = self.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for pid in [main, *map(int, children)]:
            with contextlib.suppress(ProcessLookupError):  # one that served a connection may end just now
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            wait_until_stopped(main)

    def close(self) -> None:
        self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _own(self, path: Path) -> Path:
        """Return a copy that the server can read and nobody else."""
        copy = Path(shutil.copy(path, self.folder))
        copy.chmod(0o600)
        if os.geteuid() == 0:
            shutil.chown(copy, self.account)
        return copy

    def _unprivileged(self, command: list[str]) -> list[str]:
        become = []
        if os.geteuid() == 0:
            user = pwd.getpwnam(self.account)
            become = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        return ["setpriv", *become, f"--pdeathsig={self.stop_signal.name.removeprefix('SIG')}", *command]

    def run(self, *command: str) -> None:
        done = subprocess.run(self._unprivileged(list(command)), cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def _is_stopped(thread: Path) -> bool:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"


class PostgresServer(Server):
    """PostgreSQL with a user `session2`."""

    account = "postgres"
    stop_signal = signal.SIGINT
    crash_signal = signal.SIGQUIT
    fast = {"fsync": "off"}
    durable = {"shared_buffers": "1GB"}

    def encrypting(self, certificate: Path, key: Path) -> dict[str, object]:
        return {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}

    def prepare(self) -> None:
        (self.folder / "password").write_text(PASSWORD)
        (self.folder / "password").chmod(0o644)
        self.run(program("initdb"), "--pgdata=data", "--username=session2", "--pwfile=password", "--no-sync",
                 "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8")

    def command(self) -> list[str]:
        settings = {"port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": self.folder,
                    "max_connections": 200, **self.settings}
        return [program("postgres"), "-D", str(self.folder / "data"),
                *[part for name, value in settings.items() for part in ("-c", f"{name}={value}")]]

    def socket(self) -> str:
        return str(self.folder / f".s.PGSQL.{self.port}")

    @property
    def url(self) -> str:
        return f"postgresql://session2:{QUOTED}@127.0.0.1:{self.port}/postgres"

    def open(self) -> psycopg.Connection:
        return psycopg.connect(host=str(self.folder), port=self.port, user="session2", password=PASSWORD,
                               dbname="postgres")

    def connect(self) -> psycopg.Connection:
        """Return a connection for the test's own use."""
        return psycopg.connect(self.url, autocommit=True)


class Bouncer(Server):
    """PgBouncer before a PostgreSQL.

    :param mode: ``session`` or ``transaction``.
    """

    account = "postgres"
    stop_signal = signal.SIGTERM
    crash_signal = signal.SIGKILL
    fast = durable = {"max_client_conn": 200, "server_login_retry": 1}

    def __init__(self, server: PostgresServer, mode: str) -> None:
        self._server, self._mode = server, mode
        super().__init__()

    def prepare(self) -> None:
        settings = {"listen_addr": "127.0.0.1", "listen_port": self.port, "unix_socket_dir": self.folder,
                    "auth_type": "scram-sha-256", "auth_file": self.folder / "users", "pool_mode": self._mode,
                    "default_pool_size": 30 if self._mode == "session" else 3, **self.settings}
        lines = ["[databases]", f"* = host=127.0.0.1 port={self._server.port}", "[pgbouncer]",
                 *[f"{name} = {value}" for name, value in settings.items()]]
        (self.folder / "config").write_text("\n".join(lines))
        (self.folder / "users").write_text(f'"session2" "{PASSWORD}"')
        for name in ("config", "users"):
            (self.folder / name).chmod(0o644)

    def command(self) -> list[str]:
        return [program("pgbouncer"), str(self.folder / "config")]

    def socket(self) -> str:
        return str(self.folder / f".s.PGSQL.{self.port}")

    @property
    def url(self) -> str:
        return f"postgresql://session2:{QUOTED}@127.0.0.1:{self.port}/postgres"

    def open(self) -> psycopg.Connection:
        return psycopg.connect(self.url)


class MariaServer(Server):
    """MariaDB, or MySQL, with a user and a database `session2`."""

    account = "mysql"
    stop_signal = signal.SIGTERM
    crash_signal = signal.SIGKILL
    fast = {"innodb-flush-log-at-trx-commit": 2, "max-allowed-packet": "16M"}
    durable = {"innodb-buffer-pool-size": "1G"}

    def encrypting(self, certificate: Path, key: Path) -> dict[str, object]:
        return {"ssl-cert": certificate, "ssl-key": key}

    def prepare(self) -> None:
        if MYSQLD:
            self.run(MYSQLD[0], "--no-defaults", "--initialize-insecure", *MYSQLD[1:], f"--datadir={self.folder}/data")
            return
        self.run(program("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder}/data", "--skip-test-db",
                 f"--tmpdir={self.folder}", "--auth-root-authentication-method=normal")

    def command(self) -> list[str]:
        own = [MYSQLD[0], "--no-defaults", *MYSQLD[1:], "--mysqlx=OFF", "--secure-file-priv=NULL"] if MYSQLD else \
            [program("mariadbd"), "--no-defaults"]
        return [*own, f"--datadir={self.folder}/data", f"--port={self.port}",
                "--bind-address=127.0.0.1", f"--socket={self.socket()}", f"--pid-file={self.folder}/pid",
                "--max-connections=200", *[f"--{name}={value}" for name, value in self.settings.items()]]

    def socket(self) -> str:
        return str(self.folder / "socket")

    def open(self) -> pymysql.connections.Connection:
        return pymysql.connect(unix_socket=self.socket(), user="root")

    def welcome(self) -> None:
        with self.open() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE DATABASE session2")
            cursor.execute("CREATE USER session2@'%%' IDENTIFIED BY %s", (PASSWORD,))
            cursor.execute("CREATE USER session2@localhost IDENTIFIED BY %s", (PASSWORD,))
            for host in ("%", "localhost"):
                cursor.execute(f"GRANT ALL ON *.* TO session2@'{host}'")

    @property
    def arguments(self) -> dict[str, object]:
        return {"host": "127.0.0.1", "port": self.port, "user": "session2", "password": PASSWORD,
                "database": "session2"}

    @property
    def url(self) -> str:
        return f"mysql://session2:{QUOTED}@127.0.0.1:{self.port}/session2"

    def connect(self) -> pymysql.connections.Connection:
        """Return a connection for the test's own use."""
        return pymysql.connect(**self.arguments, autocommit=True)


@pytest.fixture(scope="module")
def no_authorities() -> Iterator[None]:
    """None that the system trusts: PyMySQL reads the certificates of all for each connection, needed or not."""
    with patch.dict(os.environ, SSL_CERT_FILE=os.devnull):
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server for all tests of this run that leave it as it was."""
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaServer]:
    """A MariaDB server for all tests of this run that leave it as it was."""
    server = MariaServer()
    yield server
    server.close()
