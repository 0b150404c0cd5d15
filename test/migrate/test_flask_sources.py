"""Sessions of Flask-Session, from 0.3 to the newest, and of Flask itself: what the real ones wrote is read."""

from __future__ import annotations

import base64
import hashlib
import os
import pickle
import sys
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from uuid import UUID

import flask
import msgspec
import pytest
from flask.sessions import SecureCookieSessionInterface
from former_captures import capture, put_files, put_memcached, put_redis, put_sqlite, sql_table, value_of
from itsdangerous import TimestampSigner
from markupsafe import Markup

from session2 import ConfigurationError
from session2.migrate import Fate, Former, Skipped, Source, bring, cookies, open_source
from session2.store.volatile import VolatileSessionStore

VERSIONS = ("0.3.1", "0.5.0", "0.8.0")
SECRET = "flask's secret"
PLAIN = {"basket": ["tea", "milk"], "name": "Käthe", "_fresh": True, "_id": "f" * 16, "_permanent": True}
SINCE = datetime(2011, 2, 3, 4, 5, 6)
RICH = {**PLAIN, "pair": (1, None), "since": SINCE}
MADE = 1795899300.0  # a few minutes before the captures were made
AGE = 315360000.0


def captured(*kinds: str) -> list[Any]:
    return [pytest.param(version, kind, id=f"{version}-{kind}") for version in VERSIONS for kind in kinds
            if kind in capture("flask_session", version)]


def check(source: Source, version: str, part: dict[str, Any], expires: bool = True) -> None:
    """See that the visitors of a capture are found, one by one and listed, logged in, with the time left."""
    ada, guest = (source.find(visitor["id"]) for visitor in part["visitors"])
    assert isinstance(ada, Former)
    assert isinstance(guest, Former)
    assert ada.state == {"data": PLAIN if version == "0.8.0" else RICH, "user": "7"}
    assert guest.state == {"data": {"basket": ["jam"], "_permanent": True}}
    for each in (ada, guest) if expires else ():
        assert each.expires is not None
        assert MADE < each.expires - AGE < MADE + 600
    assert {each.id: each.state for each in source.scan()} == (
        {ada.id: ada.state, guest.id: guest.state} if source.can_list else {})
    assert source.find("0" * 32) is None
    source.close()


@pytest.mark.parametrize(("version", "kind"), captured("filesystem"))
def test_files_are_found(version: str, kind: str, tmp_path: Path) -> None:
    part = capture("flask_session", version)[kind]
    check(open_source(f"flask-session+file:{put_files(part, tmp_path)}"), version, part)


@pytest.mark.parametrize(("version", "kind"), captured("redis", "signed", "json"))
def test_keys_of_redis_are_read(version: str, kind: str, redis_server: Any) -> None:
    part = capture("flask_session", version)[kind]
    with redis_server.open() as client:
        put_redis(part, client)
        client.set("another thing", b"1")
        check(open_source(f"flask-session+{redis_server.url}"), version, part, expires=False)
        [key] = [key for key in client.keys("session:*") if key.decode().endswith(part["visitors"][0]["id"])]
        found = open_source(f"flask-session+{redis_server.url}").find(part["visitors"][0]["id"])
        assert isinstance(found, Former)
        assert found.expires is not None
        assert abs(found.expires - client.expiretime(key)) < 2
        client.flushdb()


@pytest.mark.parametrize(("version", "kind"), captured("memcached"))
def test_items_of_memcached_are_found(version: str, kind: str, memcached: Any) -> None:
    part = capture("flask_session", version)[kind]
    put_memcached(part, memcached)
    check(open_source(f"flask-session+{memcached.url}"), version, part, expires=False)


@pytest.mark.parametrize(("version", "kind"), captured("sqlalchemy"))
def test_rows_of_sqlite_are_read(version: str, kind: str, tmp_path: Path) -> None:
    part = capture("flask_session", version)[kind]
    check(open_source(f"flask-session+sqlite:{put_sqlite(part, 'sessions', tmp_path)}"), version, part)


@pytest.mark.parametrize(("database", "fixture"), [("postgresql", "postgres"), ("mysql", "mariadb")])
def test_rows_of_a_server_are_read(database: str, fixture: str, request: Any) -> None:
    server, part = request.getfixturevalue(fixture), capture("flask_session", "0.8.0")["sqlalchemy"]
    name = "sessions_of_flask"  # its own is the one that our stores have, too
    with sql_table(part, "sessions", database, server, name):
        check(open_source(f"flask-session+{server.url}?table={name}"), "0.8.0", part)


