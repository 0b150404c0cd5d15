"""Applications that were written for Beaker, with Beaker and with session2 in its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import beaker.middleware
import bottle
import pytest
from wsgi_client import PLAIN, Client, Start

from session2 import DictSession, SessionManager, merge
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import Clock
from session2_wsgi import Beaker, SessionMiddleware, from_beaker_config

SECRET = "a secret that is long enough for anybody"
CONFIG = {"session.key": "shop", "session.secret": SECRET, "session.timeout": 600}

Page = Callable[[Any, dict[str, Any]], object]


def visit(client: Client, page: Page, **environ: Any) -> str:
    """Send a request that `page` answers, of the session and the environment; return its text."""
    return client.get(page=page, **environ).text


def application(environ: dict[str, Any], start: Start) -> list[bytes]:
    text = str(environ["page"](environ["beaker.session"], environ)).encode()
    start("200 OK", [*PLAIN])  # Beaker adds to it
    return [text]


def with_beaker(app: Any, folder: Path, **more: Any) -> Any:
    return beaker.middleware.SessionMiddleware(app, {**CONFIG, "session.data_dir": str(folder / "beaker"), **more})


def with_session2(app: Any, folder: Path, **more: Any) -> Any:
    translated = from_beaker_config({**CONFIG, "session.data_dir": str(folder / "data"), **more})
    return SessionMiddleware(app, translated.manager, **translated.settings)


@pytest.fixture(params=[with_beaker, with_session2], ids=["Beaker", "session2"])
def serve(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., Client]:
    """Return a function that serves an application with options of Beaker's."""
    return lambda app=application, **more: Client(request.param(app, tmp_path, **more))


@pytest.fixture
def client(serve: Callable[..., Client]) -> Client:
    return serve()


def put(session: Any, environ: dict[str, Any]) -> str:
    session["a"] = 1
    session["b"] = {"c": 2}
    session.save()
    return str(session.id)


def items(session: Any, environ: dict[str, Any]) -> str:
    return str({key: session[key] for key in sorted(session.keys()) if not key.startswith("_")})


ALL = "{'a': 1, 'b': {'c': 2}}"

# -- what both do --------------------------------------------------------------------------------------------------


def test_what_is_saved_is_there_again(client):
    number = visit(client, put)
    assert visit(client, items) == ALL
    assert visit(client, lambda session, environ: session.id) == number


def test_what_is_changed_behind_save_is_saved_too(client):
    def page(session, environ):
        session.save()
        session["a"] = "behind"

    visit(client, page)
    assert visit(client, items) == "{'a': 'behind'}"


def test_without_save_nothing_is_stored(client):
    visit(client, put)
    visit(client, lambda session, environ: (session.pop("a"), session.update(b=3, d=4)))
    assert visit(client, items) == ALL


def test_with_auto_all_is_stored(serve):
    client = serve(**{"session.auto": "true"})
    visit(client, lambda session, environ: session.update(a=1))
    assert visit(client, items) == "{'a': 1}"


def test_the_cookie_is_sent_once(client):
    assert len(client.get(page=put).all("Set-Cookie")) == 1
    assert client.get(page=put).all("Set-Cookie") == []


def test_a_session_has_the_methods_of_a_dict(client):
    def page(session, environ):
        session.update({"a": 1, "b": 2})
        found = [session.get("a"), session.get("z"), session.setdefault("c", 3), session.pop("b"), "a" in session,
                 session.has_key("z"), "z" not in session, bool(session)]
        return found, session.copy()["a"], sorted(key for key in session if not key.startswith("_"))

    assert visit(client, page) == "([1, None, 3, 2, True, False, True, True], 1, ['a', 'c'])"


def test_clear_takes_all_items_away(client):
    visit(client, put)
    visit(client, lambda session, environ: (session.clear(), session.save()))
    assert visit(client, items) == "{}"


def test_revert_takes_changes_back(client):
    visit(client, put)

    def page(session, environ):
        del session["a"]
        session["b"] = session["d"] = 5
        session.revert()
        return items(session, environ)

    assert visit(client, page) == ALL


