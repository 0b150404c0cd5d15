"""Questions and answers on a connection: the protocol of Redis (RESP 2), which every server speaks.

redis-py makes the connection, encrypts it and logs in.  To ask by its own client would take twice as long, and leaves a
connection in its pool on which an answer is still to come if an exception from outside arrives before it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BufferedReader
from typing import Any, BinaryIO, Final, NamedTuple, TypeAlias

from ..servers.results import Fault, StatementFailed
from ..servers.wire import Reply, polling

Words: TypeAlias = "tuple[bytes, ...]"
"""A command and its arguments."""


class Refusal(NamedTuple):
    """What the server answers that will not do as it was told."""

    text: str

    @property
    def code(self) -> str:
        """The first word, such as ``OOM``; in scripts of older servers the error is inside another one."""
        return self.text.rpartition(": -")[2].partition(" ")[0]


Answer: TypeAlias = "bytes | int | Refusal | list[Any] | None"


class Link:
    """An open connection, good for as long as every answer was read whole."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._socket = connection._sock
        self._timeout: float = self._socket.gettimeout()
        self._reply = Reply(self._socket)
        self._file: BinaryIO = BufferedReader(self._reply)
        self._poll = polling(self._socket.fileno())

    def ask(self, commands: Sequence[Words]) -> list[Answer]:
        """Send commands and return the answers to all of them."""
        try:
            self._reply.ask(b"".join(map(_packed, commands)), self._timeout)
            return [_answer(self._file) for _ in commands]
        except TimeoutError as error:
            raise StatementFailed(Fault.SILENT, f"Redis did not answer within {self._timeout:g} s") from error
        except (OSError, ValueError, MemoryError, RecursionError) as error:  # the last ones of what is no answer
            raise StatementFailed(Fault.BROKEN, f"the connection to Redis broke: {error or type(error).__name__}"
                                  ) from error

    def is_cut(self) -> bool:
        """Tell whether the server has ended the connection, or said what nobody asked for."""
        return bool(self._poll(0))

    def close(self) -> None:
        """Close the connection."""
        self.connection.disconnect()


_LONGEST_LINE: Final = 65536


def _packed(words: Words) -> bytes:
    return b"*%d\r\n%b" % (len(words), b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words]))


def _answer(file: BinaryIO) -> Answer:
    line = file.readline(_LONGEST_LINE)
    kind, rest = line[:1], line[1:-2]
    if line[-2:] != b"\r\n":
        raise ConnectionError("the server closed it")
    if kind == b"$":
        return None if rest == b"-1" else _bulk(file, int(rest))
    if kind == b":":
        return int(rest)
    if kind == b"+":
        return rest
    if kind == b"-":
        return Refusal(_readable(rest))
    if kind == b"*":
        return [_answer(file) for _ in range(int(rest))]
    raise ConnectionError("this is no Redis server")


def _bulk(file: BinaryIO, length: int) -> bytes:
    if length < 0:
        raise ConnectionError("this is no Redis server")
    value = file.read(length + 2)
    if len(value) != length + 2:
        raise ConnectionError("the server closed it")
    return value[:-2]


def _readable(text: bytes) -> str:
    """Return an error of the server, without the arguments that it repeats of a command it does not know."""
    return text.decode("utf-8", "replace").partition(", with args beginning")[0]
