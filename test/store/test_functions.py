"""The three functions of CherryPy 0.10: the suite on a table of them, the example of its manual, and old data."""

from __future__ import annotations

import base64
import io
import json
import pickle
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from servers_sql import MariaServer

from session2 import (
    ConfigurationError,
    DictSession,
    Encrypted,
    JSONSerializer,
    LockTimeout,
    PickleSerializer,
    SessionManager,
    StoreUnavailable,
    get_secret,
    merge,
    tokens,
)
from session2.events import Event
from session2.store.cached import CachedSessionStore
from session2.store.directory import DirectorySessionStore
from session2.store.functions import NEVER, OURS, FunctionSessionStore, _name, hooks
from session2.store.volatile import VolatileSessionStore
from session2.testing import StoreSuite
from session2.testing.fakes import Clock, FakeExchange
from session2.testing.store.samples import KEY, record_at
from session2.testing.store.shop import again, saved
from session2.testing.store.visitor import Visitor, logged_in, manage


class Table:
    """What an application of old keeps its sessions in: everything is pickled."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[bytes, float]] = {}

    def save(self, session_id: str, data: dict[str, Any], expires: float) -> None:
        self.rows[session_id] = pickle.dumps(data), expires

    def load(self, session_id: str) -> Any:
        if session_id not in self.rows:
            return None
        data, expires = self.rows[session_id]
        return pickle.loads(data), expires

    def delete(self, session_id: str) -> None:
        self.rows.pop(session_id, None)


class OnTable(FunctionSessionStore):
    def __init__(self, **options: Any) -> None:
        self.table = Table()
        super().__init__(self.table.save, self.table.load, **options)


class TestFunctions(StoreSuite):
    store_class = OnTable


# -- what the functions are given --------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def store(table: Table, clock: Clock) -> FunctionSessionStore:
    return FunctionSessionStore(table.save, table.load, clock=clock)


def test_they_are_given_the_items_as_a_plain_dict(store: FunctionSessionStore, table: Table) -> None:
    session = saved(store, colour="blue", basket=["a"])
    ((session_id, (data, expires)),) = table.rows.items()
    found = pickle.loads(data)
    ours = found.pop(OURS)
    assert (type(found), found, expires) == (dict, {"colour": "blue", "basket": ["a"]}, NEVER)
    assert str(session.id) not in session_id + repr(ours)
    assert len(session_id) == 43, "the column of the manual's table holds 50"


def test_a_lock_is_no_row_of_the_table(store: FunctionSessionStore, table: Table) -> None:
    visitor = logged_in(manage(store, concurrency="lock"), n=1)
    with visitor.visit():
        assert {len(session_id) for session_id in table.rows} == {43}


def test_the_time_is_that_at_which_the_session_ends(store: FunctionSessionStore, table: Table, clock: Clock) -> None:
    visitor = logged_in(manage(store), n=1)
    ((_, expires),) = [row for name, row in table.rows.items() if pickle.loads(row[0]).get("n")]
    assert expires == clock.now + 100
    clock.advance(50)
    visitor.look()
    assert clock.now + 100 in [expires for _, expires in table.rows.values()]


def test_what_somebody_else_does_with_the_time_counts(store: FunctionSessionStore, table: Table, clock: Clock) -> None:
    """But for rounding: a column may hold whole seconds."""
    session = saved(store, n=1)
    ((name, (data, _)),) = table.rows.items()
    for expires, shown in ((int(clock.now + 10), int(clock.now + 10)), (int(NEVER), None)):
        table.rows[name] = data, expires
        assert again(store, session).expires == shown
    table.rows[name] = data, clock.now - 1
    assert not store.has_session(session.id)


def test_nothing_is_saved_and_as_expired_where_nothing_deletes(store: FunctionSessionStore, table: Table) -> None:
    session = saved(store, n=1)
    store.remove(str(session.key))
    assert [pickle.loads(data) for data, _ in table.rows.values()] == [{}]
    assert [expires for _, expires in table.rows.values()] == [0]
    assert store.read(str(session.key)) is None


def test_the_function_for_it_deletes(table: Table) -> None:
    store = FunctionSessionStore(table.save, table.load, delete=table.delete)
    session = saved(store, n=1)
    store.remove(str(session.key))
    store.remove(str(session.key))
    assert table.rows == {}


def test_a_purge_calls_the_function_for_it(table: Table) -> None:
    called: list[str] = []
    store = FunctionSessionStore(table.save, table.load, lambda: called.append("clean"))
    assert store.purge() == 0
    assert called == ["clean"]
    assert not FunctionSessionStore.can_list
    assert not FunctionSessionStore.is_multiprocess_safe


def test_a_session_may_have_an_item_of_our_name(store: FunctionSessionStore) -> None:
    session = saved(store, **{OURS: "theirs", "n": 1})
    assert again(store, session).data == {OURS: "theirs", "n": 1}


def test_items_in_a_mapping_of_another_type_come_back_in_one(store: FunctionSessionStore) -> None:
    session = saved(store, n=1)
    session.data = OrderedDict(b=1, a=2)
    store.sessions.save(session)
    assert type(again(store, session).data) is OrderedDict


def test_attributes_are_kept_too(store: FunctionSessionStore) -> None:
    session = saved(store, n=1)
    session.user, session.colour = "anna", "blue"  # type: ignore[attr-defined]
    store.sessions.save(session)
    assert vars(again(store, session)) == {**vars(session), "colour": "blue"}


def test_functions_that_keep_json_do_with_the_serializer_for_it(clock: Clock) -> None:
    texts: dict[str, tuple[str, int]] = {}

    def save(session_id: str, data: dict[str, Any], expires: float) -> None:
        texts[session_id] = json.dumps(data), int(expires)

    def load(session_id: str) -> Any:
        found = texts.get(session_id)
        return found and (json.loads(found[0]), found[1])

    store = FunctionSessionStore(save, load, serializer=JSONSerializer(), clock=clock)
    visitor = logged_in(manage(store), n=1)
    old = visitor.cookie
    with visitor.visit() as session:
        session.set_user("bert")
    assert visitor.look() == {"n": 1}
    assert Visitor(visitor.manager, old).look() == {}


def test_what_is_encrypted_is_not_taken_apart(table: Table) -> None:
    store = FunctionSessionStore(table.save, table.load, serializer=Encrypted(JSONSerializer(), get_secret()))
    session = saved(store, note="the-answer")
    assert again(store, session).data == {"note": "the-answer"}
    assert b"the-answer" not in repr(table.rows).encode()


def test_a_row_of_another_session_is_nobodys(store: FunctionSessionStore, table: Table) -> None:
    """As a column gives it that does not mind capitals."""
    session, other = saved(store, n=1), saved(store, n=2)
    names = list(table.rows)
    table.rows[names[1]] = table.rows[names[0]]
    assert again(store, session).data == {"n": 1}
    assert not store.has_session(other.id)


# -- what they do not do as they should --------------------------------------------------------------------------------


FOUND = {"of": _name(KEY), "times": [1.0, 1.0, 1.0, 9e9], "user": None, "version": "v"}


@pytest.mark.parametrize("what", ["save", "load", "cleanup", "delete"])
def test_what_a_function_raises_is_an_outage(what: str, table: Table) -> None:
    def fails(*_: Any) -> Any:
        raise OSError("of secret@host")

    functions: dict[str, Any] = {"save": table.save, "load": table.load, "cleanup": lambda: None,
                                 "delete": table.delete, what: fails}
    store = FunctionSessionStore(**functions)
    calls: dict[str, Any] = {"save": lambda: store.write(KEY, record_at(time.time()), None), "cleanup": store.purge,
                             "load": lambda: store.read(KEY), "delete": lambda: store.remove(KEY)}
    with pytest.raises(StoreUnavailable, match=f"^the function {what} raised OSError$") as caught:
        calls[what]()
    assert isinstance(caught.value.__cause__, OSError)


def test_an_error_of_ours_stays_what_it_is(table: Table) -> None:
    """As where the functions are those over another store."""
    def is_busy(*_: Any) -> Any:
        raise LockTimeout("busy")

    with pytest.raises(LockTimeout, match="busy"):
        FunctionSessionStore(table.save, is_busy).read(KEY)


@pytest.mark.parametrize("answer", [5, (), ({"n": 1},), ({"n": 1}, None), ([1], 5.0), ("text", "soon"),
                                    ({OURS: "text"}, 9e9), ({OURS: {}}, 9e9), ({OURS: None}, 9e9),
                                    ({OURS: {**FOUND, "raw": "", "times": [1.0]}}, 9e9),
                                    ({OURS: {**FOUND, "raw": 5}}, 9e9),
                                    ({OURS: {**FOUND, "whole": {"f": lambda: 0}}}, 9e9)], ids=range(12))
def test_an_answer_that_is_none_is_a_missing_session(answer: Any, table: Table) -> None:
    heard: list[Event] = []
    store = FunctionSessionStore(table.save, lambda _: answer, observer=heard.append)
    assert store.read(KEY) is None
    assert [event.name for event in heard] == ["corrupt"] * (answer != ({OURS: None}, 9e9))


# -- what was there before ---------------------------------------------------------------------------------------------


def old_row(store: FunctionSessionStore, session_id: str, table: Table, data: Any, expires: float) -> None:
    """Leave what an application saved that knew nothing of session2."""
    store.hash_ids = False
    table.rows[session_id] = pickle.dumps(data, 1), expires


def test_old_data_is_a_session(store: FunctionSessionStore, table: Table, clock: Clock) -> None:
    old_row(store, "a" * 43, table, {"pageViews": 3}, int(clock.now) + 60)
    visitor = Visitor(manage(store), "a" * 43)
    with visitor.visit() as session:
        assert session.data == {"pageViews": 3}
        assert session.creation_time == clock.now
        session["pageViews"] += 1
    clock.advance(70)
    assert visitor.look() == {"pageViews": 4}
    assert pickle.loads(table.rows["a" * 43][0])["pageViews"] == 4
    clock.advance(900)
    assert visitor.look() == {}


def test_two_requests_that_find_old_data_lose_nothing(store: FunctionSessionStore, table: Table, clock: Clock) -> None:
    old_row(store, "a" * 43, table, {"n": 0}, int(clock.now) + 60)
    visitor = Visitor(manage(store), "a" * 43)
    slow = visitor.begin()
    slow.session["slow"] = 1
    with visitor.visit() as session:
        session["fast"] = 1
    visitor.end(slow)
    assert visitor.look() == {"n": 0, "fast": 1, "slow": 1}


def test_old_data_lives_as_long_as_it_is_read(store: FunctionSessionStore, table: Table, clock: Clock) -> None:
    """Whoever keeps an old session in use does not lose it at the time that was saved with it."""
    session_id = tokens.new_id()
    table.save(base64.urlsafe_b64encode(bytes.fromhex(store.sessions.key(session_id))).decode().rstrip("="),
               {"n": 1}, clock.now + 50)
    manager = manage(store)
    for _ in range(12):
        request = FakeExchange({"session2": session_id})
        manager.start_request(request)
        assert dict(request.session) == {"n": 1}
        clock.advance(1)
        manager.finish_successful_request(request)
        clock.advance(30)
    version = store.read(store.sessions.key(session_id))
    assert version is not None
    assert not store.touch(store.sessions.key(session_id), 1.0, 2.0) or store.read(
        store.sessions.key(session_id)) == version
    clock.advance(100)
    assert not store.has_session(session_id)


def test_who_reads_between_two_statements_of_a_save_sees_no_gap(table: Table, clock: Clock) -> None:
    """The functions of the manual delete a row before they insert another one."""
    between, go_on = threading.Event(), threading.Event()

    def save(session_id: str, data: dict[str, Any], expires: float) -> None:
        if table.rows.pop(session_id, None):
            between.set()
            go_on.wait(10)
        table.save(session_id, data, expires)

    store = FunctionSessionStore(save, table.load, clock=clock)
    session = saved(store, n=1)
    session["n"] = 2
    with ThreadPoolExecutor(2) as threads:
        saving = threads.submit(store.save_session, session)
        assert between.wait(10)
        reading = threads.submit(again, store, session)
        with suppress(FutureTimeout):
            reading.result(0.1)
        go_on.set()
        saving.result()
        assert reading.result()["n"] == 2


def test_old_data_that_is_over_is_no_session(store: FunctionSessionStore, table: Table, clock: Clock) -> None:
    old_row(store, "a" * 43, table, {"n": 1}, clock.now - 1)
    old_row(store, "b" * 43, table, {}, clock.now + 1)
    assert not store.has_session("a" * 43)
    assert not store.has_session("b" * 43)


# -- the example of the manual -----------------------------------------------------------------------------------------


class MyDb:
    """The functions of the manual's MySQL example, with parameters in the place of ``%``."""

    def __init__(self, server: MariaServer, name: str) -> None:
        self.server, self.name = server, name
        self.query(f"create table {name} (sessionId varchar(50), sessionData text, expirationTime int unsigned)")

    def query(self, text: str, *values: Any) -> Any:
        with self.server.connect() as connection, connection.cursor() as cursor:
            cursor.execute(text, values)
            return cursor.fetchall()

    def save(self, session_id: str, session_data: Any, expiration_time: float) -> None:
        file = io.BytesIO()
        pickle.dump(session_data, file, 1)
        text = base64.encodebytes(file.getvalue())
        self.query(f"delete from {self.name} where sessionId=%s", session_id)
        self.query(f"insert into {self.name} values (%s, %s, %s)", session_id, text, int(expiration_time))

    def load(self, session_id: str) -> Any:
        found = self.query(f"select sessionData, expirationTime from {self.name} where sessionId=%s", session_id)
        if not found:
            return None
        return pickle.loads(base64.decodebytes(found[0][0].encode())), found[0][1]

    def cleanup(self) -> None:
        self.query(f"delete from {self.name} where expirationTime < %s", int(time.time()))


