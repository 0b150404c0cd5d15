"""What whole requests cost is what docs/performance.md says.

Time cannot be tested, for it is another on each machine.  Calls are the same everywhere but for the version of Python;
what makes requests slower makes them grow.  Who has a good reason prints the tables anew: ``python test/counting.py``.
"""

from __future__ import annotations

from pathlib import Path

import counting
import counting_adapters
import pytest

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"

CELLS = [(kind, mode) for kind in counting.KINDS for mode in counting.MODES]


def documented(table: str, store: str) -> dict[tuple[str, str], int]:
    """Return the numbers of a row."""
    lines = PAGE.read_text().split(f"| {table} |", 1)[1].splitlines()
    row = next(line for line in lines if line.startswith(f"| {store} |"))
    return dict(zip(CELLS, map(int, row.strip("| ").split("|")[1:]), strict=False))


@pytest.mark.parametrize("store", counting.URLS)
def test_functions_called(store: str, tmp_path: Path) -> None:
    url = counting.URLS[store].format(tmp_path)
    for cell, most in documented("functions called", store).items():
        found = counting.calls_of_request(url, *cell)
        assert most / 2 < found <= most, cell


@pytest.mark.parametrize("store", counting.URLS)
def test_system_calls(store: str, tmp_path: Path) -> None:
    url = counting.URLS[store].format(tmp_path)
    for cell, most in documented("system calls", store).items():
        found = counting.system_calls_of_request(url, *cell)
        grows = store == "sqlite" and cell[0] in ("begin", "end")  # it writes more pages now and then
        assert found.total() <= most + 2 * grows, (cell, found)


@pytest.mark.parametrize("adapter", counting_adapters.ADAPTERS)
def test_functions_called_through_an_adapter(adapter: str) -> None:
    for cell, most in documented("through an adapter", adapter).items():
        found = counting_adapters.calls_through(adapter, *cell)
        assert most / 2 < found <= most + 5, cell  # what the framework does beside depends on what it did before


def test_calls_are_noticed(tmp_path: Path) -> None:
    site = counting.Site(counting.URLS["directory"].format(tmp_path), "merge")
    site.begin()
    assert counting.calls(lambda: (site.look(), site.look())) > 1.9 * counting.calls(site.look)
    one, two = (counting.system_calls_of_request(counting.URLS["directory"].format(tmp_path), kind, "merge")
                for kind in ("look", "change"))
    assert one["pread64"] + 1 == two["pread64"]
