"""Waiting with growing pauses."""

import random
from collections.abc import Callable
from itertools import islice

import pytest

from session2.patience import attempts, pauses


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda least, most: most)


def count(time: Time, patience: float, sleep: Callable[[float], object] | None = None, **pauses: float) -> int:
    return sum(1 for _ in attempts(patience, clock=time.clock, sleep=sleep or time.sleep, **pauses))


def test_the_first_attempt_is_made_at_once(time: Time) -> None:
    next(attempts(5.0, clock=time.clock, sleep=time.sleep))
    assert time.slept == []


@pytest.mark.parametrize("patience", [0.0, -1.0])
def test_without_patience_there_is_one_attempt(time: Time, patience: float) -> None:
    assert count(time, patience) == 1
    assert time.slept == []


@pytest.mark.usefixtures("no_jitter")
def test_pauses_double_up_to_the_longest(time: Time) -> None:
    assert list(islice(pauses(0.25, 1.5), 6)) == [0.25, 0.5, 1.0, 1.5, 1.5, 1.5]


@pytest.mark.usefixtures("no_jitter")
def test_the_last_pause_ends_with_the_patience_and_is_followed_by_an_attempt(time: Time) -> None:
    assert count(time, 2.0, shortest=0.25, longest=1.0) == 5
    assert time.slept == [0.25, 0.5, 1.0, 0.25]


def test_every_pause_is_a_random_part_of_its_limit() -> None:
    random.seed(5)
    found = [list(islice(pauses(1.0, 8.0), 4)) for _ in range(500)]
    for limit, taken in zip((1.0, 2.0, 4.0, 8.0), zip(*found, strict=True), strict=True):
        assert 0 <= min(taken) < 0.05 * limit
        assert 0.95 * limit < max(taken) <= limit


def test_what_an_attempt_takes_counts(time: Time) -> None:
    began = []
    for _ in attempts(1.0, clock=time.clock, sleep=time.sleep):
        began.append(time.now)
        time.now += 0.6
    assert len(began) == 2


def test_a_sleep_may_be_cut_short(time: Time) -> None:
    woken = iter([True, True, False])

    def wait(seconds: float) -> None:
        time.sleep(0.0 if next(woken) else 10.0)

    assert count(time, 5.0, sleep=wait) == 4


def test_time_is_slept_through_by_default(monkeypatch: pytest.MonkeyPatch, time: Time) -> None:
    monkeypatch.setattr("time.monotonic", time.clock)
    monkeypatch.setattr("time.sleep", time.sleep)
    assert sum(1 for _ in attempts(1.0)) > 10
    assert sum(time.slept) == pytest.approx(1.0)
