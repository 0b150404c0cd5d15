"""What runs in each server process of an `AdapterSuite`: `main`.

The process prints its port when it serves, and ends when its standard input
is closed, so that it never outlives the test run.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ...cookies import CookiePolicy
from ...manager import SessionManager
from ...urls import from_url
from .pages import PageSession

Serve = Callable[["SessionManager[PageSession]", Callable[[int], None], bool], None]


@dataclass
class Setting:
    """How one server process is to serve."""

    server: str
    """``FILE:FUNCTION`` of the function that serves."""
    store_url: str
    clock: str
    """The file with the time; see `FileClock`."""
    manager: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of `SessionManager`."""
    cookie: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of `CookiePolicy`."""
    https: bool = False


class FileClock:
    """A clock whose time stands in a file, so that a test can move it for several processes at once."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __call__(self) -> float:
        return float(self.path.read_text())

    def set(self, now: float) -> None:
        new = self.path.with_suffix(".new")
        new.write_text(repr(now))
        new.replace(self.path)

    def advance(self, seconds: float) -> None:
        self.set(self() + seconds)


def main(setting: Setting, module: ModuleType) -> None:
    """Serve with a function of the module, as a `Setting` says."""
    store = from_url(setting.store_url, clock=FileClock(setting.clock))
    manager = SessionManager(store, PageSession, cookie=CookiePolicy(**setting.cookie), **setting.manager)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve: Serve = getattr(module, setting.server.rpartition(":")[2])
    serve(manager, _announcer(), setting.https)


def load(path: str) -> ModuleType:
    """Import a file."""
    spec = importlib.util.spec_from_file_location("session2_served", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _announcer() -> Callable[[int], None]:
    """Keep the standard output for the port alone; what a framework prints goes to the log."""
    report = os.dup(1)
    os.dup2(2, 1)

    def ready(port: int) -> None:
        os.write(report, f"{port}\n".encode())
        os.close(report)

    return ready


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)
