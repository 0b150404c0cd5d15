"""Which server is asked, and again after what could be mended: one server, or those of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final, Protocol

from ...errors import StoreUnavailable
from ..servers.asking import ask_once, ask_twice
from ..servers.once import AnswerLost, ServerSilent
from ..servers.pool import Kind, Pool
from .commands import Command
from .wire import Answer, Link, Refusal, Words

if TYPE_CHECKING:
    from .driver import Address, Destination, Place


_WRONG_ROLE: Final = ("READONLY", "MASTERDOWN")
_ELSEWHERE: Final = ("MOVED", "ASK", "CLUSTERDOWN")


_NONE: Final = frozenset[str]()


def _codes(answers: Sequence[Answer]) -> Set[str]:
    """Return why commands were refused, if any were."""
    if Refusal not in map(type, answers):  # as nearly always
        return _NONE
    return {answer.code for answer in answers if isinstance(answer, Refusal)}


def _elsewhere(answer: Answer) -> Refusal | None:
    """Return an answer that says that the key is on another server."""
    return answer if isinstance(answer, Refusal) and answer.code in _ELSEWHERE else None


_FOLLOWED: Final = 1.0
"""Seconds after which sentinels are asked again which server is the primary."""


class Server:
    """One server, and the connections to it."""

    def __init__(self, place: Place, pool_size: int, patience: float) -> None:
        self._pool = Pool(Kind(place.connect, None, Link.is_cut, Link.close, Link.close), pool_size, patience)
        self.clear = self._pool.clear
        self._place = place
        self._primary: Address | None = None
        self._due = float("-inf")

    def ask(self, commands: Sequence[Command], once: bool = False) -> list[Answer]:
        """Send commands in one go and return the answers.

        `StoreUnavailable` if there is none.

        :param once: not to send them again if their answers were lost: `AnswerLost`.
        """
        answers = self.send([command.words for command in commands], once)
        if "NOSCRIPT" in _codes(answers):
            answers = self.send([command.in_full() for command in commands], once)
        return answers

    def send(self, commands: Sequence[Words], once: bool = False) -> list[Answer]:
        """Send commands; again on other connections, if these broke or lead to what is a replica now."""
        self._follow()
        exchange, ask = partial(Link.ask, commands=commands), ask_once if once else ask_twice
        answers = ask(self._pool, exchange)
        if _codes(answers).isdisjoint(_WRONG_ROLE):
            return answers
        self._pool.clear()
        return ask(self._pool, exchange)

    def _follow(self) -> None:
        """Give up the connections to what sentinels call the primary no more.

        It does not know for some seconds, if it is there at all, and tells what was true before.
        """
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + _FOLLOWED
        primary = self._place.primary()
        if primary is not None:
            if primary != self._primary is not None:
                self._pool.clear()
            self._primary = primary


class Servers(Protocol):
    """One server or many."""

    def ask(self, commands: Sequence[Command], once: bool = False) -> list[Answer]:
        """Send commands, one after the other; return the answers."""

    def ask_each(self, commands: Sequence[Command]) -> list[Answer]:
        """Send commands that may be repeated, in any order; return the answers in that of the commands."""

    def all(self) -> Iterable[Server]:
        """Return all servers that have keys of their own."""

    def clear(self) -> None:
        """Give up all connections."""


class Single:
    """One server, which has all keys."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.ask, self.clear = server.ask, server.clear

    def ask_each(self, commands: Sequence[Command]) -> list[Answer]:
        return self._server.ask(commands)

    def all(self) -> Iterable[Server]:
        return [self._server]


_SLOTS: Final = 16384
_REDIRECTIONS: Final = 5
"""How often a question is asked elsewhere while slots move."""


