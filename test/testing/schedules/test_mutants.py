"""Each deliberate fault is found by some schedule, and breaks the rule that it is about."""

import logging
import sys
from pathlib import Path

import pytest

from session2.testing.schedules import Depth, Exploration, Scenario
from session2.testing.schedules.programs import (
    ADD,
    COUNT,
    EMPTY,
    FAIL,
    LOCK_NEW_ID,
    LOG_IN,
    LOG_OUT,
    LOOK,
    REVOKE,
    SAVE,
    SET,
)
from session2.testing.schedules.scenarios import LASTING, RENEWING

sys.path.insert(0, str(Path(__file__).parent))
import mutants

OLD = (LASTING, RENEWING)

FOUND_BY = {
    mutants.sends_the_cookie_without_asking: (
        Scenario((LOOK, LOG_IN), None, 1000.0, (LASTING,)), "the browser is left with the newest cookie"),
    mutants.emptying_is_a_logout: (Scenario((EMPTY, SET)), "nothing acknowledged is lost"),
    mutants.lock_is_of_the_key: (Scenario((COUNT, LOCK_NEW_ID)), "a lock excludes"),
    mutants.lock_is_not_handed_on: (Scenario((COUNT, LOCK_NEW_ID)), "a lock excludes"),
    mutants.old_before_new: (Scenario((LOG_IN,)), "what nobody ended lives"),
    mutants.leftovers_live: (Scenario((LOG_IN,)), "no record that nobody can reach"),
    mutants.nothing_is_taken_back: (Scenario((LOG_IN,)), "no record that nobody can reach"),
    mutants.late_answer_drops_the_cookie: (
        Scenario((SET, LOG_IN)), "a cookie is deleted only by the request that itself ended"),
    mutants.late_request_begins_anew: (
        Scenario((SET, LOG_IN)), "the browser is left with the newest cookie"),
    mutants.overwrites: (Scenario((SET, SET)), "nothing acknowledged is lost"),
    mutants.revives_what_ended: (Scenario((SET, LOG_OUT)), "an id that is dead stays dead"),
    mutants.takes_all_for_changed: (Scenario((SAVE, ADD)), "all that is added is counted once"),
    mutants.merges_by_the_later: (Scenario((ADD, ADD)), "all that is added is counted once"),
    mutants.lock_is_not_taken: (Scenario((COUNT, COUNT)), "a lock excludes"),
    mutants.lock_is_not_released: (Scenario((COUNT, COUNT)), "a lock that nobody holds is free"),
    mutants.ends_only_what_it_knows: (
        Scenario((SET, LOG_OUT), None, 1000.0, OLD), "nothing ended comes back"),
    mutants.revokes_once: (Scenario((LOOK, REVOKE), "ann", 1000.0, OLD), "nothing ended comes back"),
    mutants.failed_request_stores: (Scenario((FAIL,)), "a failed request leaves all as it was"),
    mutants.logout_is_forgotten: (Scenario((SET, LOG_OUT)), "nothing ended comes back"),
    mutants.renewal_answers_blindly: (
        Scenario((LOOK, LOG_IN), None, 1000.0, OLD), "the browser is left with the newest cookie"),
    mutants.untouched_counts_as_changed: (Scenario((SET, ADD)), "all that is added is counted once"),
}


@pytest.fixture(autouse=True)
def quiet():
    """Nobody reads what thousands of schedules log."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("mutant", FOUND_BY, ids=lambda mutant: mutant.__name__)
def test_fault_is_found(monkeypatch, mutant):
    scenario, rule = FOUND_BY[mutant]
    mutant(monkeypatch)
    exploration = Exploration(stop_at=1000)
    exploration.explore(scenario, Depth(1, faults=True))
    found = [failure for failure in exploration.failures if any(rule in each for each in failure.complaints)]
    others = sorted({each for failure in exploration.failures for each in failure.complaints})
    assert found, f"{exploration.schedules} schedules, and none breaks the rule; what broke: {others}"


def test_every_fault_is_looked_for():
    faults = {value for name, value in vars(mutants).items() if callable(value) and value.__module__ == "mutants"}
    assert faults == set(FOUND_BY)


def test_the_simplest_schedule_is_told_first(monkeypatch):
    mutants.overwrites(monkeypatch)
    exploration = Exploration()
    assert not exploration.explore(Scenario((SET, SET)), Depth())
    failure, = exploration.failures
    assert failure.plan.preemptions == 1
    assert str(failure).splitlines()[1:] == [
        "  BROKEN: nothing acknowledged is lost: 'set' was told that 'of 2' is stored",
        "  1 set begins with the cookie id-0",
        "  1 set read id-0: a session",
        "  2 set begins with the cookie id-0",
        "  2 set read id-0: a session",
        "  2 set read id-0: a session",
        "  2 set write id-0: a session",
        "  2 set is answered without a word on the cookie",
        "  1 set read id-0: a session",
        "  1 set write id-0: a session",
        "  1 set is answered without a word on the cookie",
        "  afterwards begins with the cookie id-0",
        "  afterwards read id-0: a session",
        "  afterwards is answered without a word on the cookie"]


@pytest.mark.parametrize("mutant", [mutants.overwrites, mutants.logout_is_forgotten, mutants.emptying_is_a_logout])
def test_what_is_left_out_would_show_no_other_fault(monkeypatch, mutant):
    mutant(monkeypatch)
    kinds = []
    for depth in (Depth(), Depth(20)):
        exploration = Exploration(stop_at=10 ** 6)
        exploration.explore(FOUND_BY[mutant][0], depth)
        kinds.append({each for failure in exploration.failures for each in failure.complaints})
    assert kinds[0] == kinds[1] != set()
