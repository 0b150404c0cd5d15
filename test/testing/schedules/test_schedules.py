"""Overlapping requests keep the rules of the design in every schedule; `make explore` goes deeper."""

import logging

import pytest

from session2.testing.schedules import Depth, Exploration, Scenario
from session2.testing.schedules.programs import COUNT, LOCK_EMPTY, LOCK_LOOK, LOOK, REVOKE
from session2.testing.schedules.scenarios import LIMITED, LOCKED, pairs, singles, triples


@pytest.fixture(autouse=True)
def quiet():
    """Nobody reads what thousands of schedules log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def explored(scenarios, depth):
    """Run them all; return how many schedules there were, and fail with the shortest story."""
    exploration = Exploration()
    for scenario in scenarios:
        exploration.explore(scenario, depth)
    if exploration.failures:
        story = min(map(str, exploration.failures), key=len)
        pytest.fail(f"{len(exploration.failures)} scenarios break a rule; the shortest:\n{story}", pytrace=False)
    return exploration.schedules


def test_one_request_and_all_that_can_go_wrong():
    assert explored(singles(), Depth(None, faults=True)) > 1000


def test_two_requests_in_all_interleavings():
    assert explored(list(pairs())[::2], Depth()) > 5000


def test_two_requests_and_all_that_can_go_wrong():
    some = [scenario for scenario in pairs() if len(scenario.options) != 1 and scenario.age is not None]
    assert explored(some[::3], Depth(0, faults=True)) > 3000


def test_three_requests():
    some = list(triples())[::6]
    assert explored(some, Depth(1)) > 1000


def test_a_schedule_is_the_same_each_time_it_is_run():
    counts = set()
    for _ in range(3):
        exploration = Exploration()
        for scenario in list(pairs())[::40]:
            exploration.explore(scenario, Depth())
        counts.add(exploration.schedules)
    assert len(counts) == 1


# Of programs that wait for locks, or look for all sessions of a user, these few: others have 100,000 schedules.
GUISES = [*(scenario for scenario in list(pairs())[::60]
            if LIMITED not in scenario.options and not {*scenario.programs} & {*LOCKED}),
          Scenario((COUNT, COUNT)), Scenario((LOCK_LOOK, LOCK_EMPTY)), Scenario((LOOK, REVOKE), "ann")]


@pytest.mark.parametrize("scenario", GUISES, ids=str)
def test_what_is_left_out_is_only_another_guise(scenario):
    """All schedules, none left out as equal to another one, are no fewer and find nothing more."""
    reduced, all_of_them = Exploration(), Exploration()
    reduced.explore(scenario, Depth())
    all_of_them.explore(scenario, Depth(20))
    assert all_of_them.schedules >= reduced.schedules > 0
    assert not all_of_them.failures