def test_delete_ends_the_session(client):
    number = visit(client, put)
    answer = client.get(page=lambda session, environ: (session.delete(), items(session, environ))[1])
    assert answer.text == "{}"
    assert len(answer.all("Set-Cookie")) == 1
    client.cookie = f"shop={number}"
    assert visit(client, items) == "{}"


def test_invalidate_begins_another_session(client):
    number = visit(client, put)

    def page(session, environ):
        created = session.created
        session.invalidate()
        session["new"] = True
        session.save()
        return session.id != number and session.created >= created

    assert visit(client, page) == "True"
    assert visit(client, items) == "{'new': True}"


def test_a_session_with_a_new_id_keeps_its_items(client):
    number = visit(client, put)
    other = visit(client, lambda session, environ: (session.regenerate_id(), session.save(), session.id)[2])
    assert other != number
    assert visit(client, items) == ALL
    assert visit(client, lambda session, environ: session.id) == other


def test_a_session_tells_whether_it_is_new_and_was_touched(client):
    def page(session, environ):
        before = session.accessed(), session.dirty()
        found = session.is_new, session.last_accessed is None
        put(session, environ)
        return before, found, session.accessed(), session.dirty()

    assert visit(client, page) == "((False, False), (True, True), True, True)"
    assert visit(client, lambda session, environ: (session.is_new, session.last_accessed is None)) == "(False, False)"


def test_the_times_can_be_asked_for_like_items(client):
    visit(client, put)
    assert visit(client, lambda session, environ: (
        session["_creation_time"] == session.created, session["_accessed_time"] >= session["_creation_time"],
        "_accessed_time" in session, session.get("_creation_time") is None)) == "(True, True, True, False)"


def test_persist_stores_at_once(client):
    def page(session, environ):
        session["a"] = 1
        session.save()
        session.persist()
        return session.get_by_id(session.id)["a"]

    assert visit(client, page) == "1"


def test_persist_without_save_stores_nothing(client):
    number = visit(client, put)

    def page(session, environ):
        session["a"] = "unsaved"
        session.persist()
        return session.get_by_id(number)["a"]

    assert visit(client, page) == "1"


def test_a_session_can_be_worked_on_by_its_id(client):
    number = visit(client, put)

    def page(session, environ):
        other = session.get_by_id(number)
        other["a"] = other["a"] + 1
        other.save()
        return other.id == number, other.is_new, session.accessed(), session.get_by_id("0" * 32)

    assert visit(Client(client.app), page) == "(True, False, False, None)"
    assert visit(client, items) == "{'a': 2, 'b': {'c': 2}}"


def test_a_session_can_be_deleted_by_its_id(client):
    number = visit(client, put)
    visit(Client(client.app), lambda session, environ: (other := session.get_by_id(number)).delete() or other.save())
    assert visit(client, items) == "{}"


def test_a_session_that_is_emptied_by_its_id_is_empty(client):
    number = visit(client, put)

    def page(session, environ):
        other = session.get_by_id(number)
        other.clear()
        other.save()

    visit(Client(client.app), page)
    assert visit(client, items) == "{}"


def test_a_session_that_is_deleted_is_dirty(client):
    visit(client, put)
    assert visit(client, lambda session, environ: (session.dirty(), session.delete(), session.dirty())) == (
        "(False, None, True)")


def test_a_session_can_be_made_without_a_request(client):
    def page(session, environ):
        made = environ["beaker.get_session"]()
        made["a"] = 1
        made.save()
        return session.get_by_id(made.id)["a"]

    assert visit(client, page) == "1"


def test_the_session_is_where_webtest_looks_for_it(serve):
    client, variables = serve(**{"session.webtest_varname": "shop"}), {}
    visit(client, put, **{"paste.testing_variables": variables})
    assert variables["shop"]["a"] == 1


