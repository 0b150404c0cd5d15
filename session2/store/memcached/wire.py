"""One connection to one memcached, in its text protocol.

`gets`, `add`, `cas` and `delete` are all that is needed.  The newer meta commands would not do: a ``ms`` of something
too large, or for which there is no memory, removes what was there, as ``set`` does.  ``cas`` and ``add`` do not.
"""

from __future__ import annotations

import math
import socket
from collections.abc import Hashable
from time import monotonic
from typing import Final, TypeAlias

from ...clock import elapsed
from ...errors import ConfigurationError, StoreUnavailable
from ..servers.results import Fault, StatementFailed
from ..servers.wire import polling

Address: TypeAlias = "tuple[str, int] | str"
"""Host and port, or the path of a Unix socket."""

Stamp: TypeAlias = "tuple[bytes, Hashable]"
"""The number that memcached gave an item (its *cas unique*), and the run of the memcached that gave it."""
UNKNOWN: Final[Stamp] = b"", None
"""Of an item that was not looked at; no item has it."""
Item: TypeAlias = "tuple[bytes, Stamp]"
"""The value and the stamp of what stands under a key."""

STORED, EXISTS, NOT_FOUND = b"STORED\r\n", b"EXISTS\r\n", b"NOT_FOUND\r\n"

_ANSWERS: Final = frozenset({STORED, EXISTS, NOT_FOUND, b"NOT_STORED\r\n", b"DELETED\r\n"})
_REFUSALS: Final = (b"SERVER_ERROR", b"CLIENT_ERROR", b"ERROR")

_HINTS: Final = {
    "too large": "a session of {size} bytes is more than it takes: start it with a larger -I",
    "out of memory": "it has no memory for a session of {size} bytes: start it with a larger -m, and without -M",
}

_DIGITS: Final = 10
"""Of the size of an item, at most."""
_AFTER_VALUE: Final = b"\r\nEND\r\n"
_CHUNK: Final = 65536
_LONGEST: Final = 2**20
"""Bytes of a line, or of all that memcached tells of itself, that it never comes near."""

_MONTH: Final = 30 * 86400
"""Seconds; beyond that memcached takes the end of an item for a moment, in seconds since the epoch."""
_LAST: Final = 2**31 - 1
"""The last moment it knows."""


