"""``make soak``: processes that use, revoke and kill each other on every store, and a check of what they saw.

Workers of each store change sessions at random, one of them is killed with -9 every second or so, and the servers are
restarted now and then.  Each worker keeps a journal of what it was told had been done.  Afterwards the check reads the
journals and the stores: no acknowledged change may be missing, and no session may have been seen after its end.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from check import Report, check  # noqa: E402 (the folders of the scripts are put on the path first)
from crew import WORKERS, Crew, Subject  # noqa: E402
from worker import SLOTS  # noqa: E402


def files(folder: Path) -> Iterator[Subject]:
    """The stores that need no server."""
    yield Subject("directory", f"directory:{folder}/directory?create=true", None)
    yield Subject("shelve", f"shelve:{folder}/shelve", None)
    yield Subject("sqlite", f"sqlite:{folder}/sqlite.db?create=true", None)


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[list[Subject]]:
    """The stores on servers of their own, which are killed and started again in the middle of the work."""
    from servers_couchdb import PouchServer
    from servers_durus import DurusServer
    from servers_memcached import MemcachedServer
    from servers_redis import RedisServer
    from servers_sql import MariaServer, PostgresServer

    with contextlib.ExitStack() as stack:
        found = []
        for name, make in (("postgres", PostgresServer), ("mysql", MariaServer), ("redis", RedisServer)):
            server: Any = make()
            stack.callback(server.close)
            found.append(Subject(name, server.url, _restarter(server)))
        pouch = PouchServer(on_disk=True)
        stack.callback(pouch.close)
        found.append(Subject("couchdb", pouch.url, _restarter(pouch)))
        durus = stack.enter_context(DurusServer(folder / "durus"))
        found.append(Subject("durus", durus.url, _restarter(durus)))
        memcached = stack.enter_context(MemcachedServer())
        found.append(Subject("memcached", f"{memcached.url}?timeout=0.2", _freezer(memcached)))
        tiers = {"cache": f"{memcached.url}?timeout=0.2&prefix=cached:", "max_stale_count": 1,
                 "store": f"sqlite:{folder}/behind.db?create=true"}
        found.append(Subject("cached", f"cached:?{urlencode(tiers)}", _freezer(memcached)))
        yield found


def _restarter(server: Any) -> Callable[[], None]:
    def restart() -> None:
        server.stop()
        time.sleep(random.uniform(0, 1))
        server.start()

    return restart


def _freezer(server: Any) -> Callable[[], None]:
    """Of a server that would forget all if it were killed: it does not answer for a while, and then all at once."""
    def freeze() -> None:
        server.send(signal.SIGSTOP)
        time.sleep(random.uniform(0, 1))
        server.send(signal.SIGCONT)

    return freeze


def soak(subjects: list[Subject], folder: Path, seconds: float) -> list[Report]:
    """Let all crews work, disturb them until the time is over, and check what they left."""
    crews = [Crew(subject, folder / f"journals-{subject.name}") for subject in subjects]
    end = time.monotonic() + seconds
    next_restart = time.monotonic() + 15
    while time.monotonic() < end:
        time.sleep(random.uniform(0.1, 0.5))
        random.choice(crews).kill_one()
        if time.monotonic() > next_restart:
            random.choice(crews).restart()
            next_restart = time.monotonic() + 5
    for crew in crews:
        crew.dismiss()
    return [check(crew.subject.name, crew.subject.url, crew.folder, crew.killed, crew.restarts) for crew in crews]


def main() -> None:
    """Print one line a store; exit with 1 if anything was lost or came back."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--stores", nargs="*", help="names of stores (default: all)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="session2-soak-") as name, servers(Path(name)) as on_servers:
        subjects = [subject for subject in [*files(Path(name)), *on_servers]
                    if not arguments.stores or subject.name in arguments.stores]
        reports = soak(subjects, Path(name), arguments.seconds)
    print(f"{SLOTS} sessions and {WORKERS} workers a store, {arguments.seconds:g} seconds\n")
    print(Report.heading())
    for report in reports:
        print(report.line())
    failures = [failure for report in reports for failure in report.failures]
    print("\n".join(failures[:20]) or "\nnothing lost, nothing came back")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
