"""Sessions of Django, from 1.11 to the newest: what the real ones wrote is read, whichever engine wrote it."""

from __future__ import annotations

import base64
import os
import pickle
import time
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from former_captures import capture, put_files, put_memcached, put_redis, put_sqlite, sql_table, value_of

from session2 import ConfigurationError
from session2.migrate import Fate, Former, Skipped, Source, bring, cookies, open_source
from session2.store.volatile import VolatileSessionStore

VERSIONS = ("1.11", "2.2", "3.2", "6.1")
SECRET = "django's secret"
PLAIN = {"basket": ["tea", "milk"], "name": "Käthe", "long": "x" * 300}
RICH = {**PLAIN, "since": datetime(2011, 2, 3, 4, 5, 6), "price": Decimal("1.20"), "pair": (1, None)}
ITEMS = {"json": PLAIN, "pickle": RICH, "cache": RICH}
MADE = 1795899300.0  # a minute or so before the captures were made
AGE = 315360000.0

KINDS = [pytest.param(version, kind, id=f"{version}-{kind}") for version in VERSIONS for kind in ("json", "pickle")
         if kind in capture("django", version)]


def caches(alias: str) -> list[Any]:
    return [pytest.param(version, id=version) for version in VERSIONS if f"cache-{alias}" in capture("django", version)]


