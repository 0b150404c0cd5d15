"""The WSGI middleware behind servers that fork, with whatever they make of bodies and files."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from servers_sql import free_port

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

SERVERS = {
    "uWSGI": ["uwsgi", "--need-app", "--die-on-term", "--module=wsgi_shop", "--pythonpath={here}",
              "--http-socket=127.0.0.1:{port}", "--master", "--processes=2", "--enable-threads", "--threads=2"],
    "gunicorn": ["gunicorn", "--preload", "--bind=127.0.0.1:{port}", "--workers=2", "--worker-class=gthread",
                 "--threads=2", "--pythonpath={here}", "wsgi_shop"],
}


@contextlib.contextmanager
def served(command: list[str], folder: Path) -> Iterator[int]:
    """Serve the shop and yield its port."""
    port = free_port()
    environment = {**os.environ, "SHOP_STORE": f"directory:{folder}/store?create=true", "SHOP_PATH": str(ROOT)}
    program = [str(Path(sys.executable).parent / command[0]),
               *[part.format(here=HERE, port=port) for part in command[1:]]]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(program, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 60
        while not answers(port):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < end, (folder / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError, http.client.HTTPException):
        return ask(port, "/", None)[0] == "1"
    return False


def ask(port: int, path: str, cookie: str | None) -> tuple[str, str | None]:
    """Return the text of a page and the cookie it sets, as a browser would send it back."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", path, headers={} if cookie is None else {"Cookie": cookie})
        response = connection.getresponse()
        sent = response.getheader("Set-Cookie")
        return response.read().decode(), sent and sent.partition(";")[0]


@pytest.mark.parametrize("command", SERVERS.values(), ids=SERVERS.keys())
def test_every_kind_of_body_stores_its_session(command: list[str], tmp_path: Path) -> None:
    with served(command, tmp_path) as port:
        _, cookie = ask(port, "/", None)
        pages = [ask(port, path, cookie) for path in ("/", "/generator", "/stream", "/", "/file", "/")]
    assert [text for text, _ in pages] == ["2", "3", "4 and one", "6", "7", "8"]
    assert {sent for _, sent in pages} == {None}
