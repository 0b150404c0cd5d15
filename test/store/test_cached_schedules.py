"""A cache and the store behind it keep the rules of the design in every schedule, whatever the cache loses when."""

import logging

import pytest
from tiers import explored, some

from session2.errors import Conflict
from session2.store.cached.front import Front
from session2.store.cached.pace import Pace
from session2.store.cached.standing import Standing
from session2.testing.schedules import Depth, Scenario
from session2.testing.schedules.programs import LOG_OUT, LOOK, SET
from session2.testing.schedules.scenarios import pairs, singles, triples


@pytest.fixture(autouse=True)
def quiet():
    """Nobody reads what thousands of schedules log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def all_well(scenarios, depth, **options):
    schedules, stories = explored(scenarios, depth, **options)
    if stories:
        pytest.fail(f"{len(stories)} scenarios break a rule; the shortest:\n{stories[0]}", pytrace=False)
    return schedules


def test_without_a_window_nothing_is_lost_whatever_goes_wrong_and_whatever_the_cache_loses():
    assert all_well(some(singles(), 20), Depth(None, faults=True), max_stale_count=1) > 40
    assert all_well(some(pairs(), 200, 7), Depth(0, faults=True), max_stale_count=1) > 40


def test_without_a_window_all_interleavings_are_well():
    assert all_well(some(pairs(), 100), Depth(1), max_stale_count=1) > 40


def test_with_a_window_nothing_is_lost_as_long_as_the_cache_loses_nothing():
    assert all_well(some(pairs(), 200, 3), Depth(0, faults=True), losses=False) > 40
    assert all_well(some(pairs(), 120, 11), Depth(1), losses=False) > 40
    assert all_well(some(triples(), 150), Depth(1), losses=False, max_stale_count=2) > 40


def test_with_a_window_nothing_comes_back_when_the_cache_loses_something():
    assert all_well(some(pairs(), 200, 5), Depth(0, faults=True), weakly=True) > 40


# -- the schedules find what is wrong ----------------------------------------------------------------------------------


def nothing_is_claimed(patch):
    """Who writes to the store leaves the old copy in the cache meanwhile, and puts the new one over it."""
    def claim(self, key, expected):
        found = self.copy(key)
        if found is not None and (expected is None or not found.version.is_same(expected)):
            raise Conflict("changed")
        return found.version if found is not None else Standing(None, None)
    patch.setattr(Front, "claim", claim)


def cache_first(patch):
    """What ended is in the cache, and the store is told now and then."""
    patch.setattr(Pace, "is_due", lambda *_: False)


def claims_are_believed(patch):
    """A copy that somebody is about to replace is as good as any."""
    patch.setattr(Front, "believes", lambda self, standing: standing.mark is not None)


def older_stays(patch):
    """Whose claim was lost looks for nothing that took its place."""
    patch.setattr(Front, "remove_older", lambda *_: None)


@pytest.mark.parametrize(("fault", "programs", "options"), [
    (nothing_is_claimed, (SET, LOG_OUT), {"max_stale_count": 1}),
    (cache_first, (LOG_OUT, LOOK), {}),
    (claims_are_believed, (LOG_OUT, SET), {"max_stale_count": 1}),
    (older_stays, (LOOK, LOG_OUT), {"max_stale_count": 1}),
], ids=lambda value: getattr(value, "__name__", None))
def test_fault_is_found(monkeypatch, fault, programs, options):
    fault(monkeypatch)
    _, stories = explored([Scenario(programs)], Depth(1, faults=True), **options)
    assert stories
