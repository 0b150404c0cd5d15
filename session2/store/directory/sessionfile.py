"""One session file at a time: opened, locked, read whole, written.  The caller sees to OSError."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from typing import Final

from ...patience import attempts
from .openfiles import OpenFile, OpenFiles
from .slots import Image, extent, parse

# O_NONBLOCK: a named pipe in the place of a session must not stop us for ever.
_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
READ: Final = os.O_RDONLY | _FLAGS
CHANGE: Final = os.O_RDWR | _FLAGS
MAKE: Final = os.O_RDWR | os.O_CREAT | _FLAGS
MAKE_ONLY: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS

# What comes of opening or reading a symbolic link, a folder, a socket, a pipe.
_NO_FILE: Final = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ESPIPE)

# One system call reads any file up to this size; the odd byte proves that it has been read to its end.
_AT_ONCE: Final = 65536 + 1

# So many bytes of a file that stays open are remembered at most.
_REMEMBERED: Final = 16384

# Seconds to wait for the lock of a file.  It is held for one write; only who is stopped meanwhile holds it longer.
_PATIENCE: Final = 10.0


class NoFile(FileNotFoundError):
    """There is something in the place of a session that is no regular file."""


def key_of(path: str) -> str:
    """Return the key of a session file: its name."""
    return path.rpartition("/")[2]


def look(path: str) -> Image:
    """Return what a file holds, without waiting for anybody who writes into it.

    What looks torn may be half of two saves.  Only then is the lock taken: what is torn under the lock stays torn.
    """
    while True:
        fd = open_file(path, READ)
        try:
            key = key_of(path)
            image = parse(_fetch(fd), key)
            found = _look_again(fd, key) if image.torn else image
            if found is not None:
                return found
        finally:
            os.close(fd)


def look_and_keep(key: str, files: OpenFiles) -> Image:
    """Return what the file of a key holds, and leave it open for whoever writes it next."""
    file = files.take(key)
    if file is None or not file.is_found():
        path = files.path_of(key)
        file = _opened(key, path)
        if file is None:
            return look(path)
    image = _image(file)
    if image.torn or image.doubt:
        file.close()
        return look(file.path)
    files.keep(file)
    return image


def _image(file: OpenFile) -> Image:
    """Return what a file holds, which is not parsed again where it is what it was when it was read or written last."""
    known, data = file.image, None
    if known is not None:
        data = os.pread(file.fd, len(known.data) + 1, 0)
        if data == known.data:
            return known
        if len(data) > len(known.data):  # somebody copied a larger one over it
            data = None
    image = parse(_fetch(file.fd) if data is None else data, file.key)
    file.image = image if len(image.data) <= _REMEMBERED else None
    return image


def _opened(key: str, path: str) -> OpenFile | None:
    """Open a file for reading and writing; None if it may only be read."""
    file = OpenFile(key, path)
    try:
        file.fd = open_file(path, CHANGE)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EROFS):
            return None
        raise
    return file


def _look_again(fd: int, key: str) -> Image | None:
    """Return what a file holds while nobody writes into it, None if it has lost its name."""
    _lock(fd, LOCK_SH)
    try:
        image = parse(_fetch(fd), key)
        return image if not image.doubt or os.fstat(fd).st_nlink else None
    finally:
        flock(fd, LOCK_UN)


def hold(path: str, flags: int) -> tuple[OpenFile, Image]:
    """Open and lock a file and return it with what it holds, sure that it has not lost its name; then release it."""
    while True:
        file = OpenFile(key_of(path), path, open_file(path, flags))
        try:
            _lock(file.fd, LOCK_EX)
            image = parse(_fetch(file.fd), file.key)
            if not image.doubt or os.fstat(file.fd).st_nlink:
                return file, image
        except BaseException:
            file.release()
            raise
        file.release()


def hold_kept(key: str, files: OpenFiles) -> tuple[OpenFile, Image]:
    """Do what `hold` does with the file of a key, which may be open already; then `give_back` it."""
    kept = files.take(key)
    path = files.path_of(key) if kept is None else kept.path
    while True:
        file = kept or OpenFile(key, path)
        if kept is None:
            file.fd = open_file(path, CHANGE)
        try:
            _lock(file.fd, LOCK_EX)
            image = _image(file)
            if (kept is None or file.is_found()) and (not image.doubt or os.fstat(file.fd).st_nlink):
                return file, image
        except BaseException:
            file.release()
            raise
        file.release()
        kept = None


def give_back(file: OpenFile, files: OpenFiles) -> None:
    """Let go of a file that was held, and leave it open."""
    try:
        flock(file.fd, LOCK_UN)
    except BaseException:
        file.close()
        raise
    files.keep(file)


def _lock(fd: int, kind: int) -> None:
    """Take the lock of a file; TimeoutError if its holder does not let go of it."""
    try:
        return flock(fd, kind | LOCK_NB)
    except BlockingIOError:
        for _ in attempts(_PATIENCE, shortest=0.0001, longest=0.005):
            with suppress(BlockingIOError):
                return flock(fd, kind | LOCK_NB)
    raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock of a session and does not go on")


def release(fd: int) -> None:
    # A process forked a moment ago has a copy of `fd` and would keep the lock if it were not let go of by name.
    try:
        flock(fd, LOCK_UN)
    finally:
        os.close(fd)


def open_file(path: str, flags: int) -> int:
    try:
        return os.open(path, flags, 0o600)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise NoFile from error
        raise


def _fetch(fd: int) -> bytes:
    """Return all bytes of a file that mean anything; of what is no session file, those it begins with."""
    try:
        data = os.pread(fd, _AT_ONCE, 0)
    except OSError as error:
        if error.errno in _NO_FILE:
            raise NoFile from error
        raise
    if len(data) < _AT_ONCE:
        return data
    parts = [data]
    at, end = len(data), extent(data)
    while parts[-1] and at < end:
        parts.append(os.pread(fd, 1 << 20, at))
        at += len(parts[-1])
    return b"".join(parts)


def write_all(fd: int, data: bytes, at: int) -> None:
    """Write all of `data`; a full disk shows as a short write first."""
    done = os.pwrite(fd, data, at)
    while done < len(data):
        done += os.pwrite(fd, data[done:], at + done)


def clear(path: str) -> None:
    """Take away what is no regular file.

    The folder's lock keeps the slower of two from taking away the session that the faster one put there.
    """
    fd = os.open(os.path.dirname(path), os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(fd, LOCK_EX)
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                os.unlink(path)
    finally:
        release(fd)
