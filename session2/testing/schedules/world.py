"""What overlapping requests share: records, a clock, browsers; and the store that asks before each primitive."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Final, Literal, NamedTuple, TypeVar
from unittest import mock

from ... import patience, tokens, traces
from ...errors import Conflict, StoreUnavailable
from ...record import Record, Version
from ...sessions import PROVISIONAL
from ...store.base import SessionStore
from ...store.lock import Line, Queues
from ...store.volatile import VolatileSessionStore
from .baton import Op

_R = TypeVar("_R")

Fault = Literal["", "crash", "error", "lost answer", "interrupt", "interrupt after"]
"""What goes wrong at a step: the process stops for ever once the step is done; nothing is done and the store says so;
it is done and the store says it was not; an exception from outside comes before it is done, or once it is."""

NOON: Final = 1_000_000.0

class Crash(BaseException):
    """Where a process stopped for ever, this keeps the rest of its program from doing anything."""


class Interrupt(BaseException):
    """A signal, a time limit or the like."""


class Event(NamedTuple):
    """A line of the story."""

    program: int | None
    text: str
    key: str = ""
    after: str = ""


class World:
    """The records, the time and the browsers that programs share, and what happened."""

    def __init__(self) -> None:
        self.now = NOON
        self.back = VolatileSessionStore(clock=lambda: self.now)
        self.names: dict[str, str] = {}
        """What keys are called in stories."""
        self.ids: list[str] = []
        self.current = 0
        self.makers: dict[str, int] = {}
        """Which program made the id of a key; 0: none of them."""
        self.changes: dict[str, int] = {}
        self.dead: set[str] = set()
        """Keys of sessions that were seen to be over."""
        self.story: list[Event] = []
        self.complaints: list[str] = []
        self.is_late = False
        """Whether leases may have lapsed: then two may work at the same time, and one of them in vain."""
        self.beside: list[Op] = []
        """What was done since the last step, and not by a primitive."""
        self.inside: dict[int, float] = {}
        """The programs that have a lock, and whose session they locked."""

    def new_id(self) -> str:
        """Return an id that is the same in each run of the same schedule."""
        name = f"id-{len(self.ids)}"
        id = f"{name}-".ljust(43, "A")
        key = tokens.hash_id(id)
        self.ids.append(id)
        self.makers[key] = self.current
        self.names.update({key: name, traces.lock_key(key): f"the lock of {name}"})
        return id

    def name_of(self, key: str) -> str:
        """Return what a key is called in a story."""
        return self.names.get(key, "a lock" if traces.is_lock(key) else key)

    def tell(self, program: int | None, text: str, key: str = "", after: str = "") -> None:
        """Add a line to the story."""
        self.story.append(Event(program, text, key, after))

    def stamp(self, key: str) -> tuple[int, float]:
        """Return something that is another when what is under a key was changed, or time has passed."""
        return self.changes.get(key, 0), self.now

    def live(self, key: str) -> Record | None:
        """Return what is under a key, without asking anybody."""
        return None if key == "*" else self.back.read(key)

    def follow(self, id: str | None) -> tuple[str, Record | None]:
        """Return what an id leads to in the end, and under which key."""
        key, record = "", None
        while id is not None:
            key = tokens.hash_id(id)
            record = self.live(key)
            id = None if record is None else traces.where_moved(record, id)
        return key, record

    def reach(self, id: str | None) -> str | None:
        """Return the key of the session that an id leads to, None if there is none."""
        key, record = self.follow(id)
        return key if record is not None and not traces.is_trace(record) else None

    def noted(self, key: str, before: Record | None) -> None:
        """Look at what a change made of a session: none that was over may be back."""
        self.changes[key] = self.changes.get(key, 0) + 1
        record = self.live(key)
        lives = record is not None and (not traces.is_trace(record) or traces.is_emptied(record))
        if lives and key in self.dead:
            self.complaints.append(f"an id that is dead stays dead: {self.name_of(key)} leads to a session again")
        if not lives and not traces.is_lock(key) and not is_provisional(before, self.now):  # one may be taken back
            self.dead.add(key)


class SteppedStore(SessionStore):
    """The store of one process, over the records of a world; the process serves one request.

    :param number: of the program.
    :param step: is told of each primitive before it is done; returns what goes wrong.
    """

    is_thread_safe = True

    def __init__(self, world: World, number: int, step: Callable[[int, Op], Fault]) -> None:
        super().__init__(clock=lambda: world.now + number / 1000)  # so that each session tells who began it
        self.world = world
        self.number = number
        self._step = step
        self.crashed = False
        self.fault: Fault = ""
        self.faulty = ""
        """The primitive at which it went wrong."""
        self.steps = 0
        self.wrote: list[int] = []
        """When this process stored something that was not provisional: how long the story was."""
        self.waits_for: tuple[str, tuple[int, float]] | None = None
        self.queues = _WatchedQueues(self)

    def read(self, key: str) -> Record | None:
        return self._do(Op("read", key), lambda: self.world.back.read(key))

    def _look_up(self, key: str) -> Record | None:
        return self._do(Op("read", key), lambda: self.world.back._look_up(key))

    def write(self, key: str, record: Record, expected: Version | None) -> Version:
        op = Op("write" if expected is not None else "insert", key, True)
        return self._do(op, lambda: self.world.back.write(key, record, expected))

    def touch(self, key: str, accessed: float, expires: float | None) -> bool:
        def touch() -> bool:
            self.world.back.touch(key, accessed, expires)
            return self.world.live(key) is not None
        return self._do(Op("touch", key, True), touch)

    def remove(self, key: str, expected: Version | None = None) -> None:
        self._do(Op("remove", key, True), lambda: self.world.back.remove(key, expected))

    def scan(self) -> Iterator[tuple[str, Record]]:
        return self._do(Op("scan"), self.world.back.scan)

    def purge(self, now: float | None = None, batch: int = 1000, unused_since: float | None = None) -> int:
        return self._do(Op("purge", writes=True), lambda: self.world.back.purge(now, batch))

    def _do(self, op: Op, act: Callable[[], _R]) -> _R:
        if self.crashed:
            raise Crash
        self.steps += 1
        if self.steps > 200:
            self.world.complaints.append("every request comes to its end: this one goes on and on")
            raise Crash
        fault = self._step(self.number, op)
        if fault:
            self.fault, self.faulty = fault, op.name
        if fault == "error":
            self.world.tell(self.number, op.name, op.key, "the store is not available")
            raise StoreUnavailable("not available")
        if fault == "interrupt":
            self.world.tell(self.number, op.name, op.key, "interrupted before it was done")
            raise Interrupt
        return self._done(op, fault, act)

    def _done(self, op: Op, fault: Fault, act: Callable[[], _R]) -> _R:
        before = self.world.live(op.key) if op.writes else None
        try:
            result = act()
        except Conflict:
            self._tell(op, "conflict", fault)
            if fault != "lost answer":
                raise
            raise StoreUnavailable("the answer is lost") from None
        if op.writes:
            self._noted(op, before)
        self._tell(op, "", fault)
        self.crashed = fault == "crash"
        if fault == "lost answer":
            raise StoreUnavailable("the answer is lost")
        if fault == "interrupt after":
            raise Interrupt
        return result

    def _noted(self, op: Op, before: Record | None) -> None:
        after = self.world.live(op.key)
        if op.name in ("insert", "write") and not traces.is_lock(op.key) and not is_provisional(after, self.world.now):
            self.wrote.append(len(self.world.story))
        if after != before:
            self.world.noted(op.key, before)
        if op.name == "remove" and traces.is_lock(op.key):
            self.world.inside.pop(self.number, None)

    def _tell(self, op: Op, outcome: str, fault: Fault) -> None:
        record = self.world.live(op.key)
        self.world.tell(self.number, op.name, op.key, outcome or seen(op, record, self.world.now))
        if fault:
            self.world.tell(self.number, {"crash": "and stops for ever", "lost answer": "but the answer is lost",
                                          "interrupt after": "and is interrupted"}[fault])


def is_provisional(record: Record | None, now: float) -> bool:
    """Tell whether nobody knows a session yet; so is what is not there."""
    return record is None or (not traces.is_trace(record) and record.expires is not None
                              and record.expires <= now + PROVISIONAL + 1)


def seen(op: Op, record: Record | None, now: float) -> str:
    """Return what a record is, for a story."""
    if record is None:
        return "nothing there"
    if traces.is_lock(op.key):
        return "held" if record.modified > now else "lapsed"
    if traces.is_trace(record):
        return "a trace: " + record.data[len(traces.MARK):].split(b"\n")[0].decode()
    return "a session" + (", provisional" if is_provisional(record, now) else "")


class _Freed:
    """Stands for the bell that somebody who waits for a lock waits for: other programs run meanwhile."""

    def __init__(self, store: SteppedStore, key: str) -> None:
        self._store, self._key = store, traces.lock_key(key)
        self._stamp = store.world.stamp(self._key)

    def clear(self) -> None:
        self._stamp = self._store.world.stamp(self._key)

    def wait(self, seconds: float) -> None:
        self._store.waits_for = self._key, self._stamp

    def ring(self) -> None:
        pass


class _WatchedQueues(Queues):
    """The waiters of one process, which is one program."""

    def __init__(self, store: SteppedStore) -> None:
        super().__init__()
        self._store = store

    def line(self, key: str) -> Line:
        line = super().line(key)
        line.freed = _Freed(self._store, key)  # type: ignore[assignment]
        return line


class _Here:
    """The world in which ids are made at the moment."""

    world = World()


def _new_id() -> str:
    return _Here.world.new_id()


@contextmanager
def no_waiting() -> Iterator[None]:
    """Let nobody sleep, and ids be those of the world at hand."""
    with mock.patch.object(patience, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=lambda _: None)), \
            mock.patch.object(tokens, "new_id", _new_id):
        yield


def enter(world: World) -> World:
    """Make this the world in which ids are made."""
    _Here.world = world
    return world
