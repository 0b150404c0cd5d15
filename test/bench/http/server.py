"""One server process: ``server.py VARIANT FOLDER URL [profile]``.

It writes its port to its standard output and serves until its standard input ends.
"""

from __future__ import annotations

import contextlib
import cProfile
import os
import pstats
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cheroot.wsgi import Server
from variants import VARIANTS

THREADS = 10
LINES = 45


def profiled(application: Callable[..., Any], profile: cProfile.Profile) -> Callable[..., list[bytes]]:
    """Return an application that is profiled, up to the end of the answer; for a server with one thread."""
    def process(*arguments: Any) -> list[bytes]:
        chunks = application(*arguments)
        with contextlib.closing(chunks) if hasattr(chunks, "close") else contextlib.nullcontext():
            return list(chunks)

    return lambda *arguments: profile.runcall(process, *arguments)


def main() -> None:
    name, folder, url, *options = sys.argv[1:]
    application, profile = VARIANTS[name].application(Path(folder), url), cProfile.Profile()
    if options:
        application = profiled(application, profile)
    server = Server(("127.0.0.1", 0), application, numthreads=1 if options else THREADS, server_name="localhost",
                    request_queue_size=100)  # all clients connect at once; one that is turned away waits for a second
    server.prepare()
    print(server.bind_addr[1], file=sys.__stdout__, flush=True)  # Quixote has made its log of the other one
    threading.Thread(target=server.serve, daemon=True).start()
    sys.stdin.read()
    if options:
        pstats.Stats(profile, stream=sys.stderr).sort_stats("cumulative").print_stats("session2", LINES)
        sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
