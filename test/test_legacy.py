"""The module paths and the store API of session2 0.6, and stores written for it."""

import importlib
import pickle
from typing import Any

import pytest
from session2.store.SessionStore import SessionStore
from session2.store.VolatileSessionStore import VolatileSessionStore

import session2
from session2 import ConfigurationError, DictSession, Session, SessionManager
from session2.session import ties
from session2.testing.fakes import FakeExchange
from session2.unheeded import OF_MANAGERS


@pytest.mark.parametrize(("path", "name"), [
    ("session2.SessionManager", "SessionManager"),
    ("session2.Session", "Session"),
    ("session2.DictSession", "DictSession"),
    *((f"session2.store.{name}", name) for name in (
        "SessionStore", "VolatileSessionStore", "DirectorySessionStore", "ShelveSessionStore", "DurusSessionStore",
        "MySQLSessionStore", "PostgresSessionStore")),
])
def test_the_old_paths_lead_to_the_classes(path: str, name: str) -> None:
    module = importlib.import_module(path)
    found = getattr(module, name)
    assert isinstance(found, type)
    assert found.__name__ == name
    with pytest.raises(AttributeError):
        module.nothing  # noqa: B018


def test_classes_are_found_as_attributes_of_the_package_too() -> None:
    import session2.SessionManager

    assert session2.SessionManager.SessionManager is SessionManager  # type: ignore[attr-defined]
    assert session2.Session.Session is Session  # type: ignore[attr-defined]


def test_a_pickle_that_names_an_old_path_is_read() -> None:
    old = (b"csession2.Session\nSession\n)\x81"
           b"}(X\x04\x00\x00\x00userX\x03\x00\x00\x00joeX\x02\x00\x00\x00idX\x01\x00\x00\x00xub.")
    session = pickle.loads(old)
    assert (type(session), session.user, session.id) == (Session, "joe", "x")


def test_the_store_api() -> None:
    store = VolatileSessionStore()
    session = DictSession()
    session["a"] = 1
    store.save_session(session)
    assert store.has_session(session.id)
    assert store.load_session(session.id)["a"] == 1
    assert store.load_session("nobody", "default") == "default"
    assert store.load_session(None) is None
    assert [found["a"] for _, found in store.iter_sessions()] == [1]
    store.delete_session(session)
    store.delete_session(session.id)
    store.delete_session(None)
    assert not store.has_session(session.id)
    assert store.is_thread_safe
    assert not store.is_multiprocess_safe


def test_old_sessions_are_deleted_by_the_minute() -> None:
    now = [1e9]
    store = VolatileSessionStore(clock=lambda: now[0])
    manager: SessionManager[Any] = SessionManager(store, DictSession)
    for age in (120, 61, 59, 0):
        session = manager.new_session()
        session["age"] = age
        ties(session).accessed = 0
        now[0] = 1e9 - age * 60
        manager.save(session)
    now[0] = 1e9
    assert store.delete_old_sessions(60) == (2, 2)
    assert sorted(session["age"] for session in manager) == [0, 59]


class ThirdPartyStore(SessionStore):
    """As people wrote them in 2006."""

    def __init__(self) -> None:  # SessionStore had no method of this name
        self.pickles: dict[str, bytes] = {}

    def load_session(self, session_id: Any, default: Any = None) -> Any:
        return pickle.loads(self.pickles[session_id]) if session_id in self.pickles else default

    def save_session(self, session: Any) -> None:
        self.pickles[session.id] = pickle.dumps(session)

    def delete_session(self, session: Any) -> None:
        del self.pickles[session.id]


def test_a_store_that_overrides_three_methods_works_under_the_manager() -> None:
    store = ThirdPartyStore()
    manager: SessionManager[Any] = SessionManager(store, DictSession)
    cookies: dict[str, str] = {}

    def visit(page: Any) -> Any:
        request = FakeExchange(cookies)
        manager.start_request(request)
        page(request)
        manager.finish_successful_request(request)
        return request.session

    visit(lambda request: None)
    assert not cookies
    visit(lambda request: request.session.update(a=1))
    first = cookies["session2"]
    assert visit(lambda request: None)["a"] == 1
    visit(lambda request: request.session.set_user("joe"))
    assert cookies["session2"] != first
    assert list(store.pickles) == [cookies["session2"]]
    assert store.has_session(cookies["session2"])
    visit(manager.expire_session)
    assert not cookies
    assert not store.pickles


@pytest.mark.parametrize("how", ["forgotten", "reserved"])
def test_such_a_store_lets_go_of_an_id_that_is_given_up(how: str) -> None:
    store = ThirdPartyStore()
    manager: SessionManager[Any] = SessionManager(store, DictSession)
    session = manager.new_session()
    manager.save(session)
    old = session.id
    if how == "reserved":
        manager.reserve_id(session)
    else:
        session.id = None
    manager.save(session)
    assert session.id != old
    assert list(store.pickles) == [session.id]
    manager.delete(str(session.id))
    assert not store.pickles


def test_what_such_a_store_cannot_do_is_said() -> None:
    with pytest.raises(ConfigurationError, match="ThirdPartyStore"):
        list(ThirdPartyStore().scan())


def test_the_public_names_exist() -> None:
    assert all(hasattr(session2, name) for name in session2.__all__)
    assert len(session2.__all__) <= 17


# -- classes for the managers and sessions of others -------------------------------------------------------------------


def plain(state: dict[str, Any]) -> type[Session]:
    return type("Old", (Session,), state)


@pytest.mark.parametrize("name", ["__getstate__", "__setstate__", "__reduce__", "__reduce_ex__"])
def test_a_session_class_that_would_be_pickled_otherwise_is_refused(name: str) -> None:
    instead = "set_state" if name == "__setstate__" else "get_state"
    with pytest.raises(ConfigurationError, match=rf"Old.{name} would not be asked .* override {instead}"):
        plain({name: lambda self, *state: {}})
    assert plain({name: lambda self, *state: {}, instead: lambda self, *state: {}})


def test_what_would_be_in_a_slot_and_not_be_stored_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Old\.basket is a slot"):
        plain({"__slots__": ("basket",)})
    assert plain({"__slots__": ()})


@pytest.mark.parametrize("name", OF_MANAGERS)
def test_a_hook_of_another_manager_that_would_not_be_called_is_refused(name: str) -> None:
    kind: Any = type("Old", (SessionManager,), {name: lambda self, *arguments: None})
    with pytest.raises(ConfigurationError, match=f"Old.{name} would not be called"):
        kind(VolatileSessionStore())


def test_a_manager_may_make_its_sessions_as_quixotes_do() -> None:
    class Old(SessionManager[Session]):
        def new_session(self, id: str | None) -> Session:  # type: ignore[override]
            session = self.session_class(id)
            session.made = "here"  # type: ignore[attr-defined]
            return session

    manager, request = Old(VolatileSessionStore(), idle_timeout=50, lifetime=70), FakeExchange()
    for _ in range(2):
        manager.start_request(request)
        session: Any = request.session
        session.set_user("joe")
        manager.finish_successful_request(request)
        request = FakeExchange(request.cookies)
    (found,) = manager.values()
    assert (found.made, found.get_remote_address()) == ("here", "192.0.2.1")  # type: ignore[attr-defined]
    assert found.expires == pytest.approx(found.access_time + 50)


def test_a_session_class_that_begins_nothing_is_told_what_to_call() -> None:
    kind = plain({"__init__": lambda self, id: None})
    with pytest.raises(TypeError, match=r"Old.__init__ must call super\(\).__init__\(id\)"):
        SessionManager(VolatileSessionStore(), kind).new_session()