@pytest.fixture
def my_db(mariadb: MariaServer) -> Iterator[MyDb]:
    db = MyDb(mariadb, f"s_{uuid.uuid4().hex}")
    yield db
    db.query(f"drop table {db.name}")


def test_the_example_of_the_manual(my_db: MyDb) -> None:
    store = FunctionSessionStore(my_db.save, my_db.load, my_db.cleanup)
    manager = SessionManager(store, DictSession, idle_timeout=3600)
    visitor = Visitor(manager)  # type: ignore[arg-type]
    for count in range(1, 4):
        with visitor.visit() as session:
            session["counter"] = session.get("counter", 0) + 1
        assert visitor.look() == {"counter": count}
    old = visitor.cookie
    with visitor.visit() as session:
        session.set_user("anna")
    assert Visitor(manager, old).look() == {}  # type: ignore[arg-type]
    assert Visitor(manager, "'OR'1'='1").look() == {}  # type: ignore[arg-type]
    restarted = SessionManager(FunctionSessionStore(my_db.save, my_db.load, my_db.cleanup), DictSession)
    assert dict(restarted.load(visitor.cookie) or {}) == {"counter": 3}
    rows = my_db.query(f"select count(*) from {my_db.name}")[0][0]
    my_db.query(f"update {my_db.name} set expirationTime = 5 where expirationTime < %s", int(time.time()) + 600)
    store.purge()
    assert my_db.query(f"select count(*) from {my_db.name}")[0][0] == rows - 1, "the trace of the old id"


