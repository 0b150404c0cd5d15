"""``make bench``: sessions against the raw work and against CherryPy's own, interleaved in one run.

Every case does the same two things with an existing session: *change* (load it, read three values, change one, save it)
and *read* (load it, read three values, finish the request).  The cases of a group take turns in short rounds; what is
printed are medians of the ratios within one round, so that a noisy machine disturbs all alike.  Of several threads or
processes each has a session of its own, and what counts is what they do together.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import cases  # the folder of this script is on the path
import databases
import on_cached
import on_cookies
import on_couchdb
import on_memcached
import on_redis
from cases import Case, set_size
from workers import Team

ROUNDS = 15

GROUPS = {name: make for module in (cases, databases, on_cookies, on_memcached, on_redis, on_couchdb, on_cached)
          for name, make in module.groups().items()}


def measure(teams: list[Team], rounds: int) -> list[tuple[str, float, float]]:
    """Return for each case its name and the median ratio to the first one, for changes and for reads."""
    for team in teams:
        team.rate("change")
    changes: list[list[float]] = [[] for _ in teams]
    reads: list[list[float]] = [[] for _ in teams]
    for _ in range(rounds):
        for ratios, action in ((changes, "change"), (reads, "read")):
            rates = [team.rate(action) for team in teams]
            for column, value in zip(ratios, rates, strict=True):
                column.append(value / rates[0])
    return [(team.name, statistics.median(change), statistics.median(read))
            for team, change, read in zip(teams, changes, reads, strict=True)]


def report(cases: list[Case], kind: str, count: int, rounds: int) -> None:
    """Measure a group and print its lines."""
    fit = [case for case in cases if kind == "threads" or not case.one_process]
    teams = [Team(case, kind, count) for case in fit]
    for name, change, read in measure(teams, rounds) if teams else ():
        print(f"  {name:32} {change:6.2f} {read:6.2f}")
    for team in teams:
        team.dismiss()
    for case in cases:
        if case not in fit:
            print(f"  {case.name:32} left out: for one process only")
    sys.stdout.flush()


def options() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", help=f"{', '.join(GROUPS)} (default: all)")
    workers = parser.add_mutually_exclusive_group()
    workers.add_argument("--threads", type=int, default=1, help="workers of one process (default: 1)")
    workers.add_argument("--processes", type=int, help="workers, each a process of its own")
    parser.add_argument("--size", type=int, default=1, help="of a session, in KB (default: 1)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--where", type=Path, default=Path(__file__).parent, help="a folder on the disk to measure")
    return parser.parse_args()


def main() -> None:
    """Print one table a group."""
    arguments = options()
    set_size(arguments.size)
    kind, count = ("processes", arguments.processes) if arguments.processes else ("threads", arguments.threads)
    with tempfile.TemporaryDirectory(dir=arguments.where, prefix=".bench-") as folder:
        for name, make in GROUPS.items():
            if arguments.groups and name not in arguments.groups:
                continue
            print(f"\n{f'{name} ({kind}: {count}, KB: {arguments.size})':34} change   read   (times the first line)")
            report(make(Path(folder)), kind, count, arguments.rounds)


if __name__ == "__main__":
    main()