def check(source: Source, part: dict[str, Any], kind: str, expires: bool = True) -> None:
    """See that the visitors of a capture are found, one by one and listed, logged in, with the time left."""
    found = [source.find(visitor["id"]) for visitor in part["visitors"]]
    assert all(isinstance(each, Former) for each in found)
    ada, guest, short = (each for each in found if isinstance(each, Former))
    assert ada.state["data"] == ITEMS[kind]
    assert ada.state["user"] == ada.state["_django_login"]["_auth_user_id"] == part["visitors"][0]["user"] == "1"
    assert ada.state["_django_login"].keys() == {"_auth_user_id", "_auth_user_backend", "_auth_user_hash"}
    assert guest.state == {"data": {"basket": ["jam"]}}
    assert short.state == {"data": {"basket": ["bread"], "_session_expiry": AGE // 2}}
    for each, age in ((ada, AGE), (guest, AGE), (short, AGE / 2)) if expires else ():
        assert each.expires is not None
        assert MADE < each.expires - age < MADE + 600
    listed = {each.id: each.state for each in source.scan() if isinstance(each, Former)}
    listed.pop(part.get("over", {}).get("id"), None)
    assert listed == ({each.id: each.state for each in (ada, guest, short)} if source.can_list else {})
    assert source.find("0" * 32) is None
    source.close()


@pytest.mark.parametrize(("version", "kind"), KINDS)
@pytest.mark.parametrize("query", ["", f"?secret={quote(SECRET)}"], ids=["trusted", "verified"])
def test_rows_of_sqlite_are_read(version: str, kind: str, query: str, tmp_path: Path) -> None:
    part = capture("django", version)[kind]["db"]
    path = put_sqlite(part, "django_session", tmp_path)
    check(open_source(f"django+sqlite:{path}{query}"), part, kind)


@pytest.mark.parametrize(("database", "fixture"), [("postgresql", "postgres"), ("mysql", "mariadb")])
def test_rows_of_a_server_are_read(database: str, fixture: str, request: Any) -> None:
    server, part = request.getfixturevalue(fixture), capture("django", "6.1")
    with sql_table(part["json"]["db"], "django_session", database, server):
        check(open_source(f"django+{server.url}"), part["json"]["db"], "json")
    with sql_table(part["cache-table"], "shop_cache", database, server):
        check(open_source(f"django-cache+{server.url}?table=shop_cache"), part["cache-table"], "cache")


@pytest.mark.parametrize(("version", "kind"), KINDS)
@pytest.mark.parametrize("query", ["", f"?secret={quote(SECRET)}"], ids=["trusted", "verified"])
def test_files_are_read(version: str, kind: str, query: str, tmp_path: Path) -> None:
    part = capture("django", version)[kind]["file"]
    put_files(part, tmp_path)
    age = f"{query}&" if query else "?"
    check(open_source(f"django+file:{tmp_path}{age}cookie_age={AGE}"), part, kind)


@pytest.mark.parametrize(("version", "kind"), KINDS)
def test_signed_cookies_are_read(version: str, kind: str) -> None:
    part, cookie = capture("django", version)[kind]["signed_cookies"], cookies.django_signed([SECRET], cookie_age=AGE)
    for visitor in part["visitors"]:
        assert cookie.read(value_of(visitor)) == visitor["id"]
        assert cookies.django_signed(["another"]).read(value_of(visitor)) is None
        assert cookie.read(value_of(visitor)[1:]) is None
    check(cookie.source, part, kind, expires=False)
    found = cookie.source.find(part["visitors"][0]["id"])
    assert found.accessed is not None
    assert MADE < found.accessed < MADE + 600
    assert found.expires == found.accessed + AGE


@pytest.mark.parametrize("version", caches("files"))
def test_a_cache_in_files_is_read(version: str, tmp_path: Path) -> None:
    part = capture("django", version)["cache-files"]
    check(open_source(f"django-cache+file:{put_files(part, tmp_path)}"), part, "cache")


@pytest.mark.parametrize("version", caches("table"))
def test_a_cache_in_a_table_is_read(version: str, tmp_path: Path) -> None:
    part = capture("django", version)["cache-table"]
    path = put_sqlite(part, "shop_cache", tmp_path)
    check(open_source(f"django-cache+sqlite:{path}?table=shop_cache"), part, "cache")


@pytest.mark.parametrize("version", caches("redis"))
def test_a_cache_in_redis_is_read(version: str, redis_server: Any) -> None:
    part = capture("django", version)["cache-redis"]
    with redis_server.open() as client:
        put_redis(part, client)
        client.set(":1:another thing", b"1")
        client.rpush(":1:django.contrib.sessions.cache" + "l" * 32, "a list")
        check(open_source(f"django-cache+{redis_server.url}"), part, "cache", expires=False)
        id = part["visitors"][0]["id"]
        client.expire(f":1:django.contrib.sessions.cache{id}", 1000)
        end = client.expiretime(f":1:django.contrib.sessions.cache{id}")
        assert abs(open_source(f"django-cache+{redis_server.url}").find(id).expires - end) < 2
        client.flushdb()


@pytest.mark.parametrize("version", caches("memcached"))
def test_a_cache_in_memcached_is_read(version: str, memcached: Any) -> None:
    part = capture("django", version)["cache-memcached"]
    put_memcached(part, memcached)
    check(open_source(f"django-cache+{memcached.url}"), part, "cache", expires=False)


# -- what is not read, and why ----------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("/tmp/session2-bomb",)


def old(data: bytes) -> bytes:
    return base64.b64encode(b"0" * 40 + b":" + data)


@pytest.mark.parametrize(("content", "why"), [
    (b"rubbish", "damaged"), (b"{}", "damaged"), ("é".encode(), "damaged"),
    (base64.b64encode(b"[1]") + b":1:2", "damaged"),
    (b".AAAA:1:2", "damaged"), (old(b"{"), "damaged"), (old(b""), "damaged"),
    (old(pickle.dumps([1])), "no mapping"), (old(pickle.dumps({"bomb": Bomb()})), "--allow"),
    (base64.urlsafe_b64encode(pickle.dumps({"bomb": Bomb()})) + b":1:2", "--allow")])
def test_what_cannot_be_read_is_skipped_and_harms_nobody(content: bytes, why: str, tmp_path: Path) -> None:
    id = "0123456789abcdef0123456789abcdef"
    (tmp_path / f"sessionid{id}").write_bytes(content)
    [found] = open_source(f"django+file:{tmp_path}").scan()
    assert isinstance(found, Skipped)
    assert why in found.why
    assert id not in repr(found)
    assert not Path("/tmp/session2-bomb").exists()


@pytest.mark.parametrize(("version", "kind"), KINDS)
def test_what_was_signed_with_another_secret_is_skipped(version: str, kind: str, tmp_path: Path) -> None:
    part = capture("django", version)[kind]["file"]
    found = list(open_source(f"django+file:{put_files(part, tmp_path)}?secret=another").scan())
    assert [each.why for each in found if isinstance(each, Skipped)] == ["its signature is not of this secret"] * 3


def test_files_that_only_look_like_sessions_are_told(tmp_path: Path) -> None:
    (tmp_path / "README").write_text("")
    (tmp_path / f"sessionid{'a' * 32}_out_x").write_text("")
    assert list(open_source(f"django+file:{tmp_path}").scan()) == [Skipped("a file", "its name is no id")]


@pytest.mark.parametrize("content", [b"", b"rubbish", pickle.dumps(2e9), pickle.dumps(2e9) + b"rubbish"])
def test_a_damaged_file_of_a_cache_is_skipped(content: bytes, tmp_path: Path) -> None:
    part = capture("django", "6.1")["cache-files"]
    for path in put_files(part, tmp_path).iterdir():
        path.write_bytes(content)
    found = open_source(f"django-cache+file:{tmp_path}").find(part["visitors"][0]["id"])
    assert isinstance(found, Skipped)
    assert "damaged" in found.why


@pytest.mark.parametrize("id", ["../../etc/passwd", "short", "a" * 41, "A" * 32, "", "a" * 30 + "\r\n", "é" * 20])
def test_what_could_be_no_id_is_looked_for_nowhere(id: str, tmp_path: Path) -> None:
    for url in (f"django+file:{tmp_path}", f"django+sqlite:{tmp_path}/none", f"django-cache+file:{tmp_path}",
                "django-cache+memcached://localhost:1", "django-cache+redis://localhost:1/0"):
        assert open_source(url).find(id) is None
    assert cookies.django().read(id) is None


def test_a_folder_that_is_not_there_is_an_error_and_no_end_of_sessions(tmp_path: Path) -> None:
    for url in (f"django+file:{tmp_path}/none", f"django-cache+file:{tmp_path}/none"):
        with pytest.raises(ConfigurationError, match="no directory"):
            open_source(url).find("a" * 32)


# -- times ------------------------------------------------------------------------------------------------------------


def test_times_without_zone_are_those_of_utc_or_of_this_machine(tmp_path: Path, monkeypatch: Any) -> None:
    part = capture("django", "6.1")["json"]["db"]
    path = put_sqlite(part, "django_session", tmp_path)
    id = part["visitors"][0]["id"]
    monkeypatch.setenv("TZ", "Etc/GMT-2")  # two hours ahead of UTC
    time.tzset()
    try:
        utc, local = (open_source(f"django+sqlite:{path}?times={times}").find(id) for times in ("utc", "local"))
    finally:
        monkeypatch.undo()
        time.tzset()
    assert isinstance(utc, Former)
    assert isinstance(local, Former)
    assert (utc.expires or 0) - (local.expires or 0) == 7200
    with pytest.raises(ConfigurationError, match="utc"):
        open_source(f"django+sqlite:{path}?times=mine")


@pytest.mark.parametrize("content", [b"", old(b"{}"), base64.urlsafe_b64encode(b"{}") + b":1:2"])
def test_a_session_in_which_nothing_is_is_over(content: bytes, tmp_path: Path) -> None:
    (tmp_path / f"sessionid{'a' * 32}").write_bytes(content)
    found = open_source(f"django+file:{tmp_path}").find("a" * 32)
    assert isinstance(found, Former)
    assert bring(VolatileSessionStore(), found) is Fate.EXPIRED


def test_what_is_over_says_so(tmp_path: Path) -> None:
    part = capture("django", "6.1")["json"]["db"]
    found = open_source(f"django+sqlite:{put_sqlite(part, 'django_session', tmp_path)}").find(part["over"]["id"])
    assert isinstance(found, Former)
    assert found.expires is not None
    assert found.expires < MADE + 600


def test_what_expires_at_a_moment_does_that_here_too(tmp_path: Path) -> None:
    for moment in (datetime(2030, 1, 2, 3, 4, 5), datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)):
        check_moment(tmp_path, moment)


@pytest.mark.parametrize("expiry", [10 ** 400, -10 ** 400, float("inf"), float("nan"), "noon"],
                         ids=lambda expiry: str(expiry)[:5])
def test_an_age_that_is_none_is_that_of_all_sessions(expiry: Any, tmp_path: Path) -> None:
    path = tmp_path / f"sessionid{'a' * 32}"
    path.write_bytes(old(pickle.dumps({"_session_expiry": expiry})))
    found = open_source(f"django+file:{tmp_path}?cookie_age=600").find("a" * 32)
    assert isinstance(found, Former)
    assert found.expires == path.stat().st_mtime + 600


def check_moment(folder: Path, moment: datetime) -> None:
    for expiry in (moment, moment.isoformat()):
        (folder / f"sessionid{'a' * 32}").write_bytes(old(pickle.dumps({"_session_expiry": expiry})))
        found = open_source(f"django+file:{folder}").find("a" * 32)
        assert isinstance(found, Former)
        assert found.expires == moment.timestamp()
