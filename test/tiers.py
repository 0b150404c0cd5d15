"""The world of `session2.testing.schedules` with a cache in front: each primitive of cache and of store is a step."""

import contextlib
from functools import partial
from itertools import islice
from unittest import mock

from session2.errors import Conflict, StoreUnavailable
from session2.store.base import SessionStore
from session2.store.cached import CachedSessionStore
from session2.store.cached.standing import standing_of
from session2.store.volatile import VolatileSessionStore
from session2.testing.schedules import Exploration, course, explorer, rules
from session2.testing.schedules.baton import Op
from session2.testing.schedules.world import (
    Crash,
    Interrupt,
    World,
    _WatchedQueues,
    is_provisional,
    seen,
)
from session2.traces import is_lock

CACHE = "cache "
"""What the names and the keys of steps begin with that are done to the cache."""

LOSSES = ("evicted", "flushed")
"""What else goes wrong at a cache: before a step it loses the record, or everything."""


class Seen:
    """What a request would be given if all stood still; looks, and touches nothing."""

    def __init__(self, front, kept, margin):
        self.front, self.kept, self.margin = front, kept, margin

    def read(self, key):
        stored, found = self.kept.read(key), None if is_lock(key) else self.front.read(key)
        copied = None if found is None else standing_of(found)
        if copied is None or copied.version.mark is None:
            return self._stored(key, stored)
        if copied.version.claimed and (stored is None or stored.version != copied.version.base):
            return self._stored(key, stored)
        return copied

    def _stored(self, key, stored):
        if stored is None or is_lock(key) or stored.expires is None:
            return stored
        stored = stored._replace(expires=stored.expires - self.margin)
        return stored if stored.is_live(self.kept.clock()) else None

    def _look_up(self, key):
        return self.kept._look_up(key)

    def scan(self):
        keys = {key: None for store in (self.kept, self.front) for key, _ in store.scan()}
        return ((key, record) for key in keys if (record := self.read(key)) is not None)


class TieredWorld(World):
    """Records in a cache and in a store."""

    def __init__(self, margin):
        super().__init__()
        self.front = VolatileSessionStore(clock=lambda: self.now)
        self.kept = self.back
        self.back = Seen(self.front, self.kept, margin)
        self.lost = False


class Part(SessionStore):
    """The cache, or the store, of one process."""

    is_thread_safe = True

    def __init__(self, tier, back, prefix=""):
        super().__init__()
        self.tier, self.back, self.prefix = tier, back, prefix

    def _do(self, name, key, writes, act):
        return self.tier.step(self, Op(self.prefix + name, key if key == "*" else self.prefix + key, writes), key, act)

    def _here(self):
        """Return the records as they look to the clock of this view."""
        back = VolatileSessionStore.__new__(VolatileSessionStore)
        back.__dict__.update(self.back.__dict__, clock=self.clock)
        return back

    def read(self, key):
        return self._do("read", key, False, lambda: self._here().read(key))

    def _look_up(self, key):
        return self._do("read", key, False, lambda: self.back._look_up(key))

    def write(self, key, record, expected):
        name = "write" if expected is not None else "insert"
        return self._do(name, key, True, lambda: self._here().write(key, record, expected))

    def touch(self, key, accessed, expires):
        return self._do("touch", key, True, lambda: self._here().touch(key, accessed, expires))

    def remove(self, key, expected=None):
        self._do("remove", key, True, lambda: self._here().remove(key, expected))

    def scan(self):
        return self._do("scan", "*", False, lambda: self._here().scan())

    def purge(self, now=None, batch=1000, unused_since=None):
        return self._do("purge", "*", True, lambda: self._here().purge(now, batch))


