"""Sessions of session2 0.6, session3 and Quixote: what the real ones wrote is read, moved, and still logged in."""

from __future__ import annotations

import gc
import json
import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from moving import BEGAN, DATA, manager_of, visit
from servers_durus import DurusServer, marked
from servers_sql import MariaServer, PostgresServer

from session2 import ConfigurationError, StoreUnavailable
from session2.migrate import Fate, Former, Skipped, Source, bring, cookies, open_source

ROWS = json.loads((DATA / "session2_06/rows.json").read_text("utf-8"))
OF_SESSION3 = json.loads((DATA / "session3/ids.json").read_text("utf-8"))
THEN = datetime(2026, 11, 28, 20, 15)

STATES: dict[str, dict[str, Any]] = {
    "anna": {"user": "anna", "basket": ["apples", "pears"], "since": THEN, "cheese": "Käse"},
    "bert": {"user": "bert", "data": {"count": 3, "ü": {1, 2}}},
    "carla": {"user": 42, "money": Decimal("9.90"), "digest": b"\x80\xff", "big": 2 ** 70},
    "nobody": {"data": {"colour": "grün"}},
}
"""What is read of the sessions of session2 0.6: texts of Python 2, a set, classes of an application."""

NOT_IN_POSTGRES = "nobody"
"""That pickle of protocol 0 is no text in UTF-8, so the old store could not store it either."""

STATES_OF_SESSION3: dict[str, dict[str, Any]] = {
    "anna": {"user": "anna", "since": THEN, "raw": b"\x80\xff", "_form_tokens": []},
    "bert": {"user": "bert", "data": {"ü": {1, 2}}, "_form_tokens": []},
    "carla": {"user": 42, "basket": ["Käse"], "_form_tokens": OF_SESSION3["tokens"][-16:]},
}


