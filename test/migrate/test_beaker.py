"""Sessions of Beaker, from 1.5 to the newest: what the real ones wrote is read, whatever they wrote it to."""

from __future__ import annotations

import base64
import pickle
import sys
import zlib
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import beaker.session
import pytest
from former_captures import capture, put_files, put_memcached, put_redis, put_sqlite, sql_table, value_of
from servers_sql import QUOTED

from session2 import ConfigurationError, SessionError, StoreUnavailable
from session2.migrate import Fate, Former, Skipped, Source, bring, cookies, open_source
from session2.store.volatile import VolatileSessionStore

VERSIONS = ("1.5.4", "1.8.1", "1.11.0", "1.14.1")
PLAIN = {"user": "ada", "basket": ["tea", "milk"], "name": "Käthe"}
RICH = {**PLAIN, "since": datetime(2011, 2, 3, 4, 5, 6), "price": Decimal("1.20"), "pair": (1, None), "both": {1, 2}}
MADE = 1795899000.0  # on the evening of the day when the captures were made
SECRET = "beaker's secret"


def captured(*kinds: str) -> list[Any]:
    return [pytest.param(version, kind, id=f"{version}-{kind}") for version in VERSIONS for kind in kinds
            if kind in capture("beaker", version)]


def check(source: Source, part: dict[str, Any], items: dict[str, Any]) -> None:
    """See that the visitors of a capture are found, one by one and listed."""
    ada, guest = (source.find(visitor["id"]) for visitor in part["visitors"])
    assert isinstance(ada, Former)
    assert isinstance(guest, Former)
    assert ada.state == {"data": items, "user": "ada"}
    assert guest.state == {"data": {"basket": ["jam"]}}
    for each in (ada, guest):
        assert each.created is not None
        assert each.accessed is not None
        assert MADE < each.created <= each.accessed < MADE + 3600
    assert {each.id: each.state for each in source.scan()} == (
        {ada.id: ada.state, guest.id: guest.state} if source.can_list else {})
    assert source.find("0" * 32) is None
    source.close()


@pytest.mark.parametrize(("version", "kind"), captured("file", "signed", "json"))
def test_sessions_in_files_are_read(version: str, kind: str, tmp_path: Path) -> None:
    part = capture("beaker", version)[kind]
    put_files(part, tmp_path)
    check(open_source(f"beaker+file:{tmp_path}", user_key="user"), part, PLAIN if kind == "json" else RICH)


def test_sessions_in_a_folder_of_its_own_are_read(tmp_path: Path) -> None:
    part = capture("beaker", "1.14.1")["file"]
    put_files(part, tmp_path)
    check(open_source(f"beaker+file:{tmp_path}/container_file", user_key="user"), part, RICH)


@pytest.mark.parametrize(("version", "kind"), captured("dbm"))
def test_sessions_in_dbm_files_are_read(version: str, kind: str, tmp_path: Path) -> None:
    part = capture("beaker", version)[kind]
    put_files(part, tmp_path)
    check(open_source(f"beaker+dbm:{tmp_path}", user_key="user"), part, RICH)


@pytest.mark.parametrize(("version", "kind"), captured("database"))
def test_sessions_in_a_table_of_sqlite_are_read(version: str, kind: str, tmp_path: Path) -> None:
    part = capture("beaker", version)[kind]
    path = put_sqlite(part, "beaker_cache", tmp_path)
    check(open_source(f"beaker+sqlite:{path}", user_key="user"), part, RICH)


@pytest.mark.parametrize(("database", "fixture"), [("postgresql", "postgres"), ("mysql", "mariadb")])
def test_sessions_in_a_table_of_a_server_are_read(database: str, fixture: str, request: Any) -> None:
    server, part = request.getfixturevalue(fixture), capture("beaker", "1.14.1")["database"]
    with sql_table(part, "beaker_cache", database, server):
        check(open_source(f"beaker+{server.url}", user_key="user"), part, RICH)


