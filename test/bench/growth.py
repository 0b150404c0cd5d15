"""``make bench-growth``: what a request costs while the sessions become more, and what it costs to clean up.

A request that changes a session is measured with few sessions and with many, in turns; once any session may be asked
for, and once only a thousand of them are in use.  Then sessions that have expired are purged: how fast, compared with
the bare back end, which does it on a twin; how long visitors in another process wait meanwhile; and how long it takes
to find that nothing is due.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "adapters")]

from cases import use  # noqa: E402
from sites import SITES, Site, id_of  # noqa: E402
from workers import rate  # noqa: E402

from session2 import DictSession, SessionManager, from_url  # noqa: E402
from session2.store.base import SessionStore  # noqa: E402
from session2.testing.fakes import FakeExchange  # noqa: E402

IN_USE, WARM, THINKING, QUIET = 1000, 200, 0.002, 5.0


def requests(store: SessionStore, number: Callable[[], int]) -> Callable[[], None]:
    """Return a request that changes a session."""
    manager: SessionManager[DictSession] = SessionManager(store, DictSession)

    def request() -> None:
        exchange: Any = FakeExchange({"session2": id_of(number())})
        manager.start_request(exchange)
        use(exchange.session)
        manager.finish_successful_request(exchange)

    return request


def costs(filled: list[Site], rounds: int) -> list[tuple[float, float]]:
    """Return what a request costs at each site, as a ratio to the first: of one of those in use, and of any session."""
    def of_any(site: Site) -> Callable[[], int]:
        return lambda: random.randrange(site.size)

    def of_used(site: Site) -> Callable[[], int]:
        return lambda: random.randrange(IN_USE) * (site.size // IN_USE)

    columns = []
    for choose in (of_used, of_any):
        cycles = [requests(site.store, choose(site)) for site in filled]
        for cycle in cycles:
            for _ in range(2 * IN_USE):
                cycle()
        turns = [[rate(cycle, time.monotonic()) for cycle in cycles] for _ in range(rounds)]
        columns.append([statistics.median(turn[0] / turn[at] for turn in turns) for at in range(len(filled))])
    return list(zip(*columns, strict=True))


def visit(url: str, size: int, ready: Any, over: Any, found: Any) -> None:
    """Make requests until it is over, each of a session that lasts, and hand over how long they took."""
    times = list[float]()
    request = requests(from_url(url), lambda: random.randrange(size))
    for _ in range(WARM):
        request()
    ready.set()
    while not over.is_set():
        start = time.perf_counter()
        request()
        times.append(time.perf_counter() - start)
        time.sleep(THINKING)
    found.put(times)


def while_visited(site: Site, action: Callable[[], object]) -> list[float]:
    """Return how long the requests of a visitor took meanwhile."""
    context = multiprocessing.get_context("spawn")
    ready, over, found = context.Event(), context.Event(), context.Queue()
    visitor = context.Process(target=visit, args=(site.url, site.size, ready, over, found))
    visitor.start()
    ready.wait()
    action()
    over.set()
    times = found.get()
    visitor.join()
    return times


def timed(action: Callable[[], object]) -> float:
    """Return how many seconds the action takes."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def speed_of_purge(site: Site, rounds: int) -> float:
    """Return how fast a purge is of a twentieth of the sessions, in units of the bare speed."""
    ratios = []
    for turn in range(rounds):
        site.fill_expired(site.size // 20)
        actions = [site.purge_bare, site.store.purge]
        seconds = {action: timed(action) for action in (actions if turn % 2 else reversed(actions))}
        ratios.append(seconds[site.purge_bare] / seconds[site.store.purge])
    return statistics.median(ratios)


def clean(site: Site, rounds: int) -> None:
    """Print what it costs to delete what has expired."""
    speed = speed_of_purge(site, rounds)
    site.fill_expired(site.size // 4)
    quiet = while_visited(site, lambda: time.sleep(QUIET))
    seconds = list[float]()
    busy = while_visited(site, lambda: seconds.append(timed(site.store.purge)))
    print(f"  purge: {speed:.2f} of the bare speed; with nothing due {timed(site.store.purge):.2f} s\n"
          f"  a visitor waits at most {max(busy) * 1000:.0f} ms while {site.size // 4:,} go in {seconds[0]:.1f} s "
          f"({max(quiet) * 1000:.0f} ms without that), in the median {statistics.median(busy) * 1000:.1f} ms "
          f"({statistics.median(quiet) * 1000:.1f} ms)", flush=True)


def main() -> None:
    """Measure one store after the other."""
    parser = argparse.ArgumentParser(prog="make bench-growth", description=__doc__.splitlines()[0])
    parser.add_argument("stores", nargs="*", help=f"{', '.join(SITES)} (default: all)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 20_000], help="numbers of sessions")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--where", type=Path, default=Path(__file__).parent, help="a folder on the disk to measure")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that servers and files go also then
    with tempfile.TemporaryDirectory(dir=arguments.where, prefix=".bench-") as folder:
        for name in arguments.stores or SITES:
            start = time.perf_counter()
            filled = [SITES[name](Path(folder), size) for size in arguments.sizes]
            print(f"{name} (filled in {time.perf_counter() - start:.0f} s)", flush=True)
            for site, (used, any_) in zip(filled, costs(filled, arguments.rounds), strict=True):
                print(f"  {site.size:9,} sessions: a request costs {used:.2f}, of any session {any_:.2f}", flush=True)
            clean(filled[-1], max(3, arguments.rounds // 5))
            for site in filled:
                site.store.close()


if __name__ == "__main__":
    main()
