"""Session files that stay open."""

from __future__ import annotations

import gc
import os
import shutil
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from c_fork import fork_in_c

from session2 import StoreUnavailable
from session2.errors import Conflict
from session2.record import Record
from session2.store.directory import DirectorySessionStore, sessionfile
from session2.store.directory import store as directory
from session2.store.directory.openfiles import OpenFile, OpenFiles
from session2.testing.store.samples import key_of, record_at

NOW = 1000.0

on_all_forks = pytest.mark.parametrize("fork", [os.fork, fork_in_c], ids=["python", "c"])


@pytest.fixture
def store(tmp_path: Path) -> DirectorySessionStore:
    return DirectorySessionStore(tmp_path / "sessions", create=True, clock=lambda: NOW)


def open_files(folder: Path) -> int:
    """Return how many files in a folder this process has open."""
    gc.collect()
    found = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    return sum(path.startswith(f"{folder}/") for path in found)


def read(store: DirectorySessionStore, number: int = 1) -> Record:
    found = store.read(key_of(number))
    assert found is not None
    return found


def test_some_stay_open_and_not_more(store: DirectorySessionStore, tmp_path: Path) -> None:
    for number in range(200):
        store.write(key_of(number), record_at(NOW), None)
        read(store, number)
    assert open_files(tmp_path) == 128
    store.close()
    assert open_files(tmp_path) == 0


def test_they_are_closed_with_the_store(tmp_path: Path) -> None:
    store = DirectorySessionStore(tmp_path / "sessions", create=True, clock=lambda: NOW)
    store.write(key_of(1), record_at(NOW), None)
    read(store)
    assert open_files(tmp_path) == 1
    del store
    assert open_files(tmp_path) == 0


def test_what_others_removed_is_not_found(store: DirectorySessionStore, tmp_path: Path) -> None:
    version = store.write(key_of(1), record_at(NOW), None)
    for _ in range(2):
        read(store)
    other = DirectorySessionStore(tmp_path / "sessions", clock=lambda: NOW)
    other.remove(key_of(1))
    with pytest.raises(Conflict):
        store.write(key_of(1), record_at(NOW), version)
    assert store.read(key_of(1)) is None


def test_what_others_made_larger_is_written_in_its_new_place(store: DirectorySessionStore, tmp_path: Path) -> None:
    version = store.write(key_of(1), record_at(NOW), None)
    read(store)
    other = DirectorySessionStore(tmp_path / "sessions", clock=lambda: NOW)
    version = other.write(key_of(1), record_at(NOW, b"x" * 10_000), version)
    store.write(key_of(1), record_at(NOW, b"new"), version)
    assert read(store).data == read(other).data == b"new"


def test_another_directory_in_its_place(store: DirectorySessionStore, tmp_path: Path) -> None:
    """As when a backup is put back: nothing of the old one is shown, and nothing is written there."""
    version = store.write(key_of(1), record_at(NOW, b"of the backup"), None)
    shutil.copytree(tmp_path / "sessions", tmp_path / "backup", copy_function=shutil.copy2)
    store.write(key_of(1), record_at(NOW, b"newer"), version)
    for _ in range(2):
        read(store)
    (tmp_path / "sessions").rename(tmp_path / "broken")
    with pytest.raises(StoreUnavailable):
        store.read(key_of(1))
    (tmp_path / "backup").rename(tmp_path / "sessions")
    assert read(store).data == b"of the backup"
    store.write(key_of(1), record_at(NOW, b"goes on"), version)
    assert read(store).data == b"goes on"


def test_a_save_into_a_directory_that_is_gone_is_refused(store: DirectorySessionStore, tmp_path: Path) -> None:
    version = store.write(key_of(1), record_at(NOW), None)
    read(store)
    (tmp_path / "sessions").rename(tmp_path / "elsewhere")
    with pytest.raises(StoreUnavailable):
        store.write(key_of(1), record_at(NOW, b"lost"), version)


@on_all_forks
def test_a_child_opens_its_own(store: DirectorySessionStore, fork: Callable[[], int]) -> None:
    """With its parent's it would share the lock, and each would write between the other's steps."""
    version = store.write(key_of(1), record_at(NOW), None)
    for _ in range(2):
        read(store)
    (path, kept), = store._files._files.items()
    number, child = kept.fd, fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), number)  # as daemons do, which close all they inherit
        taken = store._files.take(path)
        store.write(key_of(1), record_at(NOW, b"of the child"), version)
        os.fstat(number)
        os._exit(taken is not None)
    assert os.waitpid(child, 0)[1] == 0
    assert read(store).data == b"of the child"
    os.fstat(kept.fd)