def test_functions_of_old_read_what_we_saved_and_we_what_they_save(my_db: MyDb) -> None:
    store = FunctionSessionStore(my_db.save, my_db.load, my_db.cleanup)
    session = saved(store, counter=1)
    ((name,),) = my_db.query(f"select sessionId from {my_db.name}")
    data, expires = my_db.load(name)
    assert data["counter"] == 1
    data["counter"] = 2
    my_db.save(name, data, expires)
    assert again(store, session).data == {"counter": 2}


# -- the functions over a store ----------------------------------------------------------------------------------------


@pytest.fixture(params=["volatile", "directory"])
def kept(request: pytest.FixtureRequest, clock: Clock, tmp_path: Path) -> Any:
    if request.param == "volatile":
        return VolatileSessionStore(clock=clock)
    return DirectorySessionStore(tmp_path / "sessions", create=True, clock=clock)


def test_old_code_finds_what_it_saved(kept: Any, clock: Clock) -> None:
    save, load, cleanup = hooks(kept)
    assert load("any id of old") is None
    save("any id of old", {"counter": 1}, clock.now + 60)
    assert load("any id of old") == ({"counter": 1}, clock.now + 60)
    assert load("any id of OLD") is None
    clock.advance(10)
    save("any id of old", {"counter": 1}, clock.now + 60)
    clock.advance(55)
    assert load("any id of old") == ({"counter": 1}, clock.now + 5)
    clock.advance(5)
    assert load("any id of old") is None
    cleanup()
    assert list(kept.scan()) == []
    assert kept.purge() == 0, "it has been done"


