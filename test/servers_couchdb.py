"""What CouchDB stores are tested on: a private pouchdb-server, and a stand-in that is as strict as CouchDB itself.

CouchDB is in no package of Debian's, npm's or PyPI's.  pouchdb-server speaks its protocol and is lax in some places.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest
from couch_strict import StrictServer
from servers_sql import free_port

ROOT = Path(__file__).parents[1]

PROGRAM = Path("node_modules/pouchdb-server/bin/pouchdb-server")

_INSTALLATION = 300
"""Seconds after which what `make test` installs meanwhile is expected to be there."""


def pouchdb() -> Path:
    """Return the program, which the Makefile installs while other tests run already."""
    folder = Path(os.environ.get("SESSION2_POUCHDB", ROOT / ".venv/pouchdb"))
    end = time.monotonic() + _INSTALLATION
    while not (folder / "installed").exists():
        failed = folder / "failed"
        assert not failed.exists(), f"pouchdb-server could not be installed: {failed.read_text()}"
        assert folder.exists(), "pouchdb-server is not installed: make .venv/pouchdb"
        assert time.monotonic() < end, f"pouchdb-server has not been installed into {folder} in {_INSTALLATION} s"
        time.sleep(0.2)
    return folder / PROGRAM


class PouchServer:
    """A pouchdb-server that keeps its port, and what it holds, over restarts.  Everybody may do everything."""

    def __init__(self, program: Path | None = None) -> None:
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
        command = ["node", str(self._program), "--dir", str(self.folder / "data"), "--host", "127.0.0.1",
                   "--port", str(self.port), "--no-stdout-logs"]
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
