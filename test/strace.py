"""Processes that do one thing to a store while strace watches them, or kills them at a system call.

Run as a program it forks one for each job: a new interpreter each time would take several times as long.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import re
import signal
import subprocess
import sys
from typing import Any, NoReturn

from session2.store.base import SessionStore
from session2.urls import from_url

# All that changes a file, a lock or what somebody else is told, or is part of doing so.  `read` waits for an answer
# that is encrypted, as those of newer MariaDB are if nothing is said.
CALLS = "/write|sync|truncate|allocate|rename|link|mkdir|rmdir|open|close|fcntl|flock|send|recv|^read$"

PR_SET_PTRACER = 0x59616D61

Job = tuple[Any, ...]
"""The name of a store's method, a key, and further arguments."""


class Victims:
    """The program, as a test sees it."""

    def __init__(self) -> None:
        self._program = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def do(self, url: str, job: Job, *options: str) -> tuple[int, list[str]]:
        """Have a process do the job, with options for strace; return how it ended and the system calls it made."""
        assert self._program.stdin
        assert self._program.stdout
        pickle.dump((url, job, options), self._program.stdin)
        self._program.stdin.flush()
        status, calls = pickle.load(self._program.stdout)
        return status, calls

    def close(self) -> None:
        with self._program:  # it ends with its input
            pass


def serve() -> None:
    while sys.stdin.buffer.peek(1):
        url, job, options = pickle.load(sys.stdin.buffer)
        pickle.dump(watched(from_url(url), job, options), sys.stdout.buffer)
        sys.stdout.flush()


def watched(store: SessionStore, job: Job, options: tuple[str, ...]) -> tuple[int, list[str]]:
    victim = os.fork()
    if not victim:
        suffer(store, *job)
    os.waitpid(victim, os.WUNTRACED)
    command = ["strace", "-p", str(victim), "-e", f"trace={CALLS}", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        assert strace.stderr
        line = strace.stderr.readline()
        assert "attached" in line, line
        os.kill(victim, signal.SIGCONT)
        calls = re.findall(r"^(\w+)\(", strace.stderr.read(), re.MULTILINE)
    return os.waitstatus_to_exitcode(os.waitpid(victim, 0)[1]), calls


def suffer(store: SessionStore, method: str, key: str, *arguments: Any) -> NoReturn:
    ctypes.CDLL(None).prctl(PR_SET_PTRACER, ctypes.c_ulong(-1), 0, 0, 0)
    store.read(key)  # what is opened or connected once is so now
    os.kill(os.getpid(), signal.SIGSTOP)  # until strace is attached
    getattr(store, method)(key, *arguments)
    os._exit(0)


if __name__ == "__main__":
    serve()