def test_of_two_that_read_one_file_each_has_a_file(tmp_path: Path) -> None:
    files, path = OpenFiles(), tmp_path / "file"
    path.write_bytes(b"")
    one, two = (OpenFile(os.open(path, os.O_RDWR)) for _ in range(2))
    files.keep(str(path), one)
    files.keep(str(path), two)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(one.fd)
    assert files.take(str(path)) == two
    assert files.take(str(path)) is None
    two.close()


def test_of_two_that_are_kept_at_the_same_moment_none_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    one, two = (OpenFile(os.open(path, os.O_RDWR)) for _ in range(2))
    files = OpenFiles()

    class Meeting(OrderedDict[str, OpenFile]):
        """Lets another thread come in right behind a step of the first."""

        def pop(self, *arguments: Any) -> Any:
            found = super().pop(*arguments)
            meet()
            return found

        def setdefault(self, *arguments: Any) -> Any:
            found = super().setdefault(*arguments)
            meet()
            return found

    def meet() -> None:
        files._files = OrderedDict(files._files)
        files.keep(str(path), two)

    before = open_files(tmp_path)
    files._files = Meeting()
    files.keep(str(path), one)
    assert open_files(tmp_path) == before - 1
    files.close()
    assert open_files(tmp_path) == before - 2


def test_a_child_keeps_no_lock_that_its_parent_takes_later(store: DirectorySessionStore, tmp_path: Path) -> None:
    store.write(key_of(1), record_at(NOW), None)
    read(store)
    child = os.fork()
    if not child:
        os._exit(open_files(tmp_path))
    assert os.waitpid(child, 0)[1] == 0
    assert open_files(tmp_path) == 1


def test_a_file_that_somebody_renamed_over_it(store: DirectorySessionStore, tmp_path: Path) -> None:
    """As programs do that restore single files: what is written goes into the file of that name, or nowhere."""
    version = store.write(key_of(1), record_at(NOW, b"of the backup"), None)
    path = Path(store._folder.path(key_of(1)))
    shutil.copy2(path, tmp_path / "backup")
    version = store.write(key_of(1), record_at(NOW, b"newer"), version)
    read(store)
    (tmp_path / "backup").rename(path)
    with pytest.raises(Conflict):
        store.write(key_of(1), record_at(NOW, b"lost"), version)
    assert read(store).data == b"of the backup"


def test_who_is_interrupted_leaves_no_lock(store: DirectorySessionStore, tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    version = store.write(key_of(1), record_at(NOW), None)
    read(store)
    held = sessionfile.hold_kept

    def interrupted(*arguments: Any) -> Any:
        held(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(directory, "hold_kept", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.write(key_of(1), record_at(NOW), version)
    other = DirectorySessionStore(tmp_path / "sessions", clock=lambda: NOW)
    other.write(key_of(1), record_at(NOW, b"of another"), version)
    other.close()
    assert open_files(tmp_path) == 0


def test_what_others_wrote_is_seen_though_the_file_stayed_open(store: DirectorySessionStore, tmp_path: Path) -> None:
    version = store.write(key_of(1), record_at(NOW, b"one"), None)
    for _ in range(2):
        read(store)
    other = DirectorySessionStore(tmp_path / "sessions", clock=lambda: NOW)
    version = other.write(key_of(1), record_at(NOW, b"two"), version)
    assert read(store).data == b"two"
    other.touch(key_of(1), NOW + 1, NOW + 100)
    assert read(store).accessed == NOW + 1
    other.write(key_of(1), record_at(NOW, b"six"), version)
    with pytest.raises(Conflict):
        store.write(key_of(1), record_at(NOW, b"ten"), version)


def test_of_large_files_nothing_is_kept_in_memory(store: DirectorySessionStore) -> None:
    store.write(key_of(1), record_at(NOW, b"x" * 100_000), None)
    store.write(key_of(2), record_at(NOW), None)
    for number in (1, 2):
        read(store, number)
    assert sorted(len(file.data) for file in store._files._files.values()) == [0, 4096]