# -- what is not read, and why ----------------------------------------------------------------------------------------


class Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, ("/tmp/session2-bomb",)


@pytest.mark.parametrize(("content", "why"), [
    (b"", "damaged"), (b"{", "damaged"), (b"[1]", "damaged"),
    (b"\x81", "damaged"), (b"\x81\x91\x01\x01", "no text"),
    (msgspec.msgpack.encode({1: 2}), "no text"), (msgspec.msgpack.encode({"x": 1}) + b"rest", "damaged"),
    (b"\x81\xa1x" + b"\x91" * 100000, "damaged"), (b'{"x":' + b"[" * 100000, "damaged"),
    (b'{"x":' + b"[" * 500 + b"]" * 500 + b"}", "deep"), (b"\x81\xa1x" + b"\x91" * 500 + b"\x01", "deep"),
    (b"\x81\x81\x01\x01\x01", "damaged"),
    (pickle.dumps(["no mapping"]), "no mapping"), (pickle.dumps({"bomb": Bomb()}), "--allow")])
def test_what_cannot_be_read_is_skipped_and_harms_nobody(content: bytes, why: str, redis_server: Any) -> None:
    id = "0123456789abcdef-0123456789abcdef"
    with redis_server.open() as client:
        client.set(f"session:{id}", content)
        [found] = open_source(f"flask-session+{redis_server.url}").scan()
        client.flushdb()
    assert isinstance(found, Skipped)
    assert why in found.why
    assert id not in repr(found)
    assert not Path("/tmp/session2-bomb").exists()


@pytest.mark.parametrize("content", [b"{}", b"\x80", b'{"_permanent": true}'])
def test_a_session_in_which_nothing_is_is_over(content: bytes, redis_server: Any) -> None:
    with redis_server.open() as client:
        client.set(f"session:{'a' * 36}", content)
        [found] = open_source(f"flask-session+{redis_server.url}").scan()
        client.flushdb()
    assert isinstance(found, Former)
    assert bring(VolatileSessionStore(), found) is Fate.EXPIRED


@pytest.mark.parametrize("content", [b"", b"12", b"1234", b"1234rubbish", b"\xff\xff\xff\xff\x80\x05rubbish",
                                     pickle.dumps(1, 1), pickle.dumps(1, 1) + b"rubbish"])
def test_a_damaged_file_is_skipped(content: bytes, tmp_path: Path) -> None:
    id = "0123456789abcdef"
    (tmp_path / hashlib.sha256(f"session:{id}".encode()).hexdigest()).write_bytes(content)
    found = open_source(f"flask-session+file:{tmp_path}").find(id)
    assert isinstance(found, Skipped)
    assert "damaged" in found.why


def test_without_msgspec_the_error_says_what_to_install(tmp_path: Path, monkeypatch: Any) -> None:
    part = capture("flask_session", "0.8.0")["sqlalchemy"]
    path = put_sqlite(part, "sessions", tmp_path)
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(ConfigurationError, match=r"session2\[msgpack\]"):
        list(open_source(f"flask-session+sqlite:{path}").scan())


@pytest.mark.parametrize("id", ["../../etc/passwd", "short", "a" * 129, "", "a" * 30 + "\r\n", "é" * 20, "*" * 20])
def test_what_could_be_no_id_is_looked_for_nowhere(id: str, tmp_path: Path) -> None:
    for url in (f"flask-session+file:{tmp_path}", f"flask-session+sqlite:{tmp_path}/none",
                "flask-session+memcached://localhost:1", "flask-session+redis://localhost:1/0"):
        assert open_source(url).find(id) is None
    assert cookies.flask_session().read(id) is None


def test_another_prefix_and_another_item_for_the_user_may_be_named(redis_server: Any) -> None:
    with redis_server.open() as client:
        client.set("shop[1]:0123456789abcdef", b'{"name": "ada", "x": 1}')
        client.set("shop1:0123456789abcdef", b'{"name": "bert", "x": 1}')
        found = list(open_source(f"flask-session+{redis_server.url}?prefix=shop[1]:", user_key="name").scan())
        client.flushdb()
    assert found == [Former("0123456789abcdef", {"data": {"x": 1}, "user": "ada"})]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_id_in_a_cookie_counts_if_it_is_signed_where_it_has_to_be(version: str) -> None:
    part = capture("flask_session", version)
    for visitor in part["signed"]["visitors"]:
        value = value_of(visitor)
        assert cookies.flask_session(secrets=["another", SECRET]).read(value) == visitor["id"]
        assert cookies.flask_session(secrets=["another"]).read(value) is None
        assert cookies.flask_session(secrets=[SECRET]).read(visitor["id"]) is None
        assert cookies.flask_session(secrets=[SECRET]).read("é" + value) is None
        assert cookies.flask_session().read(value) is None
    for visitor in part["redis"]["visitors"]:
        assert cookies.flask_session().read(value_of(visitor)) == visitor["id"]


