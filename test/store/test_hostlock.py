"""Locks of the kernel: what they cost, and that they end with whoever has them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from c_fork import fork_in_c

from session2 import LockTimeout
from session2.errors import ConfigurationError, LockLost, StoreUnavailable
from session2.store import lockfile
from session2.store.hostlock import HostLease, HostLocks, NoBytes, _Here
from session2.store.lockfile import LockFile
from session2.testing.fakes import Clock

sys.path.insert(0, str(Path(__file__).parent))
from interrupted import interrupted_everywhere

KEY, OTHER = "0" * 64, "1" * 64

on_all_forks = pytest.mark.parametrize("fork", [os.fork, fork_in_c], ids=["python", "c"])

# A file that an interruption lost is closed by the collector, which warns of that.
collected = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")


class Site:
    """Two processes' locks, in one process: each has the file open for itself."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "locks"
        self.clock = Clock()
        self.one, self.two = self.locks(), self.locks()

    def locks(self) -> HostLocks:
        return HostLocks(partial(LockFile, str(self.path), str(self.path.parent)))

    def take(self, locks: HostLocks, key: str = KEY, seconds: float = 60.0) -> Any:
        return locks.acquire(key, 0, seconds, self.clock)

    def is_free(self, locks: HostLocks, key: str = KEY) -> bool:
        try:
            self.take(locks, key).release()
        except LockTimeout:
            return False
        return True


@pytest.fixture(params=["bytes of a file", "files"])
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    if request.param == "files":
        monkeypatch.setattr(lockfile, "_SET_LOCK", None)
    return Site(tmp_path)


def test_a_lock_excludes_threads_and_processes(site: Site) -> None:
    with site.take(site.one):
        assert not site.is_free(site.one)
        assert not site.is_free(site.two)
        assert site.is_free(site.one, OTHER)
        assert site.is_free(site.two, OTHER)
    assert site.is_free(site.one)
    assert site.is_free(site.two)


def test_nothing_is_written(site: Site) -> None:
    for number in range(100):
        with site.take(site.one, f"{number:064x}"):
            pass
    found = list(site.path.parent.iterdir())
    assert sum(file.stat().st_size for file in found) == 0
    assert len(found) <= 256


@on_all_forks
def test_a_lock_is_free_the_moment_its_holder_dies(site: Site, fork: Callable[[], int]) -> None:
    ready, tell = os.pipe()
    child = fork()
    if not child:
        lease = site.take(site.one)
        os.write(tell, b"x")
        signal.pause()
        lease.release()
    assert os.read(ready, 1) == b"x"
    assert not site.is_free(site.two)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with site.take(site.two) as lease:
        assert not lease.taken_over


@on_all_forks
def test_a_child_neither_has_its_parents_locks_nor_releases_them(site: Site, fork: Callable[[], int]) -> None:
    lease = site.take(site.one)
    child = fork()
    if not child:
        lease.release()
        os._exit(lease.is_held() or site.is_free(site.one) or not site.is_free(site.one, OTHER))
    assert os.waitpid(child, 0)[1] == 0
    assert lease.is_held()
    assert not site.is_free(site.two)
    lease.release()
    assert site.is_free(site.two)


@on_all_forks
def test_a_lock_does_not_outlive_its_holder_in_a_child(tmp_path: Path, fork: Callable[[], int]) -> None:
    """One that used the locks since, as every worker of a server does; where Python forks, each."""
    site = Site(tmp_path)
    (ready, tell), (over, end) = os.pipe(), os.pipe()
    parent = os.fork()
    if not parent:
        os.close(end)
        lease = site.take(site.one)
        if not fork():
            site.is_free(site.one, OTHER)
            os.write(tell, b"x")
            os.read(over, 1)
            os._exit(0)
        os.read(over, 1)
        lease.release()
    assert os.read(ready, 1) == b"x"
    assert not site.is_free(site.two)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert site.is_free(site.two)
    os.close(end)


def test_a_child_that_closed_what_it_inherited_keeps_what_it_opened(site: Site) -> None:
    with site.take(site.one):
        child = fork_in_c()
        if not child:
            inherited = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]
            for fd in inherited:
                with suppress(OSError):
                    os.close(fd)
            opened, null = [os.open(os.devnull, os.O_RDONLY) for _ in inherited], os.stat(os.devnull)
            was_free = site.is_free(site.one)
            os._exit(was_free or not all(os.path.samestat(os.fstat(fd), null) for fd in opened))
        assert os.waitpid(child, 0)[1] == 0