class Cluster:
    """The servers of a cluster, each of which has the keys of some slots.

    :param reach: makes a server of an address.
    """

    def __init__(self, destination: Destination, reach: Callable[[Address], Server]) -> None:
        self._nodes, self._slot_of = destination.nodes, destination.slot_of
        self._translate = destination.translate or (lambda address: address)
        self._reach = reach
        self._servers: dict[Address, Server] = {}
        self._slots: list[Address] = []

    def ask(self, commands: Sequence[Command], once: bool = False) -> list[Answer]:
        answers: list[Answer] = []
        for slot, some in groupby(commands, lambda command: self._slot_of(command.name)):
            answers += self._ask_slot(slot, list(some), once)
        return answers

    def ask_each(self, commands: Sequence[Command]) -> list[Answer]:
        answers: dict[int, Answer] = {}
        for address, numbers in self._by_address(commands).items():
            found = self._server(address).ask([commands[number] for number in numbers])
            answers.update(zip(numbers, found, strict=True))
        return [self.ask([command])[0] if _elsewhere(answers[number]) else answers[number]
                for number, command in enumerate(commands)]

    def all(self) -> Iterable[Server]:
        self._look_around()
        return [self._server(address) for address in dict.fromkeys(self._slots)]

    def clear(self) -> None:
        self._slots = []
        for server in list(self._servers.values()):
            server.clear()

    def _ask_slot(self, slot: int, commands: Sequence[Command], once: bool) -> list[Answer]:
        """Ask the server of a slot, and where it says that this is another one's, that."""
        answers: list[Answer] = []
        address = self._address(slot)
        for _ in range(_REDIRECTIONS):
            answers = self._ask_there(slot, address, commands, once)
            moved = next(filter(None, map(_elsewhere, answers)), None)
            if moved is None:
                return answers
            if moved.code == "ASK":
                address = _address_of(moved, address)
                asked = self._server(address).ask([part for each in commands for part in (_asking(each), each)], once)
                answers = asked[1::2]
                if _codes(answers).isdisjoint(_ELSEWHERE):
                    return answers
            self._look_around()
            address = self._address(slot)
        return answers

    def _ask_there(self, slot: int, address: Address, commands: Sequence[Command], once: bool) -> list[Answer]:
        try:
            return self._server(address).ask(commands, once)
        except StoreUnavailable as error:
            if once and isinstance(error, (AnswerLost, ServerSilent)):
                self._slots = []
                raise
            self._look_around()  # nothing was done there, or it may be done twice: perhaps another server took over
            if self._address(slot) == address:
                raise
            return self._server(self._address(slot)).ask(commands, once)

    def _by_address(self, commands: Sequence[Command]) -> Mapping[Address, list[int]]:
        found: dict[Address, list[int]] = {}
        for number, command in enumerate(commands):
            found.setdefault(self._address(self._slot_of(command.name)), []).append(number)
        return found

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        return server or self._servers.setdefault(address, self._reach(self._translate(address)))

    def _address(self, slot: int) -> Address:
        slots = self._slots or self._look_around()
        return slots[slot]

    def _look_around(self) -> list[Address]:
        """Ask which server has which slots, and return the address of each slot."""
        failure: StoreUnavailable | None = None
        for address in dict.fromkeys([*self._nodes, *self._servers]):
            try:
                [answer] = self._server(address).send([(b"CLUSTER", b"SLOTS")])
                self._slots = _slots_of(answer, address)
            except StoreUnavailable as error:
                failure = error
            else:
                return self._slots
        raise failure or StoreUnavailable("the cluster has no nodes")


def _asking(command: Command) -> Command:
    return Command(command.name, (b"ASKING",))


def _address_of(moved: Refusal, here: Address) -> Address:
    """Return where ``MOVED 3999 127.0.0.1:6381`` leads; an empty host is the one that was asked."""
    host, _, port = moved.text.split()[-1].rpartition(":")
    if not (port.isascii() and port.isdigit()):
        raise StoreUnavailable("the cluster names no server where it leads to another")
    return host or here[0], int(port)


def _slots_of(answer: Answer, here: Address) -> list[Address]:
    if not isinstance(answer, list):
        raise StoreUnavailable(f"this is no cluster: {answer.text if isinstance(answer, Refusal) else answer!r}")
    slots: list[Address | None] = [None] * _SLOTS
    try:
        for start, end, (host, port, *_), *_ in answer:
            address = host.decode() if host else here[0], int(port)
            slots[start:end + 1] = [address] * (end + 1 - start)
    except (TypeError, ValueError, AttributeError) as error:
        raise StoreUnavailable("this is no cluster: it does not tell its slots") from error
    found = [address for address in slots if address is not None]
    if len(found) < _SLOTS:
        raise StoreUnavailable(f"the cluster is down: {_SLOTS - len(found)} of its {_SLOTS} slots have no server")
    return found


def servers_of(destination: Destination, pool_size: int, patience: float) -> Servers:
    """Return the servers at a destination."""
    if not destination.nodes:
        return Single(Server(destination.place, pool_size, patience))
    return Cluster(destination, lambda address: Server(destination.place.at(address), pool_size, patience))


def pages(server: Server, pattern: bytes, count: int) -> Iterator[list[bytes]]:
    """Iterate over the names that match a pattern, some at a time; one that is there throughout comes at least once."""
    cursor = b"0"
    while True:
        [answer] = server.send([(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % count)])
        if (not isinstance(answer, list) or [*map(type, answer)] != [bytes, list]
                or not all(isinstance(name, bytes) for name in answer[1])):
            raise StoreUnavailable(f"Redis does not list its keys: {getattr(answer, 'text', type(answer).__name__)}")
        cursor, names = answer
        yield names
        if cursor == b"0":
            return