@pytest.mark.parametrize(("version", "kind"), captured("redis"))
def test_sessions_in_redis_are_read(version: str, kind: str, redis_server: Any) -> None:
    part = capture("beaker", version)[kind]
    with redis_server.open() as client:
        put_redis(part, client)
        check(open_source(f"beaker+{redis_server.url}", user_key="user"), part, RICH)
        id = part["visitors"][0]["id"]
        client.expire(f"beaker_cache:{id}:session", 1000)
        for url in (f"beaker+{redis_server.url}", f"beaker+{redis_server.url}?timeout={10 ** 9}"):
            assert abs(open_source(url).find(id).expires - client.expiretime(f"beaker_cache:{id}:session")) < 2
        sooner = open_source(f"beaker+{redis_server.url}?timeout=1").find(id)
        assert sooner.expires == sooner.accessed + 1
        client.flushdb()


def test_redis_is_reached_by_its_socket_too(redis_server: Any) -> None:
    part = capture("beaker", "1.14.1")["redis"]
    with redis_server.open() as client:
        put_redis(part, client)
        check(open_source(f"beaker+redis+unix://:{QUOTED}@{redis_server.socket()}", user_key="user"), part, RICH)
        client.flushdb()
    with pytest.raises(StoreUnavailable):
        open_source("beaker+redis+unix:/no/such/socket").find("a" * 32)


@pytest.mark.parametrize(("version", "kind"), captured("memcached"))
def test_sessions_in_memcached_are_found(version: str, kind: str, memcached: Any) -> None:
    part = capture("beaker", version)[kind]
    put_memcached(part, memcached)
    check(open_source(f"beaker+{memcached.url}", user_key="user"), part, RICH)


# -- what is not read, and why ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("version", "kind"), captured("encrypted", "encrypted48"))
def test_what_is_encrypted_is_read_with_its_keys_only(version: str, kind: str, tmp_path: Path) -> None:
    part = capture("beaker", version)[kind]
    url = f"beaker+file:{put_files(part, tmp_path)}"
    keys = f"?encrypt_key={'k' * 32}&validate_key={'v' * 32}"
    check(open_source(url + keys, user_key="user"), part, RICH if kind == "encrypted" else PLAIN)
    for other, why in ((keys + "v", "other keys"), (keys.replace("k" * 32, "x"), "other keys"),
                       ("", "encrypted" if kind == "encrypted" else "damaged")):
        found = [each for each in open_source(url + other).scan() if isinstance(each, Skipped)]
        assert len(found) == 2
        assert all(why in each.why for each in found)


def test_without_cryptography_the_error_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    put_files(capture("beaker", "1.14.1")["encrypted"], tmp_path)
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ConfigurationError, match=r"session2\[encrypted\]"):
        list(open_source(f"beaker+file:{tmp_path}?encrypt_key=k").scan())


class Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("/tmp/session2-bomb"),)


@pytest.mark.parametrize(("content", "why"), [
    (b"", "damaged"), (pickle.dumps({"cached": 1}), "no session"), (pickle.dumps([]), "no session"),
    (b"rubbish", "damaged"),
    (pickle.dumps({"session": ["no", "mapping"]}), "no mapping"),
    (pickle.dumps({"session": b"AAAA"}), "damaged"),
    (pickle.dumps({"session": b"!"}), "damaged"),
    (pickle.dumps({"session": base64.b64encode(b"x\x9c rubbish")}), "damaged"),
    (pickle.dumps({"session": base64.b64encode(zlib.compress(b"[1"))}), "damaged"),
    (pickle.dumps({"session": base64.b64encode(zlib.compress(b" " * 2 ** 25))}), "larger"),
    (pickle.dumps({"session": {1: "no name"}}), "no text"),
    (pickle.dumps({"session": {"bomb": Bomb()}}), "--allow"),
    (pickle.dumps({"session": base64.b64encode(pickle.dumps({"bomb": Bomb()}))}), "--allow")])