def test_a_corrupt_record_is_a_new_session(client, tmp_path, recwarn):
    visit(client, put)
    for path in [*(tmp_path / "beaker").rglob("*.cache"), *(tmp_path / "data").rglob("*")]:
        if path.is_file():
            path.write_bytes(b"crap")
    assert visit(client, items) == "{}"


# -- Bottle --------------------------------------------------------------------------------------------------------


def bottle_shop() -> Any:
    app = bottle.Bottle()

    @app.route("/buy/<what>")
    def buy(what):
        session = bottle.request.environ.get("beaker.session")
        session["basket"] = [*session.get("basket", []), what]
        session.save()
        return " ".join(session["basket"])

    @app.route("/look")
    def look():
        return " ".join(bottle.request.environ.get("beaker.session").get("basket", []))

    @app.route("/stream")
    def stream():
        bottle.request.environ.get("beaker.session")["basket"] = []
        yield "one"
        yield "two"

    @app.route("/crash")
    def crash():
        bottle.request.environ.get("beaker.session").delete()
        raise RuntimeError("out of stock")

    return app


def test_bottle_keeps_its_code(serve):
    client = serve(bottle_shop())
    assert [client.get(path).text for path in ("/buy/tea", "/buy/milk", "/look", "/stream", "/look")] == [
        "tea", "tea milk", "tea milk", "onetwo", "tea milk"]
    assert client.get("/nowhere").status == 404
    assert client.get("/look").text == "tea milk"


def test_a_page_of_bottle_that_crashes_stores_nothing(tmp_path, capsys):
    client = Client(with_session2(bottle_shop(), tmp_path))
    client.get("/buy/tea")
    assert client.get("/crash", **{"wsgi.errors": bottle.sys.stderr}).status == 500
    assert client.get("/look").text == "tea"


# -- better than Beaker --------------------------------------------------------------------------------------------


@pytest.fixture
def manager() -> SessionManager[DictSession]:
    return SessionManager(VolatileSessionStore(), DictSession)


@pytest.fixture
def ours(manager: SessionManager[DictSession]) -> Client:
    return Client(SessionMiddleware(application, manager, beaker=True))


@pytest.mark.parametrize("end", ["delete", "invalidate", "regenerate_id"])
def test_the_old_id_is_dead(ours, end):
    number = visit(ours, put)
    visit(ours, lambda session, environ: (getattr(session, end)(), session.save()))
    ours.cookie = f"session2={number}"
    assert visit(ours, items) == "{}"


def test_an_id_that_was_not_issued_is_not_taken_on(ours):
    for planted in ("0" * 32, "x" * 43):
        ours.cookie = f"session2={planted}"
        assert visit(ours, put) != planted


def test_a_session_without_items_is_not_stored(ours, manager):
    assert ours.get(page=lambda session, environ: session.save()).all("Set-Cookie") == []
    assert list(manager.values()) == []


def test_what_is_changed_in_an_item_is_not_stored_without_save_either(ours):
    visit(ours, put)
    visit(ours, lambda session, environ: session["b"].update(c=3))
    assert visit(ours, items) == ALL


def test_a_session_ends_when_it_is_unused():
    clock = Clock()
    translated = from_beaker_config({"session.timeout": "600"}, store=VolatileSessionStore(clock=clock))
    client = Client(SessionMiddleware(application, translated.manager, **translated.settings))
    visit(client, put)
    for _ in range(3):
        clock.advance(599)
        assert visit(client, items) == ALL
    clock.advance(601)
    assert visit(client, items) == "{}"


def test_what_a_stream_changes_is_not_stored_without_save_either(ours, manager):
    def stream(environ, start):
        session = environ["beaker.session"]
        start("200 OK", [*PLAIN])
        yield session.id.encode()
        session["a"] = "late"
        if environ["PATH_INFO"] == "/save":
            session.save()

    visit(ours, put)
    client = Client(SessionMiddleware(stream, manager, beaker=True))
    client.cookie = ours.cookie
    client.get("/")
    assert visit(ours, items) == ALL
    client.get("/save")
    assert visit(ours, items) == ALL.replace("1", "'late'")