def test_old_code_and_the_manager_have_the_same_sessions(kept: Any, clock: Clock) -> None:
    manager = manage(kept)
    functions, visitor = hooks(manager), logged_in(manager, n=1)
    data, expires = functions.load(str(visitor.cookie)) or ({}, 0)
    assert (data, expires) == ({"n": 1}, clock.now + 100)
    functions.save(str(visitor.cookie), {**data, "m": 2}, expires)
    assert visitor.look() == {"n": 1, "m": 2}
    with visitor.visit() as session:
        assert session.user == "anna"


def test_old_code_loses_no_update_of_the_dict_it_loaded(kept: Any, clock: Clock) -> None:
    """And a merge rule of the manager's session class counts."""
    manager = manage(kept)
    functions, visitor = hooks(manager), logged_in(manager, n=1, visits=1)
    one, _ = functions.load(str(visitor.cookie)) or ({}, 0)
    two, _ = functions.load(str(visitor.cookie)) or ({}, 0)
    for number, data in enumerate((one, two)):
        data[f"key {number}"] = number  # type: ignore[index]
        data["visits"] += 1  # type: ignore[index]
        functions.save(str(visitor.cookie), data, clock.now + 60)  # type: ignore[arg-type]
    del two["n"]  # type: ignore[attr-defined]
    functions.save(str(visitor.cookie), two, clock.now + 60)  # type: ignore[arg-type]
    one["late"] = 1  # type: ignore[index]
    functions.save(str(visitor.cookie), one, clock.now + 60)  # type: ignore[arg-type]
    assert visitor.look() == {"visits": 3, "key 0": 0, "key 1": 1, "late": 1}
    assert one == visitor.look()
    assert merge.add is type(visitor.begin().session).merge_rules["visits"]


