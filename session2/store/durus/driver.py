"""What is used of Durus; imported when a Durus store is made."""

from __future__ import annotations

import functools
import logging
import pickle
import struct
from typing import Any, NamedTuple

from ...errors import ConfigurationError


class Driver(NamedTuple):
    """What is used of Durus."""

    btree: Any
    connection: Any
    client_storage: Any
    file: Any
    file_storage: Any
    persistent_dict: Any
    persistent_list: Any
    socket_address: Any
    conflict: type[Exception]
    """Another transaction came between."""
    error: type[Exception]
    failures: tuple[type[Exception], ...]
    """What is raised when the system behind Durus fails or no longer speaks its protocol; and `conflict` is one."""


@functools.cache
def driver() -> Driver:
    """Import Durus, or raise `ConfigurationError` if it is missing or cannot work here."""
    _quiet()
    try:
        from durus.btree import BTree  # type: ignore[import-untyped]
        from durus.client_storage import ClientStorage  # type: ignore[import-untyped]
        from durus.connection import Connection  # type: ignore[import-untyped]
        from durus.error import ConflictError, DurusError  # type: ignore[import-untyped]
        from durus.file import File  # type: ignore[import-untyped]
        from durus.file_storage import FileStorage  # type: ignore[import-untyped]
        from durus.persistent_dict import PersistentDict  # type: ignore[import-untyped]
        from durus.persistent_list import PersistentList  # type: ignore[import-untyped]
        from durus.serialize import ObjectWriter  # type: ignore[import-untyped]
        from durus.storage_server import SocketAddress  # type: ignore[import-untyped]
    except ImportError as error:
        raise ConfigurationError(f"a Durus store needs: pip install 'session2[durus]' ({error})") from None
    check_pickler(ObjectWriter)
    failures = (OSError, DurusError, AssertionError, struct.error, pickle.UnpicklingError, EOFError)
    return Driver(BTree, Connection, ClientStorage, File, FileStorage, PersistentDict, PersistentList, SocketAddress,
                  ConflictError, DurusError, failures)


def _quiet() -> None:
    """Give the logger of Durus a handler; otherwise Durus prints every commit, and may replace ``sys.stdout``."""
    logger = logging.getLogger("durus")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    if logger.level in (logging.NOTSET, logging.INFO):
        logger.setLevel(logging.WARNING)


def check_pickler(writer: Any) -> None:
    """Refuse the one Python on which Durus 4.3 cannot write anything."""
    try:
        writer(None).close()
    except AttributeError as error:
        raise ConfigurationError(f"this Durus cannot write on this Python ({error}); "
                                 "use another Python than 3.13.0, or a later Durus") from None
