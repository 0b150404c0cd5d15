"""Doing several things to one store at the same moment: in threads, or in other processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from ...store.base import SessionStore
from .recipe import Recipe

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

PATIENCE = 120.0
"""Seconds after which a thread or process that does not answer counts as hung."""

Job = tuple[Any, ...]
"""A function of `session2.testing.store.work`, and its arguments after the store."""


def in_turn(store: SessionStore, jobs: Sequence[Job]) -> list[Any]:
    """Do the jobs one after another and return their results."""
    return [function(store, *arguments) for function, *arguments in jobs]


def in_threads(store: SessionStore, jobs: Sequence[Job]) -> list[Any]:
    """Do the jobs at the same time in threads that share the store, and return their results."""
    barrier = threading.Barrier(len(jobs), timeout=PATIENCE)

    def run(function: Callable[..., Any], *arguments: Any) -> Any:
        barrier.wait()
        return function(store, *arguments)

    with quick_switches(), ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(PATIENCE) for future in [pool.submit(run, *job) for job in jobs]]


@contextmanager
def quick_switches() -> Iterator[None]:
    """Let threads take turns so often that what they may not do at the same time goes wrong soon."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def context() -> ForkServerContext | SpawnContext:
    """Return how processes start: each a fork of one that has imported what all need, and has done nothing else."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([f"{__package__}.work"])
    return forking


class Worker:
    """A process that does jobs, each with a store it makes itself, and says what they return or yield."""

    def __init__(self) -> None:
        self.pipe, theirs = context().Pipe()
        self.process: BaseProcess = context().Process(target=_work, args=(theirs, dict(os.environ)), daemon=True)
        self.process.start()
        theirs.close()

    def hear(self, patience: float = PATIENCE) -> Any:
        """Return the next thing the process says; raise what it failed with."""
        if not self.pipe.poll(patience):
            raise AssertionError(f"a process did not answer within {patience:g} s")
        kind, value = self.pipe.recv()
        if kind == "error":
            raise AssertionError(f"in another process:\n{value}")
        return value

    def start(self, recipe: Recipe, clock: Callable[[], float] | None, job: Job) -> None:
        """Let the process make its store, and wait until it is ready to go."""
        self.pipe.send((recipe, clock, job))
        self.hear()

    def go(self) -> None:
        self.pipe.send("go")

    def kill(self) -> list[Any]:
        """End the process, whatever it is doing; return what it had said that nobody heard yet."""
        self.process.kill()
        self.process.join(PATIENCE)
        said = []
        with contextlib.suppress(EOFError, OSError):  # the pipe ends with the process, perhaps in mid-word
            while True:
                said.append(self.hear())
        self.pipe.close()
        return said


class Crew:
    """Processes that do jobs at the same time; they are started when they are first needed."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []

    def do(self, recipe: Recipe, clock: Callable[[], float], _: SessionStore, jobs: Sequence[Job]) -> list[Any]:
        """Do the jobs, each in a process and with a store of its own, and return their results."""
        while len(self.workers) < len(jobs):
            self.workers.append(Worker())
        chosen = list(zip(self.workers, jobs, strict=False))
        for worker, job in chosen:
            worker.start(recipe, clock, job)
        for worker, _job in chosen:
            worker.go()
        return _all_of(worker.hear for worker, _job in chosen)

    def dismiss(self) -> None:
        for worker in self.workers:
            worker.kill()


def runner(kind: str, crew: Crew, recipe: Recipe, clock: Callable[[], float],
           store: SessionStore) -> Callable[..., list[Any]]:
    """Return the function that does jobs as the kind of race wants it."""
    if kind == "processes":
        return partial(crew.do, recipe, clock, store)
    return partial(in_threads if kind == "threads" else in_turn, store)


def _all_of(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """Call everything, then raise the first error: an answer left in its pipe would be taken for the next one."""
    results, errors = [], []
    for call in calls:
        try:
            results.append(call())
        except AssertionError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return results


def _work(pipe: Connection, environment: dict[str, str]) -> None:
    os.environ.clear()  # it is that of the time when the first process started
    os.environ.update(environment)
    while True:
        try:
            recipe, clock, (function, *arguments) = pipe.recv()
        except EOFError:
            return
        try:
            _do(pipe, recipe.make(**({"clock": clock} if clock else {})), function, arguments)
        except BaseException:
            pipe.send(("error", traceback.format_exc()))


def _do(pipe: Connection, store: SessionStore, function: Callable[..., Any], arguments: list[Any]) -> None:
    try:
        pipe.send(("ready", None))
        pipe.recv()
        result = function(store, *arguments)
        for said in result if isinstance(result, Iterator) else [result]:
            pipe.send(("done", said))
    finally:
        store.close()
