"""`session2 migrate`, and sources from URLs."""

from __future__ import annotations

import contextlib
import json
import pickle
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from moving import DATA

from session2 import ConfigurationError, DictSession, SessionManager, from_url, get_secret
from session2.cli import main
from session2.migrate import Former, Skipped, Source, bringing, cookies, open_source
from session2.migrate.systems import SYSTEMS, class_of
from session2.testing.fakes import FakeExchange
from session2.traces import is_session

SOURCE = f"session2-0.6+directory:{DATA}/session2_06/directory"
IDS = json.loads((DATA / "session2_06/rows.json").read_text("utf-8"))["ids"]

Called = Callable[..., tuple[str, str]]


@pytest.fixture
def called(capsys: pytest.CaptureFixture[str]) -> Called:
    def call(*arguments: str, code: int = 0) -> tuple[str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["migrate", *arguments])
        out, err = capsys.readouterr()
        assert ended.value.code == code, out + err
        return out, err
    return call


def counted(url: str) -> int:
    store = from_url(url)
    try:
        return sum(is_session(key, record) for key, record in store.scan())
    finally:
        store.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"directory:{tmp_path}/new"


def test_all_that_can_be_read_is_moved_and_the_rest_is_named(called: Called, url: str) -> None:
    out, err = called(SOURCE, url, code=1)
    assert out == "4 moved, 0 present, 0 left, 0 expired, 1 skipped\n"
    assert "1 skipped: it needs shop.Cart" in err
    assert counted(url) == 4
    assert not any(id in out + err for id in IDS.values())