def test_what_cannot_be_read_is_skipped_and_harms_nobody(content: bytes, why: str, tmp_path: Path) -> None:
    id = "0123456789abcdef0123456789abcdef"
    path = tmp_path / "container_file/0/01" / f"{id}.cache"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    [found] = open_source(f"beaker+file:{tmp_path}").scan()
    assert isinstance(found, Skipped)
    assert why in found.why
    assert id not in repr(found)
    assert not Path("/tmp/session2-bomb").exists()


def test_files_that_are_none_of_beakers_are_told(tmp_path: Path) -> None:
    part = capture("beaker", "1.14.1")["file"]
    put_files(part, tmp_path)
    folder = tmp_path / "container_file/a/ab"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ab.cache").write_bytes(b"")
    (folder / f"{'ab' * 16}.cache.temp").write_bytes(b"")
    (tmp_path / "container_file/README").write_bytes(b"")
    found = list(open_source(f"beaker+file:{tmp_path}").scan())
    assert [each for each in found if isinstance(each, Skipped)] == [Skipped("a file", "its name is no id")]
    assert len(found) == 3


def test_a_damaged_dbm_file_is_skipped(tmp_path: Path) -> None:
    part = capture("beaker", "1.14.1")["dbm"]
    put_files(part, tmp_path)
    for path in tmp_path.rglob("*.dir"):
        path.write_text("'rubbish'")
    assert {each.why for each in open_source(f"beaker+dbm:{tmp_path}").scan()} == {
        "its file of dbm.dumb is damaged, or in use"}


@pytest.mark.parametrize("id", ["../../../etc/passwd", "a" * 19, "a" * 65, "0/01", "", "a\r\nset x", "é" * 20,
                                "*" * 32])
def test_what_could_be_no_id_is_looked_for_nowhere(id: str, tmp_path: Path) -> None:
    put_files(capture("beaker", "1.14.1")["file"], tmp_path)
    for kind in ("file", "dbm"):
        assert open_source(f"beaker+{kind}:{tmp_path}").find(id) is None
    assert open_source("beaker+memcached://localhost:1").find(id) is None


def test_a_place_that_is_not_there_is_an_error_and_no_end_of_sessions(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no directory"):
        list(open_source(f"beaker+file:{tmp_path}/none").scan())
    with pytest.raises(StoreUnavailable):
        open_source("beaker+redis://127.0.0.1:1/0").find("a" * 32)
    with pytest.raises(StoreUnavailable):
        open_source("beaker+memcached://127.0.0.1:1").find("a" * 32)
    with pytest.raises(SessionError, match=r"cannot be read|no file"):
        open_source(f"beaker+sqlite:{tmp_path}/none").find("a" * 32)


def test_reading_changes_nothing(tmp_path: Path) -> None:
    part = capture("beaker", "1.14.1")
    put_files(part["file"], tmp_path)
    put_files(part["dbm"], tmp_path)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}
    for kind in ("file", "dbm"):
        assert len(list(open_source(f"beaker+{kind}:{tmp_path}").scan())) == 2
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.rglob("*") if path.is_file()}
    assert after == before


# -- what is over, clocks and cookies ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["file", "dbm", "ext:database"])
def test_a_session_that_was_logged_out_is_over(kind: str, tmp_path: Path) -> None:
    options = {"type": kind, "data_dir": str(tmp_path), "url": f"sqlite:///{tmp_path}/shop.sqlite"}
    session = beaker.session.Session({}, **options)
    session["user"] = "ada"
    session.save()
    session.delete()
    session.save()
    place = f"sqlite:{tmp_path}/shop.sqlite" if kind == "ext:database" else f"{kind}:{tmp_path}"
    found = open_source(f"beaker+{place}").find(session.id)
    assert isinstance(found, Former)
    assert bring(VolatileSessionStore(), found) is Fate.EXPIRED


