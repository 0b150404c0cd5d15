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


@pytest.mark.parametrize("step", [5 * HOUR, -5 * HOUR])
def test_a_step_is_absorbed_and_time_moves_forward(step: float) -> None:
    machine = Machine()
    before = machine.clock()
    machine.wall += step
    assert machine.clock() == before
    for _ in range(100):
        earlier = machine.clock()
        machine.pass_time(100)
        assert 89 < machine.clock() - earlier < 111
    machine.pass_time(10 * abs(step))
    assert machine.clock() == pytest.approx(machine.wall)


@pytest.mark.parametrize("step", [5 * HOUR, -5 * HOUR])
def test_a_step_neither_expires_nor_revives_sessions(step: float) -> None:
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
    assert manager.load(live.id) is not None
    assert manager.load(expired.id) is None
    machine.pass_time(100)
    assert manager.load(live.id) is not None
    assert manager.load(expired.id) is None
    machine.pass_time(HOUR)
    assert manager.load(live.id) is None