def test_it_may_be_repeated_and_goes_on(called: Called, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called(SOURCE, url, code=1)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(DATA)
    out, err = called(SOURCE, url, "--allow", "shop.Cart", "--json")
    assert json.loads(out) == {"moved": 1, "present": 4, "left": 0, "expired": 0, "skipped": 0, "reasons": {}}
    assert err == ""


def test_a_mistyped_user_key_is_told_and_put_right_by_another_run(called: Called, url: str, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    items = {"username": "anna"}, datetime.now() + timedelta(hours=1)
    (tmp_path / f"old/session-{'4f' * 20}").write_bytes(pickle.dumps(items))
    source = f"cherrypy+file:{tmp_path}/old"
    out, err = called(source, url, "--user-key", "usrname")
    assert out.startswith("1 moved, 0 present")
    assert "no session has the item 'usrname'" in err
    assert called(source, url)[0].startswith("0 moved, 1 present")
    assert called(source, url, "--user-key", "username") == ("1 moved, 0 present, 0 left, 0 expired, 0 skipped\n", "")
    assert called(source, url)[0].startswith("0 moved, 1 present")
    with contextlib.closing(from_url(url)) as store:
        assert [record.user for key, record in store.scan() if is_session(key, record)] == ["anna"]


def test_one_that_is_interrupted_is_started_again(called: Called, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bring, left = bringing.bring, iter(range(2))

    def interrupted(*arguments: Any) -> Any:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return bring(*arguments)

    monkeypatch.setattr(bringing, "bring", interrupted)
    called(SOURCE, url, code=130)
    assert counted(url) == 2
    monkeypatch.setattr(bringing, "bring", bring)
    out, _ = called(SOURCE, url, code=1)
    assert out.startswith("2 moved, 2 present")


def test_a_dry_run_tells_the_same_and_makes_nothing(called: Called, url: str, tmp_path: Path) -> None:
    out, _ = called(SOURCE, url, "--dry-run", code=1)
    assert out == "would be: 4 moved, 0 present, 0 left, 0 expired, 1 skipped\n"
    assert list(tmp_path.iterdir()) == []
    called(SOURCE, url, code=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert called(SOURCE, url, "--dry-run", code=1)[0].startswith("would be: 0 moved, 4 present")
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_who_came_meanwhile_is_left_alone(called: Called, url: str) -> None:
    called(SOURCE, url, code=1)
    store = from_url(url)
    manager = SessionManager(store, DictSession, idle_timeout=None, lifetime=None, former=[cookies.quixote()])
    for name, leaves in (("anna", False), ("bert", True)):
        exchange = FakeExchange({"QX_session": IDS[name]})
        manager.start_request(exchange)
        assert exchange.session.user == name
        if leaves:
            manager.expire_session(exchange)
        manager.finish_successful_request(exchange)
    assert called(SOURCE, url, code=1)[0] == "0 moved, 2 present, 2 left, 0 expired, 1 skipped\n"
    assert [session.user for session in manager.sessions_of("anna")] == ["anna"]
    assert list(manager.sessions_of("bert")) == []
    store.close()


def test_what_the_format_of_the_store_cannot_keep_is_skipped_with_its_name(called: Called, tmp_path: Path) -> None:
    out, err = called(f"cherrypy+file:{DATA}/cherrypy18", f"sqlite:{tmp_path}/new?serializer=json", "--json", code=1)
    found = json.loads(out)
    assert (found["expired"], found["skipped"]) == (1, 2)
    assert "'since' cannot be written as JSON" in err
    assert list(found["reasons"].values()) == [2]


def test_reasons_are_grouped_and_places_are_few(called: Called, url: str, tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for number in range(9):
        (tmp_path / f"old/damaged{number}").write_bytes(b"damage")
    _, err = called(f"session3+directory:{tmp_path}/old", url, code=1)
    assert err.count("\n") == 1
    assert "9 skipped: it is damaged, or no pickle (session " in err
    assert err.rstrip().endswith(", ...)")


@pytest.mark.parametrize(("source", "said"), [
    ("sesion3+directory:x", "did you mean 'session3+directory'?"),
    ("directory:x", "There are: session2-0.6+directory"),
    ("cherrypy+file:", "names no place"), ("session2-0.6+directory:~/old", "no shell replaces a ~ behind a colon"),
    ("cherrypy+file:x?user=1", "has no argument 'user'; it has: user_key, encoding"),
    ("cherrypy+file:x?encoding=klingon", "knows no encoding"),
    ("session3+directory:x?encoding", "cannot be read"),
    ("session3+mysql://u:p@h@ost/db", "cannot be taken apart"),
    ("session3+mysql://host/db?table=a;b", "the name of a table"),
    pytest.param("session3+durus://nowhere", "//HOST:PORT", marks=pytest.mark.durus),
    ("session3+postgresql://u:geheim@localhost:1/x", "cannot be read"),
    ("session3+directory:/no/such/place", "there is no directory"),
])
def test_a_source_that_cannot_work_is_told_in_its_words(called: Called, url: str, source: str, said: str) -> None:
    code = 3 if "localhost:1" in source else 2
    out, err = called(source, url, code=code)
    assert said in err
    assert out == ""
    assert "geheim" not in err
    assert "p@h" not in err


@pytest.mark.parametrize("options", [["--allow", "Cart"], ["--allow", "a.b; import os"], ["--user-key", "x"]])
def test_options_that_cannot_work_are_refused(called: Called, url: str, options: list[str]) -> None:
    called(SOURCE, url, *options, code=2)


def test_a_store_that_is_in_the_browsers_is_refused(called: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION2_SECRETS", get_secret())
    _, err = called(SOURCE, "cookie:?serializer=encrypted-json", code=2)
    assert "session2 migrate needs a store" in err


def test_a_system_that_cannot_list_is_refused_with_what_to_do(called: Called, url: str,
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(class_of("session3+directory"), "can_list", False)
    _, err = called(SOURCE, url, code=2)
    assert "former=[...]" in err


def test_the_password_may_be_in_the_environment(called: Called, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr("session2.cli.moving.open_source", lambda given, *_: seen.append(given) or Nothing())
    monkeypatch.setenv("SESSION2_PASSWORD", "ge/heim")
    called("session3+mysql://joe@localhost/test", url)
    assert seen == ["session3+mysql://joe:ge%2Fheim@localhost/test"]


class Nothing(Source):
    def scan(self) -> Iterator[Former | Skipped]:
        return iter(())

    def find(self, id: str) -> None:
        return None


@pytest.mark.parametrize("scheme", SYSTEMS)
def test_every_system_of_the_table_can_be_opened(scheme: str, tmp_path: Path) -> None:
    example = SYSTEMS[scheme].example.format(tmp_path)
    assert example.startswith(scheme + ":")
    open_source(example).close()
    assert list(tmp_path.iterdir()) == []


def test_a_missing_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for scheme, extra in (("mysql", "mysql"), ("postgresql", "postgres")):
        with pytest.raises(ConfigurationError, match=rf"pip install 'session2\[{extra}\]'"):
            open_source(f"session3+{scheme}://joe@localhost/test").find("abcdefgh")


def test_every_system_is_on_a_page() -> None:
    pages = "".join(path.read_text("utf-8") for path in (DATA.parents[2] / "docs").glob("migrating*.md"))
    assert [scheme for scheme in SYSTEMS if f"`{scheme}:" not in pages] == []
