"""``make bench``: sessions against the raw work and against CherryPy's own, interleaved in one run.

Every case does the same two things with an existing session of about 1 KB: *change* (load it, read three values, change
one, save it) and *read* (load it, read three values, finish the request).  The cases of a group take turns in short
rounds; what is printed are medians of the ratios within one round, so that a noisy machine disturbs all alike.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import databases  # the folder of this script is on the path
from cases import Case, groups, rate

ROUNDS = 15


def measure(cases: list[Case], rounds: int) -> list[tuple[str, float, float]]:
    """Return for each case its name and the median ratio to the first one, for changes and for reads."""
    for case in cases:
        rate(case.change)
    changes: list[list[float]] = [[] for _ in cases]
    reads: list[list[float]] = [[] for _ in cases]
    for _ in range(rounds):
        for ratios, action in ((changes, "change"), (reads, "read")):
            rates = [rate(getattr(case, action)) for case in cases]
            for column, value in zip(ratios, rates, strict=True):
                column.append(value / rates[0])
    return [(case.name, statistics.median(change), statistics.median(read))
            for case, change, read in zip(cases, changes, reads, strict=True)]


def main() -> None:
    """Print one table a group."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="*", help="file, sqlite, shelve, memory, postgres, mysql (default: all)")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--where", type=Path, default=Path(__file__).parent, help="a folder on the disk to measure")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.where, prefix=".bench-") as folder:
        for name, make in {**groups(), **databases.groups()}.items():
            if arguments.groups and name not in arguments.groups:
                continue
            print(f"\n{name:34} change   read   (times the first line)")
            for case, change, read in measure(make(Path(folder)), arguments.rounds):
                print(f"  {case:32} {change:6.2f} {read:6.2f}")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