def test_a_child_that_closed_what_it_inherited_opens_it_again(site: Site) -> None:
    """As daemons do."""
    with site.take(site.one):
        child = fork_in_c()
        if not child:
            os.closerange(3, 256)
            os._exit(site.is_free(site.one) or not site.is_free(site.one, OTHER))
        assert os.waitpid(child, 0)[1] == 0


def test_who_closed_the_file_and_opened_another_locks_nothing_else(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (LockFile(str(tmp_path / "locks"), str(tmp_path)) for _ in range(2))
    fd = one.take(5, 0.0)
    assert isinstance(fd, int)
    os.close(fd)
    null = os.open(os.devnull, os.O_RDWR)
    assert null == fd
    monkeypatch.setattr(lockfile, "_TRUSTED", 0.0)
    assert one.take(5, 0.0) is not None
    assert two.take(5, 0.0) is None
    os.close(null)


def test_what_is_in_its_place_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockfile, "_TRUSTED", 0.0)
    file = LockFile(str(tmp_path / "locks"), str(tmp_path))
    assert len({file.take(byte, 0.0) for byte in range(5)}) == 1


def test_a_lock_is_that_of_one_byte_only(tmp_path: Path) -> None:
    one, two = (LockFile(str(tmp_path / "locks"), str(tmp_path)) for _ in range(2))
    assert None not in [one.take(byte, 0.0) for byte in (5, 6, 7)]
    one.give(one.take(6, 0.0), 6)
    assert [two.take(byte, 0.0) is None for byte in (4, 5, 6, 7, 8)] == [False, True, False, True, False]
    one.wait(6, True)
    assert [two.is_awaited(byte) for byte in (5, 6, 7)] == [False, True, False]
    one.wait(6, False)
    assert not two.is_awaited(6)


def test_a_file_that_a_child_has_open_too_is_unlocked_nevertheless(tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lockfile, "_SET_LOCK", None)
    one, two = (LockFile(str(tmp_path / "locks"), str(tmp_path)) for _ in range(2))
    taken = one.take(5, 0.0)
    assert isinstance(taken, FileIO)
    inherited = os.dup(taken.fileno())
    one.give(taken, 5)
    again = two.take(5, 0.0)
    assert again is not None
    two.give(again, 5)
    os.close(inherited)


def test_a_lease_that_nobody_has_any_more_is_no_lock(site: Site) -> None:
    lease = site.take(site.one)
    assert not site.is_free(site.two)
    del lease
    gc.collect()
    assert site.is_free(site.two)
    assert site.is_free(site.one)


