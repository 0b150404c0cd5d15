"""Where server processes come from: each is a fork of one that has imported what serves, so it need not start anew."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from pathlib import Path
from types import ModuleType

from ..store.crew import context
from .serve import Setting, load, main


class ForkServer:
    """A process that has imported a file with functions that serve, and forks whenever a server is wanted.

    It ends with the process that made it.
    """

    def __init__(self, path: str) -> None:
        self._pipe, theirs = context().Pipe()
        self._process = context().Process(target=_answer, args=(theirs, path), daemon=True)
        self._process.start()
        theirs.close()
        self._asking = threading.Lock()

    def fork(self, setting: Setting, folder: Path, files: tuple[int, int, int]) -> int:
        """Start a server in a folder, with these files as its standard ones; return its process id."""
        return self._ask((setting, folder, dict(os.environ)), files)

    def kill(self, pid: int) -> None:
        """Kill a server, and wait until it is no more; without this process it ends as its standard input does."""
        if not self._pipe.closed:
            self._ask(pid)

    def _ask(self, what: object, files: tuple[int, ...] = ()) -> int:
        with self._asking:  # several sites may be started at once
            try:
                self._pipe.send(what)
                for file in files:
                    send_handle(self._pipe, file, self._process.pid)
                return int(self._pipe.recv())
            except BaseException:  # who asks next would get the answer to this
                self._pipe.close()
                fork_server_of.cache_clear()
                raise


fork_server_of = functools.cache(ForkServer)
"""Return that of a file."""


def _answer(pipe: Connection, path: str) -> None:
    multiprocessing.current_process().daemon = False  # a server may have processes of its own
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who interrupts the tests has them end the servers
    module = load(path)
    with contextlib.suppress(EOFError):
        while True:
            asked = pipe.recv()
            pipe.send(_end(asked) if isinstance(asked, int) else _begin(pipe, module, *asked))


def _end(pid: int) -> int:
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def _begin(pipe: Connection, module: ModuleType, setting: Setting, folder: Path, environment: dict[str, str]) -> int:
    files = [recv_handle(pipe) for _ in range(3)]
    pid = os.fork()
    if not pid:
        pipe.close()
        _serve(files, folder, environment, functools.partial(main, setting, module))
    for file in files:
        os.close(file)
    return pid


def _serve(files: list[int], folder: Path, environment: dict[str, str], work: Callable[[], None]) -> None:
    try:
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)