@pytest.fixture(scope="module")
def mysql_url(mariadb: MariaServer) -> str:
    url = mariadb.url
    with closing(mariadb.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE former_sessions (id VARCHAR(255) NOT NULL PRIMARY KEY, pickle BLOB NOT NULL, "
                       "modify_time TIMESTAMP)")
        for id, data in ROWS["mysql"].items():
            cursor.execute("REPLACE INTO former_sessions (id, pickle) VALUES (%s, %s)", (id, bytes.fromhex(data)))
        connection.commit()
    return f"session2-0.6+{url}?table=former_sessions"


@pytest.fixture(scope="module")
def postgres_url(postgres: PostgresServer) -> str:
    with closing(postgres.connect()) as connection:
        connection.execute("CREATE TABLE former_sessions (id TEXT PRIMARY KEY NOT NULL, pickle TEXT NOT NULL, "
                           "modify_time TIMESTAMP NOT NULL DEFAULT now())")
        for id, data in ROWS["postgresql"].items():
            if id == ROWS["ids"][NOT_IN_POSTGRES]:
                continue
            connection.execute("INSERT INTO former_sessions (id, pickle, modify_time) VALUES (%s, %s, now())",
                               (id, bytes.fromhex(data).decode()))
    return f"session2-0.6+{postgres.url}?table=former_sessions"


@pytest.fixture(params=marked(["directory", "shelve", "durus", "mysql", "postgresql"]))
def source(request: pytest.FixtureRequest) -> Iterator[Source]:
    """Each store of session2 0.6."""
    urls: dict[str, Callable[[], str]] = {
        "directory": lambda: f"session2-0.6+directory:{DATA}/session2_06/directory",
        "shelve": lambda: f"session2-0.6+shelve:{DATA}/session2_06/sessions.shelf",
        "durus": lambda: f"session2-0.6+durus:{DATA}/session2_06/sessions.durus",
        "mysql": lambda: str(request.getfixturevalue("mysql_url")),
        "postgresql": lambda: str(request.getfixturevalue("postgres_url")),
    }
    with closing(open_source(urls[request.param]())) as source:
        yield source


@pytest.fixture
def names(request: pytest.FixtureRequest, source: Source) -> list[str]:
    """Who is in the source and can be read."""
    is_postgres = "postgresql" in request.node.callspec.id
    return [name for name in STATES if not (is_postgres and name == NOT_IN_POSTGRES)]


def former_of(name: str) -> Former:
    return Former(ROWS["ids"][name], {**STATES[name], "_remote_address": "192.0.2.7"}, BEGAN, BEGAN + 60)


def test_a_session_is_found_by_its_id_with_its_state_and_times(source: Source, names: list[str]) -> None:
    for name in names:
        assert source.find(ROWS["ids"][name]) == former_of(name)


def test_all_are_listed_and_the_class_that_is_not_known_is_named(source: Source, names: list[str]) -> None:
    found = list(source.scan())
    assert sorted(each for each in found if isinstance(each, Former)) == sorted(map(former_of, names))
    skipped, = (each for each in found if isinstance(each, Skipped))
    assert "--allow shop.Cart" in skipped.why


@pytest.mark.parametrize("id", ["", "nobodynobody", "../ids.json", "../../shop.py", "a\0b", "ü" * 12, "x" * 65, "%",
                                "' OR 1=1 --"])
def test_what_is_no_id_of_a_session_finds_nothing(source: Source, id: str) -> None:
    assert source.find(id) is None


def test_an_id_in_other_capitals_is_another_one(source: Source) -> None:
    assert source.find(ROWS["ids"]["anna"].swapcase()) is None


def test_who_was_logged_in_still_is(source: Source) -> None:
    manager = manager_of([cookies.quixote(source=source)])
    jar = {"QX_session": ROWS["ids"]["bert"]}
    session = visit(manager, jar).session
    assert (session.user, dict(session)) == ("bert", {"count": 3, "ü": {1, 2}})
    assert "QX_session" not in jar
    assert len(jar["session2"]) == 43
    assert visit(manager, jar).session.user == "bert"
    assert session.get_creation_time() == BEGAN


def test_a_class_that_is_allowed_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(DATA)
    source = open_source(f"session2-0.6+directory:{DATA}/session2_06/directory", allow=["shop.Cart"])
    found = source.find(ROWS["ids"]["dora"])
    assert isinstance(found, Former)
    assert (type(found.state["cart"]).__module__, found.state["cart"].goods) == ("shop", ["bread"])


@pytest.mark.parametrize("place", marked(["directory:{}/directory", "shelve:{}/sessions.shelf",
                                          "durus:{}/sessions.durus"]))
def test_sessions_of_session3_are_read_with_their_newest_tokens(place: str) -> None:
    source = open_source("session3+" + place.format(DATA / "session3"))
    expected = [Former(OF_SESSION3[name], {**state, "_remote_address": "192.0.2.7"}, BEGAN, BEGAN + 60)
                for name, state in STATES_OF_SESSION3.items()]
    assert sorted(each for each in source.scan() if isinstance(each, Former)) == sorted(expected)


@pytest.mark.parametrize("version", [2, 3])
def test_the_shelf_of_quixotes_own_manager_is_read_and_its_forms_still_work(version: int) -> None:
    ids = json.loads((DATA / f"quixote{version}/ids.json").read_text("utf-8"))
    source = open_source(f"quixote+shelve:{DATA}/quixote{version}/sessions.shelf")
    assert len(list(source.scan())) == 2
    manager = manager_of([cookies.quixote(source=source)])
    for name, (id, token) in ids.items():
        session = visit(manager, {"QX_session": id}).session
        assert (session.user, session.note, session.since) == (name, "Käse", THEN)
        assert session.has_form_token(token)


# -- what is in the way ------------------------------------------------------------------------------------------------


@pytest.mark.durus
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")  # of Durus
def test_a_durus_server_is_asked(tmp_path: Path) -> None:
    server = DurusServer(tmp_path)
    server.file.write_bytes((DATA / "session2_06/sessions.durus").read_bytes())
    source = open_source(f"session2-0.6+durus://{server.address}")
    with server:
        assert source.find(ROWS["ids"]["bert"]) == former_of("bert")
    with pytest.raises(StoreUnavailable):
        source.find(ROWS["ids"]["bert"])
    gc.collect()  # the socket that Durus leaves behind


@pytest.mark.parametrize("url", marked(["session2-0.6+directory:{}/nothing", "session2-0.6+shelve:{}/nothing",
                                        "session2-0.6+durus:{}/nothing", "cherrypy+file:{}/nothing"]))
def test_a_place_that_is_not_there_is_said_and_not_taken_for_empty(url: str, tmp_path: Path) -> None:
    source = open_source(url.format(tmp_path))
    with pytest.raises(ConfigurationError, match="there is no"):
        list(source.scan())
    with pytest.raises(ConfigurationError, match="there is no"):
        source.find("a" * 40 if "cherrypy" in url else "abcdefgh")
    assert list(tmp_path.iterdir()) == []


def test_a_dbm_file_that_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    berkeley = tmp_path / "sessions.shelf"
    berkeley.write_bytes(bytes(12) + (0x061561).to_bytes(4, "little") + bytes(4096))
    with pytest.raises(ConfigurationError, match="import anydbm, dumbdbm"):
        list(open_source(f"quixote+shelve:{berkeley}").scan())


@pytest.mark.durus
@pytest.mark.parametrize("content", [b"", b"nothing of Durus", bytes(5000)])
def test_a_damaged_durus_file_is_an_error_and_not_empty(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "sessions.durus").write_bytes(content)
    source = open_source(f"session2-0.6+durus:{tmp_path}/sessions.durus")
    with pytest.raises(StoreUnavailable, match="it is none, or damaged"):
        list(source.scan())
    assert (tmp_path / "sessions.durus").read_bytes() == content


def test_damaged_files_are_skipped_and_the_others_moved(tmp_path: Path) -> None:
    good = (DATA / "session2_06/directory" / ROWS["ids"]["anna"]).read_bytes()
    files = {"empty000": b"", "cut00000": good[:-20], "other000": good, "text0000": b"hello world",
             ROWS["ids"]["anna"]: good}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "linked00").symlink_to(tmp_path / ROWS["ids"]["anna"])
    (tmp_path / "folder00").mkdir()
    (tmp_path / "no id").write_bytes(good)
    found = list(open_source(f"session2-0.6+directory:{tmp_path}").scan())
    assert [each for each in found if isinstance(each, Former)] == [former_of("anna")]
    assert len([each for each in found if isinstance(each, Skipped)]) == len(files) + 1
    assert not any(name in str(found) for name in files)