class Connection:
    """A connection that is good for as long as every answer was read whole.

    :param name: of the server, for messages.
    :param timeout: seconds that the server may take to answer a question.
    """

    def __init__(self, name: str, address: Address, timeout: float) -> None:
        self._name, self._timeout = name, timeout
        self._is_hurried = False
        """Whether the socket waits for the rest of the time of one question only."""
        try:
            self._socket = _connected(address, timeout)
        except (OSError, UnicodeError) as error:  # the latter of a host that can have no address
            why = getattr(error, "strerror", None) or error
            raise StoreUnavailable(f"no connection to memcached at {name}: {why}") from error
        try:
            self._poll = polling(self._socket.fileno())
            self._greet()
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()

    def close(self) -> None:
        """Close it; the server needs no farewell."""
        self._socket.close()

    def is_cut(self) -> bool:
        """Tell whether the server has ended the connection, or said what nobody asked for."""
        return bool(self._poll(0))

    def check(self) -> None:
        """See that the server answers."""
        answer = self._ask(b"version\r\n")
        if not answer.startswith(b"VERSION "):
            raise self._refused(answer)

    def get(self, key: bytes) -> Item | None:
        """Return what stands under a key."""
        answer = self._ask(b"gets %b\r\n" % key)
        if answer == b"END\r\n":
            return None
        start = answer.find(b"\r\n") + 2
        words = answer[:start - 2].split(b" ")
        if (len(words) != 5 or words[0] != b"VALUE" or words[1] != key
                or not words[3].isdigit() or len(words[3]) > _DIGITS):
            raise self._refused(answer)
        end = start + int(words[3])
        if len(answer) < end + len(_AFTER_VALUE):
            answer = self._read_on(answer, end + len(_AFTER_VALUE))
        if answer[end:] != _AFTER_VALUE:
            raise self._refused(answer)
        return answer[start:end], (words[4], self.run)

    def put(self, key: bytes, value: bytes, seconds: float | None, stamp: Stamp | None) -> bytes:
        """Put a value in place of the item with this stamp, or where nothing is; return the answer.

        :param seconds: how long to keep the item; None: for ever, 0 or less: not at all.
        """
        command, cas = (b"add", b"") if stamp is None else (b"cas", stamp[0])
        if stamp is not None and stamp[1] != self.run:
            return EXISTS
        return self._change(b"%b %b 0 %d %d %b\r\n%b\r\n" % (command, key, _exptime(seconds, self._ahead), len(value),
                                                           cas, value), len(value))

    def delete(self, key: bytes) -> None:
        """Delete what stands under a key."""
        self._change(b"delete %b\r\n" % key)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _greet(self) -> None:
        """Learn which run of the server this is and what time it has."""
        try:
            facts = {**self._facts(b"stats\r\n"), **self._facts(b"stats settings\r\n")}
            now = int(facts[b"time"])
            self.run = (self._name, facts[b"pid"], now - int(facts[b"uptime"]))
        except (KeyError, ValueError):
            raise self._refused(b"") from None
        self._ahead = now - elapsed()
        if facts.get(b"cas_enabled") == b"no":
            raise ConfigurationError(f"memcached at {self._name} runs with -C, so it cannot compare and set: start it "
                                     "without")

    def _facts(self, question: bytes) -> dict[bytes, bytes]:
        answer = self._ask(question)
        while answer.startswith(b"STAT ") and not answer.endswith(b"\r\nEND\r\n") and len(answer) < _LONGEST:
            answer += self._more()
        if not answer.startswith(b"STAT "):
            raise self._refused(answer)
        return dict(line.split(b" ", 2)[1:] for line in answer.splitlines()[:-1])

    def _change(self, command: bytes, size: int = 0) -> bytes:
        answer = self._ask(command)
        if answer not in _ANSWERS:
            raise self._refused(answer, size)
        return answer

    def _ask(self, question: bytes) -> bytes:
        """Send something; return the first line of the answer and what came with it."""
        self._end = monotonic() + self._timeout
        try:
            if self._is_hurried:
                self._socket.settimeout(self._timeout)
                self._is_hurried = False
            self._socket.sendall(question)
            answer = self._socket.recv(_CHUNK) if len(question) < _CHUNK else b""
        except OSError as error:
            raise self._broken(error) from error
        while answer.find(b"\r\n") < 0 and len(answer) < _LONGEST:  # `in` first tries bytes as a number
            answer += self._more()
        return answer

    def _read_on(self, begun: bytes, size: int) -> bytes:
        """Return what has come, with more until it is so many bytes."""
        parts, missing = [begun], size - len(begun)
        while missing > 0:
            parts.append(self._more())
            missing -= len(parts[-1])
        return b"".join(parts)

    def _more(self) -> bytes:
        self._is_hurried = True
        try:
            self._socket.settimeout(self._left())
            more = self._socket.recv(_CHUNK)
        except OSError as error:
            raise self._broken(error) from error
        if not more:
            raise StatementFailed(Fault.BROKEN, f"memcached at {self._name} closed the connection")
        return more

    def _left(self) -> float:
        """Return for how many seconds the answer may still be under way."""
        left = self._end - monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def _broken(self, error: OSError) -> StatementFailed:
        if isinstance(error, TimeoutError):
            return StatementFailed(Fault.SILENT,
                                   f"memcached at {self._name} does not answer within {self._timeout:g} s")
        return StatementFailed(Fault.BROKEN,
                               f"the connection to memcached at {self._name} broke: {error.strerror or error}")

    def _refused(self, answer: bytes, size: int = 0) -> StoreUnavailable:
        """Return the error for an answer that nothing can be made of."""
        if not answer.startswith(_REFUSALS):  # it is not repeated: it may be anything
            return StoreUnavailable(f"what answers at {self._name} is no memcached, or answers another question")
        said = answer.partition(b"\r\n")[0].decode("ascii", "replace")
        hint = next((f"; {hint.format(size=size)}" for words, hint in _HINTS.items() if words in said), "")
        return StoreUnavailable(f"memcached at {self._name} refused: {said}{hint}")


def _connected(address: Address, timeout: float) -> socket.socket:
    if isinstance(address, tuple):
        found = socket.create_connection(address, timeout)
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found
    found = socket.socket(socket.AF_UNIX)
    try:
        found.settimeout(timeout)
        found.connect(address)
    except BaseException:
        found.close()
        raise
    return found


def _exptime(seconds: float | None, ahead: float) -> int:
    """Return how memcached is told for how long to keep an item.

    :param ahead: how many seconds its clock is ahead of ours.
    """
    if seconds is None:
        return 0
    if seconds <= 0:
        return -1
    if seconds <= _MONTH:
        return math.ceil(seconds)
    end = ahead + elapsed() + seconds
    return math.ceil(end) if end < _LAST else 0
