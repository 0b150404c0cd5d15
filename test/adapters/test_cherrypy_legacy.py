"""Configurations and code of CherryPy 0.10, as its manual has them, on the CherryPy of today."""

from __future__ import annotations

import base64
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cherrypy
import pytest
from servers_sql import MariaServer

from session2 import ConfigurationError, get_secret
from session2.store.directory import DirectorySessionStore
from session2.store.volatile import VolatileSessionStore
from session2_cherrypy.legacy import legacy_config


def page_views() -> str:
    """The page view counter of the manual."""
    session_map = cherrypy.request.sessionMap
    count = session_map.get("pageViews", 0) + 1
    session_map["pageViews"] = count
    return f"Hello, you've been here {count} time(s)"


@pytest.fixture
def visit(serve: Callable[..., Any]) -> Callable[..., list[str]]:
    """Return a function that visits the counter three times, with what `legacy_config` returned."""
    def go(config: dict[str, Any], page: Callable[[], str] = page_views) -> list[str]:
        tool = {name.removeprefix("tools.sessions."): value for name, value in config.items()
                if name.startswith("tools.sessions.")}
        served = serve({"index": page}, {"tools.session_map.on": config["tools.session_map.on"]}, **tool)
        jar: dict[str, str] = {}
        bodies = []
        for _ in range(3):
            answer = served.get("/", "; ".join(f"{name}={value}" for name, value in jar.items()) or None)
            jar |= dict(header.partition(";")[0].split("=", 1) for header in answer.all("Set-Cookie"))
            bodies.append(answer.text)
        assert tool["name"] in jar
        return bodies

    return go


COUNTED = [f"Hello, you've been here {count} time(s)" for count in (1, 2, 3)]


def test_counter_in_ram_by_the_file_of_the_manual(visit: Any, tmp_path: Path) -> None:
    path = tmp_path / "RootServer.cfg"
    path.write_text("[server]\nsocketPort=8000\n\n[session]\nstorageType=ram\ntimeout=120\ncleanUpDelay=60\n")
    config = legacy_config(path)
    assert isinstance(config["tools.sessions.manager"].store, VolatileSessionStore)
    assert (config["tools.sessions.timeout"], config["tools.sessions.clean_freq"]) == (120, 60)
    assert config["tools.sessions.name"] == "CherryPySession"
    assert visit(config) == COUNTED


def test_a_file_is_read_as_python_2_read_it(tmp_path: Path) -> None:
    path = tmp_path / "RootServer.cfg"
    path.write_text("\ufeff[session]\nStorageType: file ; in a folder\n"
                    f"storagefiledir={tmp_path}/a;b\ntimeout=120 ; minutes\n", "utf-8")
    config = legacy_config(path)
    assert (config["tools.sessions.timeout"], (tmp_path / "a;b").is_dir()) == (120, True)


def test_counter_in_files(visit: Any, tmp_path: Path) -> None:
    config = legacy_config({"storageType": "file", "storageFileDir": tmp_path / "data", "cookieName": "old"})
    assert isinstance(config["tools.sessions.manager"].store, DirectorySessionStore)
    assert visit(config) == COUNTED


def test_counter_in_a_cookie(visit: Any) -> None:
    assert visit(legacy_config({"storageType": "cookie"}, secret=get_secret())) == COUNTED


def test_counter_in_a_database_by_the_functions_of_the_manual(visit: Any, mariadb: MariaServer) -> None:
    """With parameters in place of text in the statements, and None for a session that is not there."""
    def query(statement: str, *arguments: Any) -> Any:
        with mariadb.connect() as connection, connection.cursor() as cursor:
            cursor.execute(statement, arguments)
            return cursor.fetchall()

    def save(session_id: str, data: dict[str, Any], expires: float) -> None:
        text = base64.encodebytes(pickle.dumps(data, 1))
        query("DELETE FROM session_data WHERE sessionId = %s", session_id)
        query("INSERT INTO session_data VALUES (%s, %s, %s)", session_id, text, int(expires))

    def load(session_id: str) -> tuple[dict[str, Any], float] | None:
        rows = query("SELECT sessionData, expirationTime FROM session_data WHERE sessionId = %s", session_id)
        return (pickle.loads(base64.decodebytes(rows[0][0].encode())), rows[0][1]) if rows else None

    def clean_up() -> None:
        query("DELETE FROM session_data WHERE expirationTime < %s", int(time.time()))

    query("CREATE OR REPLACE TABLE session_data (sessionId varchar(50), sessionData text, expirationTime int unsigned)")
    config = legacy_config({"storageType": "custom", "timeout": "60"}, save=save, load=load, cleanup=clean_up)
    assert visit(config) == COUNTED
    (text, expires), = query("SELECT sessionData, expirationTime FROM session_data")
    assert pickle.loads(base64.decodebytes(text.encode()))["pageViews"] == 3
    assert abs(expires - time.time() - 3600) < 300
    query("UPDATE session_data SET expirationTime = 1")
    config["tools.sessions.manager"].store.purge()
    assert query("SELECT * FROM session_data") == ()
    query("DROP TABLE session_data")


@pytest.mark.parametrize(("options", "said"), [
    ({}, "storageType must be one of ram, file, cookie, custom"),
    ({"storageType": "disk"}, "not 'disk'"),
    ({"storageType": "file"}, "storageFileDir"),
    ({"storageType": "cookie"}, "secret"),
    ({"storageType": "custom"}, "save, load, cleanup"),
    ({"storageType": "ram", "timeOut": 5}, "did you mean 'timeout'"),
    ({"storageType": "ram", "timeout": "soon"}, "timeout must be a number of minutes"),
], ids=str)
def test_what_cannot_work_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        legacy_config(options)


@pytest.mark.parametrize("text", [None, "", "[server]\n", "storageType=ram"], ids=str)
def test_a_file_without_the_scope_is_refused(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "RootServer.cfg"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"RootServer\.cfg"):
        legacy_config(path)