def test_what_was_loaded_of_one_session_can_be_saved_as_another(kept: Any, clock: Clock) -> None:
    save, load, _ = hooks(kept)
    save("one", {"n": 1}, clock.now + 60)
    data, expires = load("one") or ({}, 0)
    data["n"] = 2  # type: ignore[index]
    save("two", data, expires)  # type: ignore[arg-type]
    assert [(load(name) or ({}, 0))[0] for name in ("one", "two")] == [{"n": 1}, {"n": 2}]


def test_old_code_does_not_restore_what_has_ended(kept: Any, clock: Clock) -> None:
    functions, visitor = hooks(kept), logged_in(manage(kept), n=1)
    cookie = str(visitor.cookie)
    data, expires = functions.load(cookie) or ({}, 0)
    visitor.manager.delete(cookie)
    functions.save(cookie, data, expires)  # type: ignore[arg-type]
    functions.save(cookie, {"n": 2}, expires)
    assert functions.load(cookie) is None
    assert visitor.look() == {}


def test_a_session_may_live_for_ever(kept: Any, clock: Clock) -> None:
    save, load, _ = hooks(kept)
    save("x", {"n": 1}, NEVER)
    clock.advance(1e9)
    assert load("x") == ({"n": 1}, NEVER)


def test_functions_over_a_store_keep_the_sessions_of_another(kept: Any, clock: Clock) -> None:
    """Both ways at once: nothing is lost on the way."""
    functions = hooks(kept)
    store = FunctionSessionStore(functions.save, functions.load, functions.cleanup, clock=clock)
    visitor = logged_in(manage(store), n=1)
    with visitor.visit() as session:
        session.set_user("bert")
    assert visitor.look() == {"n": 1}


def test_old_code_sees_what_a_cache_has(clock: Clock) -> None:
    """A tier has a store of its own behind it."""
    store = CachedSessionStore(VolatileSessionStore(clock=clock), VolatileSessionStore(clock=clock))
    session = saved(store, n=1)
    session["n"] = 2
    store.save_session(session)
    _, load, _ = hooks(store)
    found = load(str(session.id))
    assert found is not None
    assert found[0] == {"n": 2}


def test_two_that_begin_one_session_at_once_both_succeed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    store = VolatileSessionStore(clock=clock)
    save, load, _ = hooks(store)
    read = store.read

    def overtaken(key: str) -> Any:
        monkeypatch.undo()
        found = read(key)
        save("old", {"theirs": 1}, clock.now + 100)
        return found

    monkeypatch.setattr(store, "read", overtaken)
    save("old", {"mine": 1}, clock.now + 100)
    assert load("old") == ({"mine": 1}, clock.now + 100)


def test_old_code_is_told_at_once_of_a_session_that_cannot_be_read(clock: Clock,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins another one under the same id, and what is there is left alone."""
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("nobody else is there to wait for"))
    store = VolatileSessionStore(clock=clock, serializer=JSONSerializer())
    functions = hooks(store)
    functions.save("an id of theirs", {"n": 1}, clock() + 100)
    store.serializer = PickleSerializer()
    assert functions.load("an id of theirs") is None
    with pytest.raises(StoreUnavailable, match="left alone"):
        functions.save("an id of theirs", {"n": 2}, clock() + 100)


def test_functions_over_sessions_that_are_no_mappings_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="session_class"):
        hooks(SessionManager(VolatileSessionStore()))
