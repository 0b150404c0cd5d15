"""Real servers of applications, which fork their workers after the store was used: nobody gets another's session."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from servers_sql import MariaServer, PostgresServer, free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
NUMBERS = 40

UWSGI = ["uwsgi", "--need-app", "--die-on-term", "--module=shop", "--pythonpath={here}",
         "--http-socket=127.0.0.1:{port}", "--master", "--processes=3"]
GUNICORN = ["gunicorn", "--preload", "--bind=127.0.0.1:{port}", "--workers=3", "--pythonpath={here}", "shop"]

SERVERS = {
    "uWSGI": UWSGI,
    "uWSGI with threads": [*UWSGI, "--enable-threads", "--threads=4"],
    "gunicorn": GUNICORN,
    "gunicorn with threads": [*GUNICORN, "--worker-class=gthread", "--threads=4"],
    "gunicorn with gevent": [*GUNICORN, "--worker-class=gevent"],
}


@pytest.fixture(params=["postgres", "mariadb"])
def database(request: Any) -> PostgresServer | MariaServer:
    server: PostgresServer | MariaServer = request.getfixturevalue(request.param)
    return server


@contextlib.contextmanager
def served(command: list[str], url: str, tmp_path: Path) -> Iterator[str]:
    """Serve the shop and yield its address."""
    port = free_port()
    environment = {**os.environ, "SHOP_STORE": url, "SHOP_PATH": str(ROOT), "SHOP_FILL": "yes"}
    program = [str(Path(sys.executable).parent / command[0]),
               *[part.format(here=HERE, port=port) for part in command[1:]]]
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(program, cwd=HERE, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, tmp_path / "log")
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            _ask(address, 0)
        except OSError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        else:
            return


def _ask(address: str, number: int) -> tuple[str, str]:
    """Return what the shop says of this number, and which process says so."""
    try:
        with urllib.request.urlopen(f"{address}/{number}", timeout=30) as answer:
            text, pid = answer.read().decode().split(" ")
            return text, pid
    except urllib.error.HTTPError as error:
        return error.read().decode(), ""


@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS.keys())
def test_nobody_gets_the_session_of_a_stranger(command: list[str], database: PostgresServer | MariaServer,
                                               tmp_path: Path) -> None:
    table = f"deploy_{free_port()}"
    with served(command, f"{database.url}?table={table}", tmp_path) as address, ThreadPoolExecutor(8) as threads:
        numbers = [number % NUMBERS for number in range(400)]
        answers = list(threads.map(lambda number: _ask(address, number), numbers))
    wrong = [(number, text) for number, (text, _) in zip(numbers, answers, strict=True) if text != str(number)]
    assert wrong == []
    assert len({pid for _, pid in answers}) > 1, "one worker did all of it"
