"""The workers of one store: hired, killed and replaced."""

from __future__ import annotations

import multiprocessing
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from worker import prepare, work

WORKERS = 3


class Subject(NamedTuple):
    """A store to be soaked."""

    name: str
    url: str
    restart: Callable[[], None] | None


class Crew:
    """The workers of one subject."""

    def __init__(self, subject: Subject, folder: Path) -> None:
        self.subject = subject
        self.folder = folder
        self.hired = self.killed = self.restarts = 0
        self._context = multiprocessing.get_context("spawn")
        self._workers = []
        folder.mkdir()
        prepare(subject.url, folder)
        for _ in range(WORKERS):
            self.hire()

    def hire(self) -> None:
        process = self._context.Process(target=work, args=(self.subject.url, self.folder, self.hired), daemon=True)
        process.start()
        self._workers.append(process)
        self.hired += 1

    def kill_one(self) -> None:
        victim = self._workers.pop(random.randrange(len(self._workers)))
        if not victim.is_alive():
            raise SystemExit(f"a worker of {self.subject.name} ended by itself; its journal is in {self.folder}")
        victim.kill()
        victim.join()
        self.killed += 1
        self.hire()

    def restart(self) -> None:
        if self.subject.restart is not None:
            self.subject.restart()
            self.restarts += 1

    def dismiss(self) -> None:
        (self.folder / "stop").touch()
        for process in self._workers:
            process.join(60)
            if process.exitcode != 0:
                raise SystemExit(f"a worker of {self.subject.name} ended with {process.exitcode}")
