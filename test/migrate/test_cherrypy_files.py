"""Sessions that CherryPy's own FileSession wrote, under Python 2 and 3."""

from __future__ import annotations

import datetime
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import cherrypy
import pytest
from moving import BEGAN, DATA, manager_of, visit
from wsgi_client import Client

import session2_cherrypy
from session2 import SessionManager
from session2.migrate import Former, Skipped, Source, cookies, open_source
from session2.store.volatile import VolatileSessionStore

ID = "0f" * 20


@pytest.fixture(params=["cherrypy17", "cherrypy18"])
def ids(request: pytest.FixtureRequest) -> dict[str, str]:
    found: dict[str, str] = json.loads((DATA / f"{request.param}.json").read_text("utf-8"))
    return {"folder": request.param, **found}


@pytest.fixture
def source(ids: dict[str, str], tmp_path: Path) -> Source:
    """A copy, in which the files were written when the sessions began."""
    shutil.copytree(DATA / ids["folder"], tmp_path / "sessions")
    for path in (tmp_path / "sessions").iterdir():
        os.utime(path, (BEGAN, BEGAN))
    return open_source(f"cherrypy+file:{tmp_path}/sessions", user_key="username")


def test_all_sessions_are_listed_and_no_locks(source: Source, ids: dict[str, str]) -> None:
    found = list(source.scan())
    assert sorted(each.id for each in found if isinstance(each, Former)) == sorted(
        ids[name] for name in ("anna", "bert", "late"))
    assert len(found) == 3


def test_items_times_and_user_are_kept(source: Source, ids: dict[str, str]) -> None:
    found = source.find(ids["anna"])
    assert isinstance(found, Former)
    items = {"username": "anna", "basket": ["Käse", 3], "since": datetime.datetime(2026, 11, 28, 20, 15)}
    assert found.state == {"data": items, "user": "anna"}
    assert (found.created, found.accessed) == (None, BEGAN)
    assert found.expires is not None
    assert datetime.datetime.fromtimestamp(found.expires).year == 2046


def test_its_visitor_stays_logged_in_and_who_was_late_does_not(source: Source, ids: dict[str, str]) -> None:
    manager = manager_of([cookies.cherrypy(source=source)], VolatileSessionStore())
    for name, user in (("bert", "bert"), ("late", None)):
        jar = {"session_id": ids[name]}
        assert visit(manager, jar).session.user == user
    jar = {"session_id": ids["anna"]}
    assert visit(manager, jar).session["basket"] == ["Käse", 3]
    assert set(jar) == {"session2"}
    assert visit(manager, jar).session.user == "anna"


class Shop:
    @cherrypy.expose
    def index(self) -> str:
        return f"{cherrypy.session['username']} wants {cherrypy.session['basket'][0]}"


def test_the_same_application_goes_on_with_its_cookie_of_the_same_name(source: Source, ids: dict[str, str]) -> None:
    manager = SessionManager(VolatileSessionStore(), former=[cookies.cherrypy(source=source)])
    client = Client(cherrypy.Application(Shop(), "", {"/": {
        "tools.sessions.on": True, "tools.sessions.storage_class": session2_cherrypy.StoreSession,
        "tools.sessions.manager": manager, "tools.sessions.clean_freq": 0}}))
    client.cookie = f"session_id={ids['anna']}"
    assert client.get("/").text == "anna wants Käse"
    assert client.cookie is not None
    assert client.cookie.startswith("session_id=")
    assert ids["anna"] not in client.cookie
    assert client.get("/").text == "anna wants Käse"


def test_without_a_key_nobody_is_the_user(source: Source, ids: dict[str, str]) -> None:
    found = open_source(f"cherrypy+file:{DATA}/{ids['folder']}").find(ids["anna"])
    assert isinstance(found, Former)
    assert "user" not in found.state


@pytest.mark.parametrize("id", ["", "../cherrypy17.json", ID + ".lock", ID[:-1], ID.upper(), ID + "\n", "\0" * 40])
def test_what_is_no_id_finds_nothing(source: Source, id: str) -> None:
    assert source.find(id) is None


@pytest.mark.parametrize("content", [{"a": 1}, ({"a": 1},), ({"a": 1}, None), ([1], datetime.datetime(2046, 1, 1)),
                                     ({1: 2}, datetime.datetime(2046, 1, 1)), ({"a": 1}, datetime.datetime(1, 1, 1))])
def test_what_is_no_session_of_cherrypy_is_skipped(content: Any, tmp_path: Path) -> None:
    (tmp_path / f"session-{ID}").write_bytes(pickle.dumps(content))
    (tmp_path / "session-short").write_bytes(b"")
    (tmp_path / "another file").write_bytes(b"")
    found = list(open_source(f"cherrypy+file:{tmp_path}").scan())
    assert len(found) == 2
    assert all(isinstance(each, Skipped) for each in found)
