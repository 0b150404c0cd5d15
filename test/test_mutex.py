"""A mutex is free again whatever interrupts those who use it."""

from __future__ import annotations

import ctypes
import inspect
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from session2 import StoreUnavailable
from session2.mutex import Mutex, Place, Places

sys.path.insert(0, str(Path(__file__).parent / "store"))
from interrupted import interrupted_everywhere, interrupted_twice


class Interruption(BaseException):
    pass


@pytest.fixture
def storm() -> Iterator[None]:
    """Raise an exception in the main thread, again and again, wherever it is."""
    def interrupt(*_: object) -> None:
        raise Interruption

    before = signal.signal(signal.SIGALRM, interrupt)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def is_free(mutex: Mutex) -> bool:
    """Tell whether another thread gets in."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(mutex.run, lambda: True, 0, "busy").result()


def test_one_at_a_time() -> None:
    mutex, inside, most = Mutex(), [], []

    def action() -> None:
        inside.append(1)
        most.append(len(inside))
        time.sleep(0)
        inside.pop()

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: mutex.run(action, 10, "busy"), range(2000)))
    assert max(most) == 1


def test_the_wait_is_bounded() -> None:
    mutex, entered, over = Mutex(), threading.Event(), threading.Event()
    with ThreadPoolExecutor(1) as threads:
        threads.submit(mutex.run, lambda: entered.set() or over.wait(), 1, "")
        entered.wait()
        for seconds in (0.01, 0, -1):
            with pytest.raises(StoreUnavailable, match=r"^all are busy$"):
                mutex.run(list, seconds, "all are busy")
        over.set()
    assert mutex.run(lambda: 5, 1e300, "busy") == 5


def test_what_fails_inside_leaves_it_free() -> None:
    mutex = Mutex()
    for error in (ValueError, KeyboardInterrupt, SystemExit):
        with pytest.raises(error):
            mutex.run(lambda error=error: (_ for _ in ()).throw(error), 1, "busy")
    assert is_free(mutex)


def test_a_thread_does_not_enter_twice_and_does_not_wait_for_itself() -> None:
    mutex = Mutex()

    def outer() -> str:
        with pytest.raises(StoreUnavailable, match="busy"):
            mutex.run(list, 300, "busy")
        assert not any(_enters(mutex) for _ in range(3))
        return "done"

    assert mutex.run(outer, 1, "busy") == "done"
    assert is_free(mutex)


def _enters(mutex: Mutex) -> bool:
    try:
        return is_free(mutex)
    except StoreUnavailable:
        return False


def test_a_signal_may_arrive_at_any_moment(storm: None) -> None:
    """With `acquire` before the ``try`` this leaves the mutex locked after a few hundred signals."""
    mutex, interrupted, done = Mutex(), 0, 0
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, 2e-5)
            for _ in range(100):
                mutex.run(int, 5, "a signal left it locked")
                done += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interruption:
            interrupted += 1
    assert min(interrupted, done) > 200
    assert is_free(mutex)


def test_an_exception_at_each_instruction() -> None:
    """Every place at which an interpreter may look for signals, one after the other."""
    mutex = Mutex()
    for number in range(200):
        count = 0

        def trace(frame: object, event: str, _: object, number: int = number) -> object:
            nonlocal count
            if frame.f_code is Place.run.__code__:
                frame.f_trace_opcodes = True
                count += event == "opcode"
                if event == "opcode" and count == number and frame.f_lineno < _release_line():
                    raise Interruption
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            mutex.run(int, 1, "busy")
        except Interruption:
            pass
        finally:
            sys.settrace(before)
        assert is_free(mutex), number


def _release_line() -> int:
    """Return the line of the ``finally`` before whose first call no signal is looked for."""
    lines, first = inspect.getsourcelines(Place.run)
    return first + next(number for number, line in enumerate(lines) if "finally:" in line)


def test_two_signals_at_once_leave_it_free() -> None:
    mutex, places = Mutex(), Places(1)
    interrupted_twice(lambda action: mutex.run(action, 1, "busy"))
    assert is_free(mutex)
    interrupted_twice(lambda action: places.run(lambda *_: action(), None, 1, "busy"))
    assert free_places(places) == 1


def test_threads_that_are_interrupted_while_they_wait() -> None:
    mutex, over, ended = Mutex(), threading.Event(), []

    def work() -> None:
        while not over.is_set():
            try:
                mutex.run(lambda: time.sleep(0.0001), 10, "left locked")
            except Interruption:
                ended.append(1)
                return

    for _ in range(50):
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads[:3]:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Interruption))
        over.set()
        for thread in threads:
            thread.join()
        over.clear()
        assert is_free(mutex)


def the_place(place: Place, _: None) -> Place:
    return place


def test_each_place_is_somebodys_alone() -> None:
    places, inside, most = Places(3), set(), []

    def action(place: Place, inside: set[Place]) -> None:
        assert place not in inside
        inside.add(place)
        most.append(len(inside))
        time.sleep(0)
        inside.remove(place)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: places.run(action, inside, 10, "busy"), range(2000)))
    assert max(most) <= 3
    assert not inside


def test_the_wait_for_a_place_is_bounded_and_ends_when_one_is_free() -> None:
    places, entered, over = Places(2), threading.Barrier(3), threading.Event()
    with ThreadPoolExecutor(2) as threads:
        busy = [threads.submit(places.run, lambda *_: entered.wait() >= 0 and over.wait(), None, 1, "")
                for _ in range(2)]
        entered.wait()
        with pytest.raises(StoreUnavailable, match="all are busy"):
            places.run(the_place, None, 0.05, "all are busy")
        threading.Timer(0.05, over.set).start()
        assert places.run(the_place, None, 30, "busy") in places._hall().places
        assert all(one.result() for one in busy)


def test_who_comes_stands_in_line_behind_who_waits() -> None:
    """Even if a place is free at the moment."""
    places, entered, over = Places(1), threading.Event(), threading.Event()

    def wait_first() -> None:
        places._hall().is_awaited = True
        entered.set()
        over.wait()

    with ThreadPoolExecutor(1) as threads:
        threads.submit(places._door.run, wait_first, 10, "")
        entered.wait()
        with pytest.raises(StoreUnavailable, match="in line"):
            places.run(the_place, None, 0, "in line")
        over.set()
    assert places.run(the_place, None, 10, "busy") in places._hall().places
    assert not places._hall().is_awaited, "who was served last leaves nobody waiting"


def test_a_thread_gets_another_place_when_it_asks_again() -> None:
    """As when a handler of a signal uses the store while a statement is under way."""
    places = Places(2)

    def outer(first: Place, _: None) -> None:
        assert places.run(the_place, None, 1, "busy") is not first
        with pytest.raises(StoreUnavailable, match="busy"):
            places.run(lambda *_: places.run(the_place, None, 0.01, "busy"), None, 1, "")

    places.run(outer, None, 1, "busy")
    assert free_places(places) == 2


def test_who_is_interrupted_anywhere_gives_his_place_back() -> None:
    places = Places(2)
    for number in interrupted_everywhere(lambda: places.run(the_place, None, 1, "busy")):
        assert free_places(places) == 2, f"interrupted at step {number}"


def test_who_is_interrupted_while_waiting_for_a_place_leaves_nobody_waiting() -> None:
    places, entered, over = Places(1), threading.Event(), threading.Event()

    def wait_in_vain() -> None:
        with suppress(StoreUnavailable):
            places.run(the_place, None, 0.002, "busy")

    with ThreadPoolExecutor(1) as threads:
        threads.submit(places.run, lambda *_: entered.set() or over.wait(), None, 1, "")
        entered.wait()
        for number in interrupted_everywhere(wait_in_vain):
            assert not places._hall().is_awaited, f"interrupted at step {number}"
        over.set()
    assert free_places(places) == 1


def free_places(places: Places) -> int:
    seen: list[Place] = []
    with ThreadPoolExecutor(1) as threads:
        threads.submit(places.visit_free, seen.append).result()
    return len(seen)


def test_a_signal_loses_no_place(storm: None) -> None:
    places, interrupted, done = Places(3), 0, 0
    end = time.monotonic() + 2
    while time.monotonic() < end:
        try:
            signal.setitimer(signal.ITIMER_REAL, 4e-5)
            for _ in range(100):
                places.run(the_place, None, 5, "a signal left all taken")
                done += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        except Interruption:
            interrupted += 1
    assert min(interrupted, done) > 100
    assert free_places(places) == 3


@pytest.mark.parametrize("fork", ["os.fork()", "ctypes.PyDLL(None).fork()"], ids=["python", "c"])
def test_a_forked_child_begins_with_a_free_one(fork: str) -> None:
    """Both when another thread is inside and when the one that forks is."""
    program = f"""
import ctypes, os, threading
from session2.mutex import Mutex, Places

mutex, entered, over = Mutex(), threading.Event(), threading.Event()

def child():
    if not {fork}:
        os._exit(0 if mutex.run(lambda: 5, 0, "busy") == 5 else 1)
    return os.wait()[1]

thread = threading.Thread(target=mutex.run, args=(lambda: (entered.set(), over.wait()), 1, ""))
thread.start()
entered.wait()
assert child() == 0
over.set()
thread.join()
assert mutex.run(child, 1, "busy") == 0
assert mutex.run(lambda: 7, 1, "busy") == 7
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True,
                          timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
