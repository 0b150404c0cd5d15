"""``make bench-http``: whole requests over HTTP, with sessions of ours and of others, against those without sessions.

Every server is a process of its own, with ten threads; all are started, and take short turns, each of them right behind
a turn of the application without sessions of the same framework.  What is shown are medians of the ratios to that one.
*many*: ten clients with eight sessions of their own each; *one*: ten clients with one session.  *rate*: requests per
second; *p50* and *p99*: how long a request takes, at the median and at worst of a hundred; *cpu*: the processor time
that the server takes for a request, which a busy machine disturbs least.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "adapters"), str(HERE.parent)]

import chart  # noqa: E402
from load import Server, Turn, begin, take_turn  # noqa: E402
from variants import VARIANTS, Variant  # noqa: E402

CLIENTS, SESSIONS = 10, 8
LOADS = (("many: change", "change", SESSIONS), ("many: read", "read", SESSIONS), ("one: change", "change", 0))
ROUNDS, SECONDS = 7, 0.4
QUICK = 3, 0.2


class Ratios(NamedTuple):
    """What one variant takes under one load, as multiples of the application without sessions."""

    rate: float
    p50: float
    p99: float
    cpu: float


class Site:
    """A server that runs, and the cookies of its sessions."""

    def __init__(self, variant: Variant, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self.variant = variant
        line = process.stdout.readline()
        assert line, f"{variant.label} did not start"
        self.server = Server(int(line), process.pid)
        self.cookies = [[begin(self.server.port) for _ in range(SESSIONS)] for _ in range(CLIENTS)]

    def load(self, page: str, sessions: int, seconds: float) -> Turn:
        """Take a turn with so many sessions for each client, or none: all have the same one."""
        cookies = self.cookies if sessions else [self.cookies[0][:1]] * CLIENTS
        return take_turn(self.server, page, cookies, seconds)


@contextlib.contextmanager
def running(name: str, folder: Path, *options: str, processor: int | None = None) -> Iterator[Site]:
    """Serve a variant, on one processor if its number is given."""
    variant = VARIANTS[name]
    own = folder / name
    own.mkdir()
    with contextlib.ExitStack() as stack:
        url = variant.url.format(own) or stack.enter_context(database(name))
        command = [sys.executable, str(HERE / "server.py"), name, str(own), url, *options]
        process = stack.enter_context(subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}))
        if processor is not None:
            os.sched_setaffinity(process.pid, {processor})  # before it has threads, which inherit it
        yield Site(variant, process)


@contextlib.contextmanager
def database(name: str) -> Iterator[str]:
    """Return the URL of a private server, where the variant needs one; else nothing."""
    kind = next((kind for kind in ("postgres", "mysql", "redis") if kind in name), None)
    if kind is None:
        yield ""
        return
    sys.path.insert(0, str(HERE.parents[1]))
    from servers_redis import RedisServer
    from servers_sql import MariaServer, PostgresServer

    kinds: dict[str, Any] = {"postgres": PostgresServer, "mysql": MariaServer, "redis": RedisServer}
    with contextlib.closing(kinds[kind](durable=True)) as server:
        yield server.url


Pairs = list[tuple[Turn, Turn]]
"""Turns of a variant, each with the turn before it of the application without sessions."""


def measure(sites: dict[str, Site], rounds: int, seconds: float) -> dict[tuple[str, str], Pairs]:
    """Let all servers take turns; return their turns by load and variant."""
    for site in sites.values():
        site.load("change", SESSIONS, seconds / 4)
    turns: dict[tuple[str, str], Pairs] = {}
    for number, (load, page, sessions) in itertools.product(range(rounds), LOADS):
        print(f"round {number + 1} of {rounds}, {load}", file=sys.stderr)
        for name, site in sites.items():
            base = sites[site.variant.framework].load(page, sessions, seconds)
            turns.setdefault((load, name), []).append((site.load(page, sessions, seconds), base))
    return turns


def ratios(pairs: Pairs) -> Ratios:
    """Return the medians of the ratios; to a turn in which nothing got done there is none."""
    return Ratios(*(statistics.median(getattr(turn, field) / getattr(base, field)
                                      for turn, base in pairs if getattr(base, field)) for field in Ratios._fields))


def chosen(patterns: list[str]) -> list[str]:
    """Return the names of the variants that are asked for, with the applications they are compared with."""
    for pattern in patterns:
        if not fnmatch.filter(VARIANTS, pattern):
            sys.exit(f"there is no variant {pattern!r}; there are {', '.join(VARIANTS)}")
    names = {name for name, variant in VARIANTS.items() if not variant.only_if_asked} if not patterns else \
        {name for pattern in patterns for name in fnmatch.filter(VARIANTS, pattern)}
    names |= {VARIANTS[name].framework for name in names}
    return [name for name in VARIANTS if name in names]


def results(names: list[str], turns: dict[tuple[str, str], Pairs]) -> dict[str, list[Ratios]]:
    """Return for each variant what it takes under each load."""
    return {name: [ratios(turns[load, name]) for load, _, _ in LOADS] for name in names}


def print_table(found: dict[str, list[Ratios]]) -> None:
    print(f"{'':32}", *(f"{load:^25}" for load, _, _ in LOADS), sep="  ")
    print(f"{'':32}", *("  rate    p50    p99    cpu" for _ in LOADS))
    for name, columns in found.items():
        print(f"{VARIANTS[name].label:32}", *(f"{value:6.2f}" for column in columns for value in column))


def print_markdown(found: dict[str, list[Ratios]]) -> None:
    """Print the rows for docs/performance.md; of the processor time that of the first load."""
    for name, columns in found.items():
        label = VARIANTS[name].label
        cells = [f"{column.rate:.2f} | {column.p50:.1f} | {column.p99:.1f}" for column in columns]
        head = f"**{label}**" if name == VARIANTS[name].framework else label
        print("|", " | ".join([head, *cells, f"{columns[0].cpu:.2f}"]), "|")


def print_yardsticks(names: list[str], turns: dict[tuple[str, str], Pairs]) -> None:
    """Tell what 1.00 stands for, and how many answers were no success."""
    for name in names:
        if name == VARIANTS[name].framework:
            many = [turn for turn, _ in turns[LOADS[0][0], name]]
            rate, p50, p99, cpu, _ = (statistics.median(column) for column in zip(*many, strict=True))
            print(f"{VARIANTS[name].label}: {rate:.0f} requests/s, p50 {p50 * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms, "
                  f"cpu {cpu * 1e6:.0f} us")
        failed = sum(turn.failed for load, _, _ in LOADS for turn, _ in turns[load, name])
        if failed:
            print(f"{VARIANTS[name].label}: {failed} answers were errors")


def profile(name: str, page: str, seconds: float) -> None:
    """Print where one variant spends its time, in a server with one thread."""
    with tempfile.TemporaryDirectory() as folder, running(name, Path(folder), "profile") as site:
        site.load(page, SESSIONS, seconds)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-http", description=__doc__.splitlines()[0],
                                     epilog=f"Variants: {', '.join(VARIANTS)}")
    parser.add_argument("variants", nargs="*", help="names or patterns such as 'quixote*'; default: what needs no other"
                                                    " server; the application without sessions is always there")
    parser.add_argument("--apart", action="store_true", help="the servers on one processor and the clients on another:"
                                                             " where the system puts threads then makes no difference")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="how long a turn is")
    parser.add_argument("--markdown", action="store_true", help="print the rows of the table in docs/performance.md")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the rates of changes")
    parser.add_argument("--profile", metavar="VARIANT", help="only print what this one calls in session2")
    parser.add_argument("--page", choices=["change", "read"], default="change", help="the page for --profile")
    parser.add_argument("--where", type=Path, default=HERE.parent, help="a folder on the disk to measure")
    return parser.parse_args()


def main() -> None:
    given = options()
    rounds, seconds = QUICK if given.quick else (ROUNDS, SECONDS)
    rounds, seconds = given.rounds or rounds, given.seconds or seconds
    if given.profile:
        profile(given.profile, given.page, 4 * seconds)
        return
    names = chosen(given.variants)
    servers, clients = (sorted(os.sched_getaffinity(0)) * 2)[:2] if given.apart else (None, None)
    if clients is not None:
        os.sched_setaffinity(0, {clients})
    with tempfile.TemporaryDirectory(dir=given.where, prefix=".bench-") as folder, contextlib.ExitStack() as stack:
        sites = {name: stack.enter_context(running(name, Path(folder), processor=servers)) for name in names}
        turns = measure(sites, rounds, seconds)
    found = results(names, turns)
    (print_markdown if given.markdown else print_table)(found)
    print_yardsticks(names, turns)
    if given.svg:
        chart.write(given.svg, [(VARIANTS[name].label, found[name][0].rate) for name in names])


if __name__ == "__main__":
    main()
