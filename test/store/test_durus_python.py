"""On CPython 3.13.0 Durus 4.3 cannot write: the store is refused there, with the reason, and nowhere else.

The tests marked `durus` cannot be run there (see conftest.py); these take their place.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from durus.connection import Connection
from durus.file_storage import FileStorage
from servers_durus import CANNOT_WRITE

from session2 import ConfigurationError, from_url
from session2.store.durus.driver import check_pickler


def refused(error: type[Exception], words: str) -> contextlib.AbstractContextManager[Any]:
    """Expect the error on the Python that cannot write, and none on others."""
    return pytest.raises(error, match=words) if CANNOT_WRITE else contextlib.nullcontext()


def test_durus_itself_can_write_on_all_pythons_but_one(tmp_path: Path) -> None:
    """When this fails on 3.13.0, a later Durus works there: then the exceptions made for it are to go."""
    storage = FileStorage(str(tmp_path / "application.durus"))
    with refused(AttributeError, "persistent_id"):
        Connection(storage)  # writes the root of the new database
    storage.close()


@pytest.mark.parametrize("url", ["durus:sessions.durus", "durus://127.0.0.1:1", "durus+unix:/nowhere/socket"])
def test_the_store_is_refused_before_it_does_anything(url: str, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with refused(ConfigurationError, r"persistent_id.*another Python than 3\.13\.0"):
        from_url(url).close()
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_so_in_one_line() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-m", "session2", "list", "durus://127.0.0.1:1"],
                          cwd=Path(__file__).parents[2], text=True, capture_output=True, timeout=60)
    assert done.returncode == (2 if CANNOT_WRITE else 3)  # 3: no server is there
    assert len(done.stderr.splitlines()) == 1
    assert ("3.13.0" in done.stderr) is CANNOT_WRITE


def test_a_fault_like_that_of_3_13_0_is_recognised() -> None:
    def writer(_: Any) -> None:
        object().persistent_id = None  # type: ignore[attr-defined] # read-only, as the pickler's of 3.13.0

    with pytest.raises(ConfigurationError, match=r"3\.13\.0"):
        check_pickler(writer)