def test_nor_is_one_that_was_lost_unnoticed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an interruption arrives just when the loss of a lease is noted."""
    with monkeypatch.context() as patch:
        patch.setattr(_Here, "_desert", lambda *_: None)
        lease = site.take(site.one)
    del lease
    gc.collect()
    assert site.is_free(site.one)
    assert site.is_free(site.two)


def test_a_lapsed_lease_is_taken_over_in_its_process_only(site: Site) -> None:
    stale = site.take(site.one)
    site.clock.advance(60)
    assert not site.is_free(site.two), "another process cannot tell"
    stale.check_time()
    lease = site.take(site.one)
    assert lease.taken_over
    for refused in (stale.check_time, stale.renew):
        with pytest.raises(LockLost):
            refused()
    stale.release()
    assert not site.is_free(site.two)
    lease.release()
    assert site.is_free(site.two)


def test_a_lease_lapses_also_where_the_clock_was_set_back(site: Site) -> None:
    slow = site.take(site.one, seconds=0.01)
    site.clock.advance(-7200)
    with site.one.acquire(KEY, 5, 60, site.clock) as taken:
        assert taken.taken_over
        assert not slow.is_held()


def test_what_was_left_unfenced_counts_as_taken_over(site: Site) -> None:
    stale = site.take(site.one)
    site.clock.advance(60)
    site.take(site.one).leave()
    assert site.take(site.one).taken_over
    assert not site.take(site.one).taken_over
    assert not stale.is_held()


def test_who_waits_gets_it_at_once(site: Site) -> None:
    lease, got = site.take(site.one), threading.Event()

    def wait() -> None:
        with site.one.acquire(KEY, 30, 60, site.clock):
            got.set()

    waiting = threading.Thread(target=wait)
    waiting.start()
    assert not got.wait(0.05)
    lease.release()
    assert got.wait(10)
    waiting.join()
    assert site.is_free(site.one)
    assert not site.one._here().lines


def test_a_file_that_lost_its_name_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path)
    old = site.take(site.one)
    site.path.unlink()
    monkeypatch.setattr(lockfile, "_TRUSTED", 0.0)
    with site.take(site.one, OTHER):
        assert not site.is_free(site.two, OTHER)
    assert old.is_held()
    old.release()
    assert site.is_free(site.two)


def test_nothing_takes_it_for_an_old_file(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.is_free(site.one)
    assert site.path.stat().st_mtime > 2e9
    assert site.path.stat().st_mode & 0o777 == 0o600


def test_what_others_may_have_put_there_is_refused(site: Site) -> None:
    place = site.path if lockfile._SET_LOCK is not None else Path(f"{site.path}-{_byte() % 256:02x}")
    (site.path.parent / "elsewhere").write_bytes(b"precious")
    place.symlink_to(site.path.parent / "elsewhere")
    with pytest.raises(StoreUnavailable):
        site.take(site.one)
    place.unlink()
    place.touch(0o666)
    place.chmod(0o666)
    with pytest.raises(ConfigurationError, match="can be written by everybody"):
        site.take(site.one)


def test_a_file_that_is_refused_is_not_left_open(site: Site) -> None:
    site.is_free(site.one)
    for file in site.path.parent.iterdir():
        file.chmod(0o666)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(ConfigurationError):
            site.take(site.two)
    assert len(os.listdir("/proc/self/fd")) == before


def _byte() -> int:
    from zlib import crc32

    return crc32(KEY.encode())


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    locks = HostLocks(partial(LockFile, str(tmp_path / "gone" / "locks"), str(tmp_path / "gone")))
    with pytest.raises(StoreUnavailable, match=r"lock file .*gone/locks cannot be used"):
        locks.acquire(KEY, 0, 60, Clock())
    assert not locks._here().held


INTERRUPTED = """
import random, signal, sys, threading, time
from session2 import LockTimeout
from session2.store.hostlock import HostLocks
from session2.store.lockfile import LockFile

path, folder = sys.argv[1:]
locks, others = (HostLocks(lambda: LockFile(path, folder)) for _ in range(2))
keys = [str(number) * 64 for number in range(3)]

class Interruption(BaseException):
    pass

def interrupt(*_):
    raise Interruption

signal.signal(signal.SIGALRM, interrupt)
interrupted = 0
while interrupted < 2000:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.0004))
        while True:
            with locks.acquire(random.choice(keys), 1, 60, time.time):
                pass
    except Interruption:
        interrupted += 1
for key in keys:
    locks.acquire(key, 1, 60, time.time).release()
    others.acquire(key, 1, 60, time.time).release()
