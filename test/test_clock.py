"""The wall clock without its jumps."""

from typing import Any

import pytest

from session2 import DictSession, SessionManager
from session2.clock import SteadyClock
from session2.session import ties
from session2.store.volatile import VolatileSessionStore

HOUR = 3600.0


class Machine:
    """A machine whose wall clock can be set."""

    def __init__(self) -> None:
        self.wall, self.elapsed = 1.8e9, 5000.0
        self.clock = SteadyClock(lambda: self.wall, lambda: self.elapsed)

    def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds / 10)):
            self.wall += 10
            self.elapsed += 10
            self.clock()


def test_it_goes_by_the_wall_clock() -> None:
    machine = Machine()
    assert machine.clock() == 1.8e9
    machine.pass_time(100)
    assert machine.clock() == pytest.approx(1.8e9 + 100)


def test_the_wall_clock_is_looked_at_once_in_a_moment() -> None:
    looks = iter([1.8e9, 1.8e9 + 1, 1.8e9 + 2])
    elapsed = iter([5000.0, 5001.0, 5001.009, 5002.0])
    clock = SteadyClock(lambda: next(looks), lambda: next(elapsed))
    assert [clock() - 1.8e9 for _ in range(3)] == pytest.approx([1, 1.009, 2], abs=0.001)


@pytest.mark.parametrize("step", [55.0, -55.0])
def test_a_small_step_is_absorbed_and_time_moves_forward(step: float) -> None:
    machine = Machine()
    before = machine.clock()
    machine.wall += step
    assert machine.clock() == before
    for _ in range(5):
        earlier = machine.clock()
        machine.pass_time(100)
        assert 89 < machine.clock() - earlier < 111
    machine.pass_time(100)
    assert machine.clock() == pytest.approx(machine.wall)


@pytest.mark.parametrize("step", [0, 55.0, -55.0])
def test_time_never_goes_back_between_two_looks_at_the_wall_clock(step: float) -> None:
    machine = Machine()
    machine.wall += step
    times = []
    for _ in range(1000):
        machine.wall += 0.0003
        machine.elapsed += 0.0003
        times.append(machine.clock())
    assert times == sorted(times)


@pytest.mark.parametrize("step", [HOUR, -HOUR, 72 * HOUR, -72 * HOUR, 50 * 365 * 24 * HOUR])
def test_a_large_step_is_believed_once_it_has_stood_for_a_minute(step: float) -> None:
    """A clock that was wrong when the machine was started, say: no worker may go by it for hours, or days."""
    machine = Machine()
    before = machine.clock()
    machine.wall += step
    for seconds in (10, 20, 30, 40, 50):
        machine.pass_time(10)
        assert machine.clock() == pytest.approx(before + seconds)
    machine.pass_time(20)
    assert machine.clock() == machine.wall


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_workers_agree_within_a_minute_whenever_they_were_started(step: float) -> None:
    machine = Machine()
    machine.wall += step
    recycled = SteadyClock(lambda: machine.wall, lambda: machine.elapsed)
    machine.clock()
    machine.pass_time(70)
    assert machine.clock() == recycled()


@pytest.mark.parametrize("step", [5 * HOUR, -5 * HOUR])
def test_a_step_that_is_taken_back_is_as_if_it_had_not_been(step: float) -> None:
    machine = Machine()
    for _ in range(5):
        before = machine.clock()
        machine.wall += step
        machine.pass_time(50)
        assert machine.clock() == pytest.approx(before + 50)
        machine.wall -= step
        machine.pass_time(50)
        assert machine.clock() == pytest.approx(before + 100)


@pytest.mark.parametrize("step", [5 * HOUR, -5 * HOUR])
def test_a_step_neither_expires_nor_revives_sessions_until_it_is_believed(step: float) -> None:
    machine = Machine()
    store = VolatileSessionStore(clock=machine.clock)
    manager: SessionManager[Any] = SessionManager(store, DictSession, idle_timeout=HOUR)
    live, expired = manager.new_session(), manager.new_session()
    expired["a"] = 1
    manager.save(expired)
    machine.pass_time(HOUR / 2)
    live["a"] = 1
    ties(live).created = ties(live).accessed = machine.clock()
    manager.save(live)
    machine.pass_time(HOUR / 2 + 100)
    machine.wall += step
    for _ in range(5):
        assert manager.load(live.id) is not None
        assert manager.load(expired.id) is None
        machine.pass_time(10)