@pytest.mark.parametrize("content", [{}, {"session": {"_creation_time": 1.0, "_accessed_time": 1.0}}])
def test_a_session_that_was_logged_out_of_an_old_beaker_is_over(content: object, tmp_path: Path) -> None:
    path = tmp_path / "container_file/a/aa" / f"{'a' * 32}.cache"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps(content, 2))
    found = open_source(f"beaker+file:{tmp_path}").find("a" * 32)
    assert isinstance(found, Former)
    assert bring(VolatileSessionStore(), found) is Fate.EXPIRED


@pytest.mark.parametrize("time", [10 ** 400, 1e300, float("inf"), float("nan"), -1.0, True, "noon"],
                         ids=lambda time: str(time)[:5])
def test_a_time_that_is_none_is_not_known_and_ends_nothing(time: Any, tmp_path: Path) -> None:
    path = tmp_path / "container_file/a/aa" / f"{'a' * 32}.cache"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickle.dumps({"session": {"_creation_time": time, "_accessed_time": time, "a": 1}}, 2))
    found = open_source(f"beaker+file:{tmp_path}?timeout=3600").find("a" * 32)
    assert isinstance(found, Former)
    assert (found.created, found.accessed, found.expires) == (None, None, None)


@pytest.mark.parametrize("timeout", ["nan", "inf", "-1", "soon", "1e999"])
def test_a_timeout_that_is_none_is_refused(timeout: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be a number, and not less than 0"):
        open_source(f"beaker+file:{tmp_path}?timeout={timeout}")


def test_a_session_ends_when_it_would_have_ended_there(tmp_path: Path) -> None:
    part = capture("beaker", "1.14.1")["file"]
    put_files(part, tmp_path)
    for each in open_source(f"beaker+file:{tmp_path}?timeout=3600").scan():
        assert isinstance(each, Former)
        assert each.accessed is not None
        assert each.expires == each.accessed + 3600
    assert {each.expires for each in open_source(f"beaker+file:{tmp_path}").scan()} == {None}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_id_in_a_cookie_counts_if_it_is_signed_where_it_has_to_be(version: str) -> None:
    part = capture("beaker", version)
    for visitor in part["signed"]["visitors"]:
        value = value_of(visitor)
        assert cookies.beaker(secrets=["another", SECRET]).read(value) == visitor["id"]
        assert cookies.beaker(secrets=["another"]).read(value) is None
        assert cookies.beaker(secrets=[SECRET]).read(visitor["id"]) is None
        assert cookies.beaker(secrets=[SECRET]).read(value[:-1] + "0") is None or value.endswith("0")
        assert cookies.beaker(secrets=[SECRET]).read("é" * 72) is None
    for visitor in part["file"]["visitors"]:
        assert cookies.beaker().read(value_of(visitor)) == visitor["id"]
    assert cookies.beaker().read("short") is None


@pytest.mark.parametrize("version", ["1.11.0", "1.14.1"])
def test_a_session_in_a_signed_cookie_is_read(version: str) -> None:
    part = capture("beaker", version)
    plain = cookies.beaker_signed(["v" * 32], user_key="user", timeout=60)
    sealed = cookies.beaker_signed(["v" * 32], user_key="user", timeout=60, encrypt_key="k" * 32)
    for cookie, visitor in [*((plain, visitor) for visitor in part["cookie"]["visitors"]),
                            (sealed, part["encrypted_cookie"]["visitors"][0])]:
        id = cookie.read(value_of(visitor))
        assert id is not None
        found = cookie.source.find(id)
        assert isinstance(found, Former)
        assert found.state == {"data": PLAIN, "user": "ada"}
        assert found.accessed is not None
        assert found.expires == found.accessed + 60
        assert cookies.beaker_signed(["w" * 32]).read(value_of(visitor)) is None
        assert cookies.beaker_signed(["w" * 32]).source.find(id) is None
