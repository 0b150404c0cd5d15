"""Session files that stay open."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections import OrderedDict
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from c_fork import fork_in_c
from hypothesis import given, settings
from hypothesis import strategies as st

from session2 import StoreUnavailable
from session2.errors import Conflict
from session2.record import Record
from session2.store.directory import DirectorySessionStore, sessionfile
from session2.store.directory import store as directory
from session2.store.directory.openfiles import OpenFile, OpenFiles
from session2.store.directory.slots import parse
from session2.testing.store.samples import key_of, record_at

sys.path.insert(0, str(Path(__file__).parent))
from interrupted import interrupted_everywhere

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


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_whatever_is_interrupted_leaves_no_file_locked(store: DirectorySessionStore, tmp_path: Path) -> None:
    """Neither the one that is made nor one that is changed or removed; nobody would ever get it again."""
    def act() -> None:
        version = store.write(key_of(number), record_at(NOW), None)
        version = store.write(key_of(number), record_at(NOW, data=b"changed"), version)
        store.touch(key_of(number), NOW + 1, None)
        store.remove(key_of(number), version)

    number = 0
    gc.freeze()  # what is there before is not gone through at each step
    for step in interrupted_everywhere(act):
        gc.collect()
        for path in [*(tmp_path / "sessions").glob(f"??/{key_of(number)}")]:
            with path.open("rb") as file:
                flock(file, LOCK_EX | LOCK_NB)
        number = step + 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_loses_no_open_file(store: DirectorySessionStore, tmp_path: Path) -> None:
    """But while the system has opened it and nobody has its number yet, which are two steps."""
    store.write(key_of(1), record_at(NOW), None)

    def act() -> None:
        read(store)
        store.close()

    gc.freeze()
    for _ in interrupted_everywhere(act):
        store.close()
    assert open_files(tmp_path) <= 2


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
    (key, kept), = store._files._files.items()
    number, child = kept.fd, fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), number)  # as daemons do, which close all they inherit
        taken = store._files.take(key)
        store.write(key_of(1), record_at(NOW, b"of the child"), version)
        os.fstat(number)
        os._exit(taken is not None)
    assert os.waitpid(child, 0)[1] == 0
    assert read(store).data == b"of the child"
    os.fstat(kept.fd)


def test_of_two_that_read_one_file_each_has_a_file(tmp_path: Path) -> None:
    files, path = OpenFiles(str), tmp_path / "file"
    path.write_bytes(b"")
    one, two = (OpenFile("file", str(path), os.open(path, os.O_RDWR)) for _ in range(2))
    files.keep(one)
    files.keep(two)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(one.fd)
    assert files.take("file") == two
    assert files.take("file") is None
    two.close()


def test_of_two_that_are_kept_at_the_same_moment_none_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"")
    one, two = (OpenFile("file", str(path), os.open(path, os.O_RDWR)) for _ in range(2))
    files = OpenFiles(str)

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
        files.keep(two)

    before = open_files(tmp_path)
    files._files = Meeting()
    files.keep(one)
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
    images = [file.image for file in store._files._files.values()]
    assert [len(image.data) for image in images if image is not None] == [4096]
    assert len(images) == 2


STEPS = st.lists(st.tuples(
    st.sampled_from(["save", "save", "touch", "touch", "others save", "others touch", "damage"]),
    st.integers(32, 96) | st.integers(2048, 2200) | st.integers(0, 4095),
    st.sampled_from([None, "anna", "\ud800"])), max_size=12)


@given(STEPS)
@settings(max_examples=60)
def test_a_file_is_believed_to_hold_what_its_bytes_mean(steps: list[tuple[str, int, str | None]]) -> None:
    """Whoever wrote them: what this process wrote last is not parsed when it is read again."""
    with TemporaryDirectory() as folder:
        store, other = (DirectorySessionStore(folder, clock=lambda: NOW) for _ in range(2))
        store.write(key_of(1), record_at(NOW, b"first"), None)
        path = Path(store._folder.path(key_of(1)))
        for step, number, user in steps:
            found, who = store.read(key_of(1)), other if step.startswith("others") else store
            if step == "damage":
                with path.open("r+b") as file:
                    os.pwrite(file.fileno(), b"\xa5", number)
            elif step.endswith("touch"):
                who.touch(key_of(1), NOW + number, None if user else NOW + 9000)
            elif found is not None:
                record = record_at(NOW + number, b"x" * number)._replace(user=user)
                who.write(key_of(1), record, found.version)
            for image in [file.image for file in store._files._files.values() if file.image is not None]:
                assert image == parse(image.data, key_of(1))
            assert store.read(key_of(1)) == other.read(key_of(1))


def test_what_this_process_wrote_last_is_not_parsed_again(store: DirectorySessionStore,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    version = store.write(key_of(1), record_at(NOW, b"one"), None)
    read(store)
    monkeypatch.setattr(sessionfile, "parse", None)
    version = store.write(key_of(1), record_at(NOW, b"two"), version)
    store.touch(key_of(1), NOW + 1, NOW + 100)
    assert (read(store).data, read(store).version, read(store).accessed) == (b"two", version, NOW + 1)
    store.write(key_of(1), record_at(NOW, b"six"), version)
    assert read(store).data == b"six"


def test_what_was_torn_is_whole_again(store: DirectorySessionStore) -> None:
    store.write(key_of(1), record_at(NOW), None)
    for later in (1, 2):
        store.touch(key_of(1), NOW + later, NOW + 100)
    path = Path(store._folder.path(key_of(1)))
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xa5", 48)  # in the earlier touch
    store.touch(key_of(1), NOW + 3, NOW + 100)
    kept, = store._files._files.values()
    assert kept.image == parse(path.read_bytes(), key_of(1))


def test_a_larger_file_that_somebody_copied_over_it(store: DirectorySessionStore, tmp_path: Path) -> None:
    backup = DirectorySessionStore(tmp_path / "backup", create=True, clock=lambda: NOW)
    for one, data in ((store, b"small"), (backup, b"large" * 50_000)):
        one.write(key_of(1), record_at(NOW, data), one.write(key_of(1), record_at(NOW, data), None))
        read(one)
    shutil.copyfile(backup._folder.path(key_of(1)), store._folder.path(key_of(1)))
    version = read(backup).version
    store.write(key_of(1), record_at(NOW, b"new"), version)
    assert read(store).data == b"new"