"""


def test_interruptions_leave_no_lock(tmp_path: Path) -> None:
    program = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "locks"), str(tmp_path)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stderr) == (0, "")


def test_who_takes_a_lock_again_and_again_leaves_it_to_another_process(tmp_path: Path) -> None:
    site, got = Site(tmp_path), threading.Event()

    def wait() -> None:
        with site.two.acquire(KEY, 60, 60, site.clock):
            got.set()

    lease, turns = site.take(site.one), 0
    waiting = threading.Thread(target=wait)
    waiting.start()
    while not got.is_set():
        lease.release()
        lease = site.one.acquire(KEY, 60, 60, site.clock)
        turns += 1
    lease.release()
    waiting.join()
    assert turns < 1000, "it was hardly ever free at the moment when the other one looked"
    assert site.is_free(site.one)
    assert site.is_free(site.two)


@collected
def test_who_is_interrupted_anywhere_leaves_no_lock_to_other_processes(site: Site) -> None:
    """Also if nobody of the process that was interrupted ever asks for it again."""
    def take() -> None:
        with site.take(site.one):
            pass

    take()
    for _ in interrupted_everywhere(take):
        assert site.is_free(site.two)


@collected
def test_who_is_interrupted_while_releasing_and_keeps_the_lease_keeps_no_lock(site: Site) -> None:
    """A traceback may keep it for long, and so may its holder, who releases it once more."""
    kept = [site.take(site.one)]
    for number in interrupted_everywhere(lambda: kept[-1].release()):
        kept[-1].release()
        assert site.is_free(site.two), f"interrupted at step {number}"
        kept.append(site.take(site.one))


def test_what_is_just_being_released_is_neither_taken_over_nor_released_again() -> None:
    clock, met = Clock(), []

    class Meeting(NoBytes):
        """Lets others come in between the steps of a release."""

        def give(self, taken: int, byte: int) -> None:
            met.append(byte)
            lease.release()
            with pytest.raises(LockTimeout):
                locks.acquire(KEY, 0, 60, clock)

    locks = HostLocks(Meeting)
    lease = locks.acquire(KEY, 0, 60, clock)
    clock.advance(60)
    lease.release()
    assert len(met) == 1
    assert not locks.acquire(KEY, 0, 60, clock).taken_over


def test_of_threads_that_take_over_and_release_at_once_one_has_the_lock(tmp_path: Path) -> None:
    """Each lease runs out at once, so all take over from each other, and none may unlock what another one has."""
    site, failed = Site(tmp_path), []

    def work() -> None:
        for _ in range(200):
            lease = site.one.acquire(KEY, 60, 0.0, site.clock)
            if lease.is_held() and site.is_free(site.two) and lease.is_held():
                failed.append(lease)
            lease.release()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert site.is_free(site.two)
    assert not site.one._here().held


def wait_in_vain(site: Site) -> None:
    with suppress(LockTimeout):
        site.one.acquire(KEY, 0.002, 60, site.clock)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a generator may be interrupted too
def test_who_is_interrupted_while_waiting_keeps_nobody_from_the_lock(tmp_path: Path) -> None:
    site = Site(tmp_path)
    lease = site.take(site.two)
    with ThreadPoolExecutor(1) as threads:
        for _ in interrupted_everywhere(partial(wait_in_vain, site)):
            lease.release()
            assert threads.submit(site.is_free, site.one).result(10)
            lease = site.two.acquire(KEY, 10, 60, site.clock)  # perhaps it still seems that the other process waits


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a generator may be interrupted too
def test_who_is_interrupted_while_waiting_takes_nobody_out_of_the_line(tmp_path: Path) -> None:
    site = Site(tmp_path)
    lease = site.take(site.one)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: site.one.acquire(KEY, 20, 60, site.clock).release())
        while _byte() not in site.one._here().lines:
            pass
        for number in interrupted_everywhere(partial(wait_in_vain, site)):
            assert _byte() in site.one._here().lines, f"interrupted at step {number}"
        lease.release()
        waiting.result(10)
    assert not site.one._here().lines, "and what was interrupted leaves nothing behind"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a generator may be interrupted too
def test_who_is_interrupted_while_first_in_line_makes_way_for_who_stands_behind(tmp_path: Path) -> None:
    """The line is not begun anew while somebody stands in it."""
    site = Site(tmp_path)
    here, lease = site.one._here(), site.take(site.two)
    behind = HostLease(here, KEY, _byte(), 60, site.clock)
    here._join(behind)
    with ThreadPoolExecutor(1) as threads:
        for number in interrupted_everywhere(partial(wait_in_vain, site)):
            lease.release()
            assert threads.submit(site.is_free, site.one).result(10), f"interrupted at step {number}"
            lease = site.two.acquire(KEY, 10, 60, site.clock)


def test_who_waited_in_vain_behind_others_does_not_tell_that_nobody_waits(tmp_path: Path) -> None:
    """Another process would take the lock again and again, and the first in line never get it."""
    site = Site(tmp_path)
    lease, told = site.take(site.two), site.two._here()._bytes
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(lambda: site.one.acquire(KEY, 20, 60, site.clock).release())
        while not told.is_awaited(_byte()):
            pass
        wait_in_vain(site)
        assert told.is_awaited(_byte())
        lease.release()
        first.result(10)
    assert not told.is_awaited(_byte())


def test_who_asks_the_system_for_a_lock_keeps_no_other_waiting() -> None:
    """The interpreter lock is free meanwhile: threads that all waited for the one in there would gain nothing by it."""
    asked, answered = threading.Event(), threading.Event()

    class Slow(NoBytes):
        def take(self, byte: int, now: float) -> int:
            if byte == crc32(KEY.encode()):
                asked.set()
                assert answered.wait(10)
            return 0

    locks = HostLocks(Slow)
    slow = threading.Thread(target=lambda: locks.acquire(KEY, 0, 60, Clock()).release())
    slow.start()
    assert asked.wait(10)
    assert locks.acquire(OTHER, 0, 60, Clock()).is_held()
    answered.set()
    slow.join()
