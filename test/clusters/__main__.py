"""``make test-clusters``: the stores on engines of several hosts, in use while a part of them is killed or cut off."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "soak"), str(HERE.parent), str(HERE.parents[1])]

import on_couchdb  # noqa: E402
import on_mariadb  # noqa: E402
import on_memcached  # noqa: E402
import on_postgres  # noqa: E402
import on_redis  # noqa: E402
from scenario import Outcome, run  # noqa: E402

SCENARIOS = [scenario for module in (on_postgres, on_mariadb, on_redis, on_memcached, on_couchdb)
             for scenario in module.SCENARIOS]


def line(outcome: Outcome) -> str:
    """Return a row of the table."""
    return (f"| {outcome.scenario.name} | {outcome.saves:,} | {outcome.ends:,} | {outcome.errors:,} "
            f"| {outcome.longest_gap:.1f} | {len(outcome.lost)} | {len(outcome.came_back)} "
            f"| {outcome.scenario.promise or 'nothing'} |")


def main() -> None:
    """Print a row for each scenario; exit with 1 if more was lost than the engine says."""
    parser = argparse.ArgumentParser(prog="make test-clusters", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="parts of the names of scenarios (default: all)")
    parser.add_argument("--seconds", type=float, default=30, help="for each scenario")
    arguments = parser.parse_args()
    chosen = [scenario for scenario in SCENARIOS
              if not arguments.names or any(name in scenario.name for name in arguments.names)]
    print("| | saves | ended | errors | longest gap, s | lost | came back | may be lost |")
    print("|---" * 8 + "|", flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="session2-clusters-") as folder:
        for number, scenario in enumerate(chosen):
            outcome = run(scenario, Path(folder) / str(number), arguments.seconds)
            print(line(outcome), *outcome.lost[:5], *outcome.came_back[:5], sep="\n", flush=True)
            failed |= not outcome.is_as_promised
    sys.exit(failed)


if __name__ == "__main__":
    main()