def test_a_login_is_stored_without_save(ours):
    visit(ours, lambda session, environ: (session.update(a=1), session.set_user("ada")))
    assert visit(ours, lambda session, environ: (session.user, dict(session))) == "('ada', {})"


def test_requests_that_overlap_lose_nothing():
    class Shopper(DictSession):
        merge_rules = {"n": merge.add}

    client = Client(SessionMiddleware(application, SessionManager(VolatileSessionStore(), Shopper), beaker=True))
    visit(client, put)

    def slow(session, environ):
        session["n"] = session.get("n", 0) + 1
        other = Client(client.app)
        other.cookie = client.cookie
        visit(other, lambda session, environ: (session.update(n=session.get("n", 0) + 1, late=True), session.save()))
        session.save()

    visit(client, slow)
    assert visit(client, items) == "{'a': 1, 'b': {'c': 2}, 'late': True, 'n': 2}"


def test_a_logout_is_not_undone_by_a_slow_request(ours):
    visit(ours, put)
    before = ours.cookie

    def slow(session, environ):
        session["a"] = 2
        other = Client(ours.app)
        other.cookie = ours.cookie
        visit(other, lambda session, environ: session.delete())
        session.save()

    visit(ours, slow)
    ours.cookie = before
    assert visit(ours, items) == "{}"


def test_a_crash_undoes_a_delete(ours):
    visit(ours, put)

    def crash(session, environ):
        session.delete()
        raise RuntimeError

    with pytest.raises(RuntimeError):
        visit(ours, crash)
    assert visit(ours, items) == ALL


def test_a_deleted_session_may_begin_anew_in_the_same_request(ours):
    number = visit(ours, put)
    visit(ours, lambda session, environ: (session.delete(), session.update(a="new"), session.save()))
    assert visit(ours, items) == "{'a': 'new'}"
    assert ours.cookie != f"session2={number}"


def test_an_empty_session_stands_in_the_place_of_one_deleted_by_its_id(ours):
    number = visit(ours, put)

    def page(session, environ):
        other = session.get_by_id(number)
        other.delete()
        return dict(other), other.id == number, other.is_new

    assert visit(Client(ours.app), page) == "({}, False, True)"


def test_what_beaker_heeds_and_we_do_not_is_refused(ours):
    for name in ("timeout", "path", "domain", "cookie_expires", "id"):
        with pytest.raises(AttributeError, match=name):
            visit(ours, lambda session, environ, name=name: setattr(session, name, 1))


def test_a_session_by_id_has_no_life_in_a_renewal():
    """An id is renewed where a browser can be told."""
    clock = Clock()
    manager = SessionManager(VolatileSessionStore(clock=clock), DictSession, renew_after=100)
    client = Client(SessionMiddleware(application, manager, beaker=True))
    number = visit(client, put)
    clock.advance(200)

    def page(session, environ):
        other = session.get_by_id(number)
        other["a"] = 2
        other.save()

    visit(Client(client.app), page)
    assert visit(client, items) == "{'a': 2, 'b': {'c': 2}}"


def test_a_lock_holds_until_the_answer_is_there():
    manager = SessionManager(VolatileSessionStore(), DictSession, lock_timeout=0)
    client = Client(SessionMiddleware(application, manager, beaker=True))
    visit(client, put)

    def page(session, environ):
        session.lock()
        other = Client(client.app)
        other.cookie = client.cookie
        locked = other.get(page=lambda session, environ: session.lock()).status
        session.unlock()
        return locked, other.get(page=lambda session, environ: session.lock()).status

    assert visit(client, page) == "(503, 200)"


def test_the_session_of_session2_is_the_same(ours):
    assert visit(ours, lambda session, environ: environ["session2.session"] is session) == "True"


def test_beakers_place_in_the_environment_can_be_another(manager):
    def app(environ, start):
        environ["page"] = lambda session, environ: type(environ["shop"]).__name__
        return application({**environ, "beaker.session": None}, start)

    client = Client(SessionMiddleware(app, manager, beaker=Beaker(key="shop")))
    assert client.get().text == "BeakerSession"
