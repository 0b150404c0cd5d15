"""Random histories: every store must tell the same story as a model in plain dicts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from ...errors import LockTimeout
from ...manager import SessionManager
from ...record import Outcome
from ...store.lease import Lease
from ...store.records import can_merge
from ..fakes import Clock
from .claims import Sized
from .recipe import Recipe
from .shop import Shop

IDLE, LIFETIME, LEASE = 100.0, 500.0, 60.0

USERS = st.sampled_from(["anna", "bert"])
KEYS = st.sampled_from("abc")
VALUES = st.integers(0, 3)
PICK = st.integers(0, 1000)


@dataclass
class Known:
    """What the model knows of one session."""

    data: dict[str, int]
    user: str | None
    created: float
    accessed: float
    over: bool = False
    """Logged out, revoked or replaced by another id."""
    first: str | None = None
    """The id it had before any login."""

    def is_live(self, now: float) -> bool:
        return not self.over and min(self.accessed + IDLE, self.created + LIFETIME) > now


@dataclass
class Copy:
    """A session that a request has loaded and will save."""

    id: str
    session: Shop
    base: dict[str, int]
    mine: dict[str, int] = field(default_factory=dict)


class History(RuleBasedStateMachine):
    """Any order of loads, changes, saves, logins, logouts, revocations, locks, purges and waits."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.clock = Clock()
        self.clock.now //= 1  # sums of whole seconds are exact: a history goes the same way whenever it begins
        self.store = recipe.make(clock=self.clock)
        self.store.setup(drop=self.store.can_list)
        self.can_merge = can_merge(type(self.store))
        self.manager = SessionManager(self.store, Shop, idle_timeout=IDLE, lifetime=LIFETIME, touch_interval=0,
                                      lock_timeout=0, lock_lease=LEASE)
        self.known: dict[str, Known] = {}
        self.copies: list[Copy] = []
        self.locks: dict[str, tuple[Lease, float]] = {}

    def teardown(self) -> None:
        for lease, _ in self.locks.values():
            lease.release()
        self.store.close()

    @rule(user=st.none() | USERS, key=KEYS, value=VALUES)
    def begin(self, user: str | None, key: str, value: int) -> None:
        session = self.manager.new_session()
        session[key] = value
        session.user = user
        assert self.manager.save(session) is Outcome.SAVED
        self.known[str(session.id)] = Known({key: value}, user, self.clock(), self.clock())

    @precondition(lambda self: self.known and (self.can_merge or not self.copies))
    @rule(pick=PICK)
    def load(self, pick: int) -> None:
        id = self._pick(pick)
        session = self.manager.load(id)
        assert (session is not None) is self.known[id].is_live(self.clock())
        if session is not None:
            data = self.known[id].data
            self.copies.append(Copy(id, session, dict(data), dict(data)))

    @precondition(lambda self: self.copies)
    @rule(pick=PICK, key=KEYS, value=st.none() | VALUES)
    def change(self, pick: int, key: str, value: int | None) -> None:
        copy = self.copies[pick % len(self.copies)]
        for mapping in (copy.session.data, copy.mine):
            if value is None:
                mapping.pop(key, None)
            else:
                mapping[key] = value

    @precondition(lambda self: self.copies)
    @rule(pick=PICK)
    def save(self, pick: int) -> None:
        copy = self.copies[pick % len(self.copies)]
        known = self.known[copy.id]
        outcome = self.manager.save(copy.session)
        if not known.is_live(self.clock()):
            # Who changed nothing need not learn that the session has ended; nothing is restored either way.
            assert outcome in (Outcome.GONE, Outcome.REPLACED) or copy.base == copy.mine
            self.copies.remove(copy)
            return
        assert outcome in (Outcome.SAVED, Outcome.UNCHANGED)
        self._apply(copy, known)
        if copy.mine != copy.base:
            copy.base, copy.mine = dict(known.data), dict(known.data)
        known.accessed = self.clock()

    @precondition(lambda self: self.copies)
    @rule(pick=PICK, user=st.none() | USERS)
    def log_in(self, pick: int, user: str | None) -> None:
        copy = self.copies.pop(pick % len(self.copies))
        known = self.known[copy.id]
        changes = user != known.user
        copy.session.user = user
        outcome = self.manager.save(copy.session)
        if not known.is_live(self.clock()):
            assert outcome in (Outcome.GONE, Outcome.REPLACED) or not (changes or copy.base != copy.mine)
            return
        self._apply(copy, known)
        known.accessed = self.clock()
        if changes:
            known.over = True
            first = known.first or copy.id
            self.known[str(copy.session.id)] = Known(known.data, user, known.created, self.clock(), first=first)
        assert (copy.session.id != copy.id) is changes

    @precondition(lambda self: self.known)
    @rule(pick=PICK)
    def log_out(self, pick: int) -> None:
        id = self._pick(pick)
        self.manager.delete(id)
        self.known[id].over = True

    @precondition(lambda self: self.store.can_list)
    @rule(user=USERS)
    def revoke(self, user: str) -> None:
        live = [known for known in self.known.values() if known.user == user and known.is_live(self.clock())]
        assert self.manager.revoke_user(user) == len(live)
        for known in live:
            known.over = True

    @precondition(lambda self: self.known and self.can_merge)
    @rule(pick=PICK)
    def lock(self, pick: int) -> None:
        id = self._pick(pick)
        known = self.known[id]
        # The lock is that of the session under whatever id; of what is over nothing but the id is known.
        name = known.first if known.first is not None and known.is_live(self.clock()) else id
        held = name in self.locks and self.locks[name][1] > self.clock()
        try:
            lease = self.manager.lock(id)
        except LockTimeout:
            assert held
        else:
            assert not held
            self.locks[name] = lease, self.clock() + LEASE

    @precondition(lambda self: self.locks)
    @rule(pick=PICK)
    def unlock(self, pick: int) -> None:
        lease, _ = self.locks.pop(list(self.locks)[pick % len(self.locks)])
        lease.release()

    @rule()
    def purge(self) -> None:
        self.store.purge(batch=2)

    @rule(seconds=st.sampled_from([1.0, 40.0, 61.0, 99.0, 101.0, 450.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @invariant()
    def the_store_tells_the_same(self) -> None:
        live = {id: known for id, known in self.known.items() if known.is_live(self.clock())}
        found = {id: self.manager.load(id) for id in self.known}
        assert {id: (session.data, session.user) for id, session in found.items() if session is not None} == {
            id: (known.data, known.user) for id, known in live.items()}
        for user in ("anna", "bert") if self.store.can_list else ():
            assert len(list(self.manager.sessions_of(user))) == sum(known.user == user for known in live.values())

    def _pick(self, number: int) -> str:
        return list(self.known)[number % len(self.known)]

    def _apply(self, copy: Copy, known: Known) -> None:
        for key in {*copy.base, *copy.mine}:
            if copy.base.get(key) == copy.mine.get(key):
                continue
            if key in copy.mine:
                known.data[key] = copy.mine[key]
            else:
                known.data.pop(key, None)


class ModelTests(Sized):
    """The store against the model."""

    def test_random_histories(self, recipe: Recipe) -> None:
        def start() -> Any:
            return History(recipe)

        run: Any = run_state_machine_as_test  # its types differ from one Hypothesis to the next
        run(start, settings=settings(
            max_examples=self.times(25), stateful_step_count=30, deadline=None, database=None,
            suppress_health_check=list(HealthCheck)))