class SteppedTier(CachedSessionStore):
    """What `SteppedStore` is, of two stores."""

    def __init__(self, world, number, step, **options):
        self.world, self.number, self._step = world, number, step
        self.crashed, self.fault, self.faulty, self.steps = False, "", "", 0
        self.wrote, self.waits_for = [], None
        self._number = number
        front, kept = Part(self, world.front, CACHE), Part(self, world.kept)
        kept.queues = _WatchedQueues(self)
        super().__init__(front, kept, clock=lambda: world.now + number / 1000, **options)

    def step(self, part, op, key, act):
        if self.crashed:
            raise Crash
        self.steps += 1
        if self.steps > 300:
            self.world.complaints.append("every request comes to its end: this one goes on and on")
            raise Crash
        fault = self._step(self.number, op)
        if fault:
            self.fault, self.faulty = fault, op.name
        if fault in LOSSES:
            self._lose(key, fault)
            fault = ""
        if fault == "error":
            self.world.tell(self.number, op.name, key, "is not available")
            raise StoreUnavailable("not available")
        if fault == "interrupt":
            self.world.tell(self.number, op.name, key, "interrupted before it was done")
            raise Interrupt
        return self._done(op, key, fault, act)

    def _lose(self, key, fault):
        self.world.lost = True
        self.world.tell(self.number, "the cache loses" + (" all" if fault == "flushed" else ""), key)
        for each in list(self.world.front._records) if fault == "flushed" else [key]:
            before = self.world.live(each)
            self.world.front.remove(each)
            if self.world.live(each) != before:
                self.world.noted(each, before)

    def _done(self, op, key, fault, act):
        before = self.world.live(key) if op.writes else None
        outcome = ""
        try:
            result = act()
        except Conflict:
            outcome = "conflict"
        if op.writes and not outcome:
            after = self.world.live(key)
            if after != before:
                self.world.noted(key, before)
                if not is_lock(key) and not is_provisional(after, self.world.now):
                    self.wrote.append(len(self.world.story))
            if op.name == "remove" and is_lock(key):
                self.world.inside.pop(self.number, None)
        self.world.tell(self.number, op.name, key, outcome or seen(op._replace(key=key), self.world.live(key),
                                                                   self.world.now))
        self.crashed = fault == "crash"
        if fault:
            self.world.tell(self.number, f"and then: {fault}")
        if fault == "lost answer":
            raise StoreUnavailable("the answer is lost")
        if fault == "interrupt after":
            raise Interrupt
        if outcome:
            raise Conflict("changed")
        return result


def _faults(op, of_old, losses):
    return (*of_old(op), *(LOSSES if losses and op.name.startswith(CACHE) and op.key != "*" else ()))


@contextlib.contextmanager
def in_tiers(losses=True, **options):
    """Have all scenarios run over a `CachedSessionStore` made with these options."""
    margin = 60.0 if options.get("max_stale_count") != 1 else 0.0
    with (mock.patch.object(course, "World", partial(TieredWorld, margin)),
          mock.patch.object(course, "SteppedStore", partial(SteppedTier, **options)),
          mock.patch.object(explorer, "_faults", partial(_faults, of_old=explorer._faults, losses=losses))):
        yield


OF_A_WINDOW = ("nothing_acknowledged_is_lost", "nothing_is_counted_twice", "what_nobody_ended_lives")
"""Rules that a cache which loses something may break, where the store does not have every save."""


OF_ANSWERS = ("the_browser_has_the_newest_cookie_that_lives",)
"""Between what a request writes to the store and its answer are more steps here, in which others may answer."""


def explored(scenarios, depth, weakly=False, **options):
    """Run scenarios over a tier; return how many schedules there were, and those in which a rule is broken."""
    left_out = (*(OF_A_WINDOW if weakly else ()), *(OF_ANSWERS if depth.preemptions else ()))
    kept = tuple(rule for rule in rules.RULES if rule.__name__ not in left_out)
    exploration = Exploration()
    with in_tiers(**options), mock.patch.object(rules, "RULES", kept):
        for scenario in scenarios:
            exploration.explore(scenario, depth)
    return exploration.schedules, sorted(map(str, exploration.failures), key=len)


def some(scenarios, every, first=0):
    """Return some of many scenarios, of every kind."""
    return list(islice(scenarios, first, None, every))