def test_the_times_of_a_patched_session2_are_taken_from_its_files(tmp_path: Path) -> None:
    """One that was in use kept zeros for them."""
    pickled = (DATA / "session2_06/directory" / ROWS["ids"]["anna"]).read_bytes()
    for time in (BEGAN, BEGAN + 60):
        pickled = pickled.replace(struct.pack(">d", time), struct.pack(">d", 0.0))
    (tmp_path / ROWS["ids"]["anna"]).write_bytes(pickled)
    os.utime(tmp_path / ROWS["ids"]["anna"], (BEGAN, BEGAN))
    found = open_source(f"session2-0.6+directory:{tmp_path}").find(ROWS["ids"]["anna"])
    assert isinstance(found, Former)
    assert (found.created, found.accessed) == (BEGAN, BEGAN)


def test_a_time_that_is_none_is_that_of_the_file(tmp_path: Path) -> None:
    pickled = pickle.dumps(Attributes(id="abcdefgh", user="anna", _creation_time=10 ** 400, _access_time=1e300))
    (tmp_path / "abcdefgh").write_bytes(pickled)
    os.utime(tmp_path / "abcdefgh", (BEGAN, BEGAN))
    found = open_source(f"session3+directory:{tmp_path}").find("abcdefgh")
    assert isinstance(found, Former)
    assert (found.created, found.accessed) == (BEGAN, BEGAN)


def test_what_only_looks_like_our_own_notes_is_left_behind(tmp_path: Path) -> None:
    pickled = pickle.dumps(Attributes(id="abcdefgh", user="anna", _left=5, _lock_name=5, _issued="x", _form_tokens=[5]))
    (tmp_path / "abcdefgh").write_bytes(pickled)
    source = open_source(f"session3+directory:{tmp_path}")
    found = source.find("abcdefgh")
    assert isinstance(found, Former)
    assert found.state == {"user": "anna"}
    assert visit(manager_of([cookies.quixote(source=source)]), {"QX_session": "abcdefgh"}).session.user == "anna"


class Attributes:
    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)


def test_nothing_in_a_source_is_changed(source: Source) -> None:
    before = {path: path.read_bytes() for path in DATA.rglob("*") if path.is_file()}
    store = manager_of([]).store
    for found in source.scan():
        if isinstance(found, Former):
            assert bring(store, found) is Fate.MOVED
    assert {path: path.read_bytes() for path in DATA.rglob("*") if path.is_file()} == before