# -- Flask's own ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.5.0", "0.8.0"])
def test_flasks_own_cookies_are_read(version: str) -> None:
    ada, guest = map(value_of, capture("flask_session", version)["flask"]["visitors"])
    cookie = cookies.flask(["another", SECRET], lifetime=60)
    assert cookie.read(ada) == ada
    found = cookie.source.find(ada)
    items = {**PLAIN, "pair": (1, None), "since": SINCE.replace(tzinfo=timezone.utc)}
    del items["_permanent"]
    assert found.state == {"data": items, "user": "7"}
    assert MADE < found.accessed < MADE + 600
    assert found.expires == found.accessed + 60
    assert cookie.source.find(guest).state == {"data": {"basket": ["jam"], "bytes": b"\0", "long": "x" * 300}}


def application(secret: str = SECRET) -> flask.Flask:
    app = flask.Flask("shop")
    app.secret_key = secret
    return app


def signed(items: dict[str, Any], secret: str = SECRET) -> str:
    serializer = SecureCookieSessionInterface().get_signing_serializer(application(secret))
    assert serializer is not None
    return str(serializer.dumps(items))


@pytest.mark.parametrize("value", [
    (1, (2, [3])), b"\x00\xff", UUID(int=7), datetime(2020, 1, 2, tzinfo=timezone.utc), {" t": 1}, {" t": [1], "x": 2},
    {" di": {" t": 1}}, Markup("<b>"), {"x": {"y": [None, True, 1.5, "ü"]}}, {" unknown": 1}, {}])
def test_all_that_flask_can_put_into_a_cookie_comes_out_of_it(value: Any) -> None:
    found = cookies.flask([SECRET]).source.find(signed({"value": value}))
    assert found.state == {"data": {"value": value}}
    assert type(found.state["data"]["value"]) is type(value)


def test_the_user_of_a_cookie_may_have_another_name() -> None:
    assert cookies.flask([SECRET], user_key="login").source.find(signed({"login": "ada"})).state["user"] == "ada"


def test_a_cookie_whose_time_was_counted_from_2011_is_as_old_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As itsdangerous did up to 0.24."""
    monkeypatch.setattr(TimestampSigner, "get_timestamp", lambda _: 3600)
    found = cookies.flask([SECRET], lifetime=60).source.find(signed({"a": 1}))
    assert (found.accessed, found.expires) == (1293843600, 1293843660)


def test_a_cookie_that_is_not_signed_so_is_none() -> None:
    value = signed({"user": "mallory"}, "another secret")
    cookie = cookies.flask([SECRET])
    for bad in (value, value[:-1], "", ".", "..", "é.é.é", signed({"x": 1})[1:], "x" + signed({"x": 1})):
        assert cookie.read(bad) is None
        assert cookie.source.find(bad) is None


@pytest.mark.parametrize("payload", [b"[1]", b"{", b"", b'{"x":{" u":"no"}}', b'{"x":{" t":1}}', b'{" t": [1]}',
                                     b'{"x":{" di":1}}', b'{"x":{" b":7}}'])
def test_what_is_signed_and_damaged_is_skipped(payload: bytes) -> None:
    signer = SecureCookieSessionInterface().get_signing_serializer(application())
    assert signer is not None
    plain = base64.urlsafe_b64encode(payload).rstrip(b"=")
    for text in (plain, b"." + base64.urlsafe_b64encode(zlib.compress(payload))):
        value = signer.make_signer(signer.salt).sign(text).decode()
        assert isinstance(cookies.flask([SECRET]).source.find(value), Skipped)


def test_secrets_are_a_list() -> None:
    for make in (cookies.flask, cookies.django_signed, cookies.beaker_signed):
        for secrets in ("text", [], [""], [SECRET, ""], [b"bytes"]):
            with pytest.raises(ConfigurationError, match="list of texts"):
                make(secrets)
