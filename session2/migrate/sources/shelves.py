"""Reading the shelves of other programs: dbm files, of which each value is a pickle."""

from __future__ import annotations

import contextlib
import dbm
import os
from collections.abc import Iterator
from typing import Any, Final

from ...errors import ConfigurationError

_ENDINGS: Final = ("", ".db", ".dat", ".pag")
"""What a dbm file may be called besides; the first two are one file, the others have a ``.dir`` beside."""

_HOW: Final = (
    "copy it where it can be read, with the Python of the old application:  python -c \"import anydbm, dumbdbm; "
    "old = anydbm.open('OLD', 'r'); new = dumbdbm.open('NEW', 'n'); [new.__setitem__(k, old[k]) for k in old.keys()]\""
    "  (from Python 3 on dbm and dbm.dumb), and name NEW")


@contextlib.contextmanager
def opened(path: str) -> Iterator[Any]:
    """Open a dbm file for reading, as a mapping of bytes; `ConfigurationError` says what to do if that cannot be."""
    kind = dbm.whichdb(path)
    if kind is None or not any(os.path.exists(path + ending) for ending in _ENDINGS):
        raise ConfigurationError(f"there is no file {path}, with or without an ending such as .db or .dat")
    if not kind:
        raise ConfigurationError(f"{path} is a dbm file that Python 3 cannot read, or none; {_HOW}")
    with contextlib.closing(_open(path, kind)) as shelf:
        yield shelf


def _open(path: str, kind: str) -> Any:
    try:
        return dbm.open(path, "r")
    except (ImportError, *dbm.error) as error:
        raise ConfigurationError(f"{path} cannot be opened here as {kind} ({error}); install that, or {_HOW}") from None
