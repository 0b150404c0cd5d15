"""What stores on a server have in common: which connections are used again, and how long an answer may take."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from session2.errors import ConfigurationError, StoreUnavailable
from session2.store.servers import pool, wire
from session2.store.servers.once import (
    REMEMBERED,
    AnswerLost,
    Fate,
    Standing,
    applied,
    fate_of_insert,
    fate_of_removal,
    fate_of_replacement,
    standing,
    written,
)
from session2.store.servers.pool import Kind, Lender, Lent, Pool, use_twice
from session2.store.servers.results import Fault, Result, StatementFailed
from session2.store.servers.wire import Reply, polling
from session2.store.sql.answers import check_answer
from session2.testing.fakes import Clock


class Line:
    """A connection, and what became of it."""

    def __init__(self) -> None:
        self.ends: list[str] = []
        self.is_cut = False
        self.is_at_rest = True


def kind(connect: Callable[[], Line], is_at_rest: Callable[[Line], bool] | None = None) -> Kind[Line]:
    return Kind(connect, is_at_rest, lambda line: line.is_cut, lambda line: line.ends.append("closed"),
                lambda line: line.ends.append("dropped"))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pool, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(wire, "monotonic", clock)
    return clock


@pytest.fixture
def lines(clock: Clock) -> Pool[Line]:
    return Pool(kind(Line), 1, 1.0)


def use(line: Line) -> Line:
    return line


def raises(error: BaseException) -> Callable[[Any], Any]:
    def action(_: Any) -> Any:
        raise error
    return action


# -- the store's own -----------------------------------------------------------------------------------------------


def test_a_connection_is_used_again(lines: Pool[Line], clock: Clock) -> None:
    line = lines.use(use)
    for _ in range(5):
        clock.advance(200)
        assert lines.use(use) is line
    assert line.ends == []


LEAVES = {Fault.NO_TABLE, Fault.BUSY}


@pytest.mark.parametrize("fault", Fault)
def test_one_is_used_again_only_if_the_server_itself_has_refused(lines: Pool[Line], fault: Fault) -> None:
    line = lines.use(use)
    with pytest.raises(StatementFailed):
        lines.use(raises(StatementFailed(fault, "failed")))
    assert (lines.use(use) is line, line.ends) == ((True, []) if fault in LEAVES else (False, ["dropped"]))


@pytest.mark.parametrize("error", [ValueError(), KeyboardInterrupt()])
def test_one_whose_use_was_interrupted_is_dropped(lines: Pool[Line], error: BaseException) -> None:
    line = lines.use(use)
    with pytest.raises(type(error)):
        lines.use(raises(error))
    assert lines.use(use) is not line
    assert line.ends == ["dropped"]


@pytest.mark.parametrize("what", ["it is cut", "it was not used for long", "it was made in the moment all were closed"])
def test_one_that_may_be_no_good_is_closed(what: str, clock: Clock) -> None:
    lines = Pool(kind(Line), 1, 1.0)
    line = lines.use(use)
    if what == "it is cut":
        line.is_cut = True
    elif what == "it was not used for long":
        clock.advance(240)
    else:
        lines.clear()
        assert line.ends == ["closed"], "at once"
    assert lines.use(use) is not line
    assert line.ends == ["closed"]


def test_one_that_is_in_use_when_all_are_closed_is_closed_afterwards(lines: Pool[Line]) -> None:
    def action(line: Line) -> Line:
        lines.clear()
        assert line.ends == []
        return line

    line = lines.use(action)
    assert line.ends == ["closed"]
    assert lines.use(use) is not line


def test_one_that_comes_back_just_when_all_are_closed_is_not_used_again(clock: Clock) -> None:
    lines: Pool[Line] = Pool(kind(Line, lambda _: lines.clear() is None), 1, 1.0)
    line = lines.use(use)
    assert lines.use(use) is not line


def test_one_on_which_something_is_under_way_is_dropped(clock: Clock) -> None:
    lines = Pool(kind(Line, lambda line: line.is_at_rest), 1, 1.0)
    line = lines.use(use)
    assert lines.use(use) is line
    lines.use(lambda line: setattr(line, "is_at_rest", False))
    assert lines.use(use) is not line
    assert line.ends == ["dropped"]


def test_a_pool_of_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="pool_size must be 1 or more, not 0"):
        Pool(kind(Line), 0, 1.0)


# -- those an application lends ------------------------------------------------------------------------------------


class Theirs:
    """A pool of the application: what is done with its one connection."""

    def __init__(self) -> None:
        self.line: Line | None = Line()
        self.did: list[str] = []
        self.own = Pool(kind(Line), 1, 1.0)
        self.lent = Lent(Lender(self._lend, lambda _: self.did.append("back"), lambda _: self.did.append("dropped"),
                                lambda: self.did.append("renewed")), self.own)

    def _lend(self) -> Line | None:
        self.did.append("lent")
        return self.line


def test_what_is_lent_is_given_back() -> None:
    theirs = Theirs()
    assert theirs.lent.use(use) is theirs.line
    assert theirs.did == ["lent", "back"]


@pytest.mark.parametrize("error", [*(StatementFailed(fault, "failed") for fault in Fault), KeyboardInterrupt()])
def test_what_may_be_no_good_is_dropped_before_it_is_given_back(error: BaseException) -> None:
    theirs, leaves = Theirs(), isinstance(error, StatementFailed) and error.fault in LEAVES
    with pytest.raises(type(error)):
        theirs.lent.use(raises(error))
    assert theirs.did == (["lent", "back"] if leaves else ["lent", "dropped", "back"])


def test_where_nothing_is_lent_or_a_new_one_is_wanted_it_is_the_stores_own() -> None:
    theirs = Theirs()
    line = theirs.lent.use(use, fresh=True)
    assert theirs.did == []
    assert line is theirs.own.use(use)
    theirs.line = None
    assert theirs.lent.use(use) is line
    assert theirs.did == ["lent"]


def test_what_is_lent_stays_when_the_stores_own_are_closed() -> None:
    theirs = Theirs()
    line = theirs.lent.use(use, fresh=True)
    theirs.lent.clear()
    assert (line.ends, theirs.did) == (["closed"], [])
    line = theirs.lent.use(use, fresh=True)
    theirs.lent.renew()
    assert (line.ends, theirs.did) == (["closed"], ["renewed"])


def test_what_is_done_twice_is_done_with_new_connections_of_the_stores_own() -> None:
    theirs, used = Theirs(), []

    def action(line: Line) -> None:
        used.append(line)
        if len(used) == 1:
            raise ValueError

    use_twice(theirs.lent, action, ValueError)
    assert theirs.did == ["renewed"]
    assert used[0] is not used[1]
    with pytest.raises(ValueError, match="again"):
        use_twice(theirs.lent, raises(ValueError("again")), ValueError)


# -- an answer has a time ------------------------------------------------------------------------------------------


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_all_pieces_of_an_answer_have_one_time_limit(ends: tuple[socket.socket, socket.socket], clock: Clock) -> None:
    ours, theirs = ends
    reply, buffer = Reply(ours), bytearray(1)
    for _ in range(2):  # a question begins anew
        reply.ask(b"?", 10.0)
        theirs.sendall(b"abc")
        assert (reply.readinto(buffer), ours.gettimeout()) == (1, 10.0)
        clock.advance(4)
        assert (reply.readinto(buffer), ours.gettimeout()) == (1, 6.0)
        clock.advance(6)
        with pytest.raises(TimeoutError):
            reply.readinto(buffer)
        assert ours.recv(1) == b"c"
    for seconds in (10.0, 6.0):
        reply.ask(b"?", seconds)
        assert ours.gettimeout() == seconds


def test_a_long_question_takes_of_the_time_of_its_answer(ends: tuple[socket.socket, socket.socket],
                                                         clock: Clock) -> None:
    ours, theirs = ends
    reply = Reply(ours)
    reply.ask(b"?" * 65536, 10.0)
    theirs.sendall(b"a")
    clock.advance(4)
    assert (reply.readinto(bytearray(1)), ours.gettimeout()) == (1, 6.0)


@pytest.mark.parametrize("polls", [True, False])
def test_whether_something_has_come_is_known_without_reading_it(polls: bool, monkeypatch: pytest.MonkeyPatch,
                                                                ends: tuple[socket.socket, socket.socket]) -> None:
    if not polls:
        monkeypatch.delattr(select, "poll")
    ours, theirs = ends
    poll, or_written = polling(ours.fileno()), polling(ours.fileno(), or_written=True)
    assert (bool(poll(0)), bool(or_written(None))) == (False, True)
    theirs.close()
    assert poll(0)
    assert poll(None)


# -- what became of a change whose answer is lost ------------------------------------------------------------------


def stands(*versions: int, is_whole: bool = True, is_live: bool = True) -> Standing:
    return Standing(versions, is_whole, is_live)


@pytest.mark.parametrize(("record", "is_repeatable", "fate"), [
    (None, True, Fate.NOT_YET), (None, False, Fate.UNKNOWN), (stands(1), False, Fate.DONE),
    (stands(2, 1, is_whole=False), False, Fate.DONE), (stands(2), True, Fate.REFUSED),
    (stands(2, is_live=False), False, Fate.NOT_YET), (stands(2, is_whole=False), True, Fate.UNKNOWN)])
def test_what_became_of_an_insert(record: Standing | None, is_repeatable: bool, fate: Fate) -> None:
    assert fate_of_insert(record, 1, is_repeatable) is fate


@pytest.mark.parametrize(("record", "fate"), [
    (None, Fate.REFUSED), (stands(2, 1), Fate.DONE), (stands(3, 2, is_whole=False), Fate.DONE),
    (stands(1), Fate.NOT_YET), (stands(1, is_live=False), Fate.REFUSED), (stands(3), Fate.REFUSED),
    (stands(3, 1, is_whole=False), Fate.REFUSED), (stands(3, is_whole=False), Fate.UNKNOWN)])
def test_what_became_of_a_replacement(record: Standing | None, fate: Fate) -> None:
    assert fate_of_replacement(record, 2, 1) is fate


@pytest.mark.parametrize(("record", "fate"), [
    (None, Fate.DONE), (stands(1, is_live=False), Fate.DONE), (stands(1), Fate.NOT_YET), (stands(2, 1), Fate.REFUSED),
    (stands(2), Fate.DONE), (stands(2, is_whole=False), Fate.UNKNOWN)])
def test_what_became_of_a_removal(record: Standing | None, fate: Fate) -> None:
    assert fate_of_removal(record, 1) is fate


def test_what_a_record_tells_of_itself() -> None:
    recent = written(7) + written(5)
    assert standing((7, recent, None), 100.0) == stands(7, 5)
    assert standing((7, recent, 101.0), 100.0) == stands(7, 5)
    assert standing((7, recent, 100.0), 100.0) == stands(7, 5, is_live=False)
    assert not standing((7, written(7) * REMEMBERED, None), 100.0).is_whole


LOST = AnswerLost("the connection broke")


@pytest.mark.parametrize(("changes", "fates", "done"), [
    ([True], [], True), ([False], [], False), ([LOST], [Fate.DONE], True), ([LOST], [Fate.REFUSED], False),
    ([LOST], [Fate.UNKNOWN], None), ([LOST, True], [Fate.NOT_YET], True),
    ([LOST, False], [Fate.NOT_YET, Fate.DONE], True), ([LOST, False], [Fate.NOT_YET, Fate.REFUSED], False),
    ([LOST, False], [Fate.NOT_YET, Fate.NOT_YET], None), ([LOST, LOST], [Fate.NOT_YET], None)])
def test_a_change_is_sent_again_only_if_it_was_not_carried_out(changes: list[Any], fates: list[Fate],
                                                               done: bool | None) -> None:
    def change() -> bool:
        found = changes.pop(0)
        if found is LOST:
            raise LOST
        return bool(found)

    changes, fates = [*changes], [*fates]
    if done is None:
        with pytest.raises(StoreUnavailable):
            applied(change, lambda: fates.pop(0))
    else:
        assert applied(change, lambda: fates.pop(0)) is done
    assert (changes, fates) == ([], [])


# -- whether an answer is one to the question ----------------------------------------------------------------------

ROW = (b"k1", b"data", 1.0, 1.0, 1.0, None, b"anna", 1)
ANOTHERS = (b"k2", *ROW[1:])
BERTS = (*ROW[:6], b"bert", 1)
ASKED = {"key": "k1", "after": "k0", "owner": b"anna"}


@pytest.mark.parametrize(("statement", "rows", "fits"), [
    ("read", [ROW], True), ("read", [], True), ("read", [ANOTHERS], False), ("read", [ROW, ROW], False),
    ("read", [ROW[:4]], False), ("read", [None], False), ("read", [()], False),
    ("standing", [ROW[:4]], True), ("standing", [ANOTHERS[:4]], False), ("standing", [ROW, ROW], False),
    ("stands", [ROW[:1]], True), ("stands", [ANOTHERS[:1]], False), ("touch", [], True), ("touch", [ROW], False),
    ("page", [ROW, ANOTHERS], True), ("page", [ROW, (b"k0", *ROW[1:])], False), ("page", [(7,)], False),
    ("page", [(None,)], False), ("page", [()], False), ("stands", [], True),
    ("page_of_user", [ROW, ANOTHERS], True), ("page_of_user", [ROW, BERTS], False),
    ("page_of_user", [(b"k0", *ROW[1:])], False)])
def test_an_answer_to_another_question_is_none(statement: str, rows: list[Any], fits: bool) -> None:
    if fits:
        check_answer(statement, Result(0, rows), ASKED)
        return
    with pytest.raises(StatementFailed) as caught:
        check_answer(statement, Result(0, rows), ASKED)
    assert caught.value.fault is Fault.MIXED_UP


def test_what_changes_one_record_changes_no_more() -> None:
    check_answer("touch", Result(1, []), ASKED)
    with pytest.raises(StatementFailed):
        check_answer("touch", Result(2, []), ASKED)
