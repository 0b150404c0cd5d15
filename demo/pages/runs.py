"""Experiments under way: each in a thread of its own, one after the other."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from .site import Site

KEPT: Final = 20

WAITING: Final = 5

_runs: dict[str, Run] = {}
_turn: Final = threading.Lock()
_starting: Final = threading.Lock()


class Run:
    """One experiment, as far as it is."""

    def __init__(self, title: str) -> None:
        self.id = secrets.token_urlsafe(8)
        self.title = title
        self.steps: list[dict[str, str]] = []
        self.results: dict[str, dict[str, Any]] = {}
        """Of a race, by mode."""
        self.verdict = ""
        self.over = threading.Event()
        self._began = time.monotonic()

    def step(self, where: str, text: str, kind: str = "") -> None:
        """Note what has just happened; `kind` is "good" or "bad" where that can be said."""
        self.steps.append({"at": f"{time.monotonic() - self._began:.2f} s", "where": where, "text": text, "kind": kind})

    def conclude(self, verdict: str) -> None:
        """Say what was shown, unless it was something else."""
        self.verdict = verdict if all(step["kind"] != "bad" for step in self.steps) else "This should not be."

    def told(self) -> dict[str, Any]:
        """Return all of it, for the script."""
        over = self.over.is_set()  # first: what is told afterwards is whole then
        return {"steps": list(self.steps), "verdict": self.verdict, "over": over}

    def begin_now(self) -> None:
        """Count time from here on: another run had its turn until now."""
        self._began = time.monotonic()


Experiment = tuple[str, Callable[[Site, Run], None]]


def start(experiment: Experiment, site: Site) -> Run | None:
    """Start an experiment; None if too many wait for their turn."""
    title, function = experiment
    with _starting:
        if sum(not run.over.is_set() for run in _runs.values()) >= WAITING:
            return None
        run = Run(title)
        _runs[run.id] = run
        for id in list(_runs)[:-KEPT]:
            del _runs[id]
    threading.Thread(target=_run, args=(function, site, run), daemon=True).start()
    return run


def find(id: str) -> Run | None:
    """Return a run, None for one that never was or was long ago."""
    return _runs.get(id)


def _run(function: Callable[[Site, Run], None], site: Site, run: Run) -> None:
    with _turn:
        run.begin_now()
        try:
            function(site, run)
        except Exception as error:  # whoever waits for it is to know
            run.verdict = f"The experiment itself failed: {error}"
        finally:
            run.over.set()
