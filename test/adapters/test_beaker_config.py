"""Beaker's options: which are honoured, which have no effect, and which stop the application at its start."""

from __future__ import annotations

import datetime
import inspect
import logging
import re
from pathlib import Path
from typing import Any

import beaker.session
import beaker.util
import pytest

from session2 import ConfigurationError, CookiePolicy, DictSession, Encrypted, JSONSerializer, Signed, from_url
from session2.store.directory import DirectorySessionStore
from session2.store.shelve import ShelveSessionStore
from session2.store.sqlite import SQLiteSessionStore
from session2.store.volatile import VolatileSessionStore
from session2.urls import check
from session2_wsgi import Beaker, SessionMiddleware, config, from_beaker_config

DEFAULTS = CookiePolicy("beaker.session.id", path="/")


def translated(**options: Any) -> Any:
    return from_beaker_config({f"session.{name}": value for name, value in options.items()}, store="volatile:")


def refused(**options: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        from_beaker_config({f"session.{name}": value for name, value in options.items()})
    return str(caught.value)


# -- the store -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "kind"), [
    ({}, VolatileSessionStore),
    ({"type": "memory"}, VolatileSessionStore),
    ({"data_dir": "{}/new/data"}, DirectorySessionStore),
    ({"type": "file", "data_dir": "{}/data"}, DirectorySessionStore),
    ({"type": "dbm", "data_dir": "{}/data"}, ShelveSessionStore),
    ({"type": "ext:database", "url": "sqlite:///{}/s.db"}, SQLiteSessionStore),
    ({"type": "ext:sqla", "url": "sqlite+pysqlite:///{}/s.db"}, SQLiteSessionStore),
], ids=str)
def test_the_store_is_of_the_same_kind_and_set_up(options: dict[str, str], kind: type, tmp_path: Path) -> None:
    given = {f"session.{name}": value.format(tmp_path) for name, value in options.items()}
    manager = from_beaker_config(given).manager
    assert type(manager.store) is kind
    session = manager.new_session()
    session["a"] = 1
    manager.save(session)
    assert [dict(found) for found in manager.values()] == [{"a": 1}]


def test_memory_of_one_process_is_told(caplog):
    assert "sessions are kept in the memory of this process alone" in from_beaker_config({}).notes[-1]
    assert "sessions are kept in the memory of this process alone" in caplog.text


@pytest.mark.parametrize("url", ["postgresql+psycopg2://shop@nowhere.invalid/shop",
                                 "mysql+pymysql://shop@nowhere.invalid/shop", "postgresql://shop@nowhere.invalid/shop"])
def test_the_url_of_a_database_loses_its_driver(url, monkeypatch):
    asked = []
    monkeypatch.setattr("session2_wsgi.storage.from_url",
                        lambda url, **_: asked.append(url) or VolatileSessionStore())
    from_beaker_config({"session.type": "ext:database", "session.url": url})
    assert asked == [re.sub(r"\+\w+", "", url)]


def test_turbogears_default_folder_is_found(tmp_path):
    manager = from_beaker_config({"cache_dir": str(tmp_path)}).manager
    assert isinstance(manager.store, DirectorySessionStore)
    assert (tmp_path / "sessions/session2").is_dir()


@pytest.mark.parametrize("store", [lambda: "volatile:", VolatileSessionStore])
def test_another_store_can_be_given(store):
    given = {"session.type": "ext:mongodb", "session.url": "mongodb://nowhere"}
    assert isinstance(from_beaker_config(given, store=store()).manager.store, VolatileSessionStore)


@pytest.mark.parametrize("kind", ["ext:mongodb", "ext:google", "files"])
def test_a_store_without_counterpart_is_refused(kind):
    assert f"session.type = {kind}" in refused(type=kind)


def test_sessions_in_cookies_are_sealed_as_configured(monkeypatch):
    seals = []
    with monkeypatch.context() as patch:
        patch.setattr("session2_wsgi.storage.from_url",
                      lambda url, serializer: seals.append((url, serializer)) or from_url(url, serializer=serializer))
        from_beaker_config({"session.type": "cookie", "session.encrypt_key": "x" * 32, "session.validate_key": "y"})
        from_beaker_config({"session.type": "cookie", "session.validate_key": "y" * 32})
    assert [(url, type(seal), type(seal.inner)) for url, seal in seals] == [
        ("cookie:", Encrypted, JSONSerializer), ("cookie:", Signed, JSONSerializer)]
    assert refused(type="cookie", validate_key="short").startswith("session.validate_key: a secret has at least 32")
    assert "does not seal" in refused(type="cookie")
    assert "no pickle in cookies" in refused(type="cookie", encrypt_key="x" * 32, data_serializer="pickle")


def test_the_places_of_servers_are_translated(monkeypatch):
    asked = []
    monkeypatch.setattr("session2_wsgi.storage.from_url", lambda url, **_: asked.append(url) or VolatileSessionStore())
    from_beaker_config({"session.type": "ext:memcached", "session.url": "10.0.0.1:11211;10.0.0.2:11211"})
    from_beaker_config({"session.type": "ext:redis", "session.url": "redis://10.0.0.1:6379/2"})
    from_beaker_config({"session.type": "ext:rediscluster", "session.urls": "redis://10.0.0.1:6379,redis://10.0.0.2:1"})
    from_beaker_config({"session.type": "ext:database", "session.sa.url": "mysql+pymysql://u@10.0.0.1/d"})
    assert asked == ["memcached://10.0.0.1:11211,10.0.0.2:11211", "redis://10.0.0.1:6379/2",
                     "redis+cluster://10.0.0.1:6379,10.0.0.2:1", "mysql://u@10.0.0.1/d"]
    for url in asked:
        check(url)


def test_a_store_that_lacks_its_place_is_refused():
    assert refused(type="file") == "session.type = file needs session.data_dir"
    assert refused(type="ext:database") == "session.type = ext:database needs session.url"
    assert refused(type="ext:rediscluster") == "session.type = ext:rediscluster needs session.urls"


def test_a_client_that_is_made_already_is_refused():
    assert "not a dict: for a client" in refused(type="ext:redis", url={"a": "client"})


def test_a_password_in_the_url_is_not_repeated():
    assert "sesame" not in refused(type="ext:database", url="oracle://shop:sesame@localhost/shop")
    assert "sesame" not in refused(type="ext:redis", url="rediss://shop:sesame@localhost:port/0")


# -- what is stored, and for how long ------------------------------------------------------------------------------


def test_the_serializer_is_honoured():
    assert isinstance(translated(data_serializer="json").manager.store.serializer, JSONSerializer)
    store = translated(data_serializer="json", encrypt_key="x" * 32, validate_key="y").manager.store
    assert isinstance(store.serializer, Encrypted)
    assert isinstance(store.serializer.inner, JSONSerializer)


def test_encryption_is_never_dropped():
    assert refused(encrypt_key="short").startswith("session.encrypt_key: a secret has at least 32 bytes")
    with pytest.raises(ConfigurationError, match="encrypt_key"):
        from_beaker_config({"session.encrypt_key": "x" * 32}, store=VolatileSessionStore())


def test_json_is_never_dropped():
    """It is what keeps pickle out of the store."""
    with pytest.raises(ConfigurationError, match="data_serializer"):
        from_beaker_config({"session.data_serializer": "json"}, store=VolatileSessionStore())


@pytest.mark.parametrize("serializer", ["yaml", object()])
def test_another_serializer_is_refused(serializer):
    assert "session.data_serializer must be pickle or json" in refused(data_serializer=serializer)


def test_the_timeout_is_the_idle_clock():
    assert translated(timeout="1800").manager.clocks.idle == 1800
    assert translated().manager.clocks.idle == 14 * 86400
    assert any("session.timeout is not set" in note for note in translated().notes)
    assert not any("session.timeout" in note for note in translated(timeout=60).notes)


def test_a_session_whose_use_is_not_noted_has_no_idle_clock():
    clocks = translated(save_accessed_time="false").manager.clocks
    assert clocks.idle is None
    assert not clocks.touch_is_due(0, clocks.lifetime - 1)
    assert "needs session.save_accessed_time" in refused(timeout=60, save_accessed_time="off")


def test_a_corrupt_record_is_refused_if_that_is_configured():
    assert translated().manager.unreadable == "new"
    assert translated(invalidate_corrupt="false").manager.unreadable == "refuse"


# -- the cookie ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("options", "changed"), [
    ({}, {}),
    ({"key": "shop"}, {"name": "shop"}),
    ({"cookie_domain": ".shop.example", "cookie_path": "/shop"}, {"domain": ".shop.example", "path": "/shop"}),
    ({"secure": "true"}, {"secure": True}),
    ({"secure": False}, {"secure": False}),
    ({"httponly": "false"}, {"httponly": False}),
    ({"samesite": "strict"}, {"samesite": "Strict"}),
    ({"samesite": None}, {"samesite": None}),
    ({"cookie_expires": "true"}, {}),
    ({"cookie_expires": False}, {"max_age": 400 * 86400.0}),
    ({"cookie_expires": "300"}, {"max_age": 300.0}),
    ({"cookie_expires": 1}, {"max_age": 1.0}),
    ({"cookie_expires": datetime.timedelta(minutes=5)}, {"max_age": 300.0}),
], ids=str)
def test_the_cookie_is_as_configured(options: dict[str, Any], changed: dict[str, Any]) -> None:
    expected = {name: getattr(DEFAULTS, name) for name in DEFAULTS.__dataclass_fields__}
    assert translated(**options).manager.cookie == CookiePolicy(**{**expected, **changed})


@pytest.mark.parametrize(("options", "text"), [
    ({"cookie_expires": datetime.datetime(2038, 1, 1)}, "session.cookie_expires must be a number of seconds"),
    ({"timeout": "an hour"}, "session.timeout must be a number of seconds"),
    ({"secure": "perhaps"}, "session.secure must be true or false"),
    ({"use_cookies": "false"}, "session.use_cookies"),
    ({"samesite": "none"}, "needs secure=True"),
    ({"key": "my shop"}, "the name of a cookie"),
    ({"id": "0" * 32}, "all visitors would have one session"),
    ({"session_class": dict}, "session_class="),
    ({"namespace_class": dict}, "store="),
    ({"bind": object()}, "store="),
])
def test_what_cannot_be_honoured_is_refused(options, text):
    assert text in refused(**options)


# -- the options as such -------------------------------------------------------------------------------------------


def test_every_option_of_beaker_is_known():
    """What it takes in its sessions, checks in its configuration, and TurboGears adds."""
    taken = inspect.signature(beaker.session.Session.__init__).parameters
    parameters = set(taken) - {"self", "request", "namespace_args"}
    checked = set(re.findall(r"\('(\w+)', \(", inspect.getsource(beaker.util.coerce_session_params)))
    known = {*config._HONOURED, *config._NO_EFFECT, *config._REFUSED}
    assert len(parameters | checked) > 20
    assert (parameters | checked) - known == set()


def test_a_misspelt_option_is_refused():
    assert refused(secrue=True) == "no option of Beaker is called session.secrue; did you mean 'secure'?"


@pytest.mark.parametrize("prefix", ["session.", "beaker.session.", "session_"])
def test_all_prefixes_are_read_and_other_options_left_alone(prefix):
    given = {f"{prefix}key": "shop", "cache.type": "file", "debug": True, "beaker.cache.type": "memory"}
    assert from_beaker_config(given).manager.cookie.name == "shop"


def test_what_has_no_effect_is_told(caplog):
    notes = translated(secret="s", lock_dir="/tmp", timeout=60, **{"sa.pool_size": 5}).notes
    assert [note.partition(" ")[0] for note in notes] == ["session.secret", "session.lock_dir", "session.sa.pool_size"]
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == notes


def test_sessions_of_turbogears_must_be_off():
    assert any("session.enabled" in note for note in translated(enabled="true").notes)
    assert not any("session.enabled" in note for note in translated(enabled="false").notes)


def test_settings_of_the_middleware():
    given = {"session.auto": "true", "session.webtest_varname": "shop", "i18n.no_session_touch": "true",
             "i18n.lang_session_key": "language"}
    settings = from_beaker_config(given, store=from_url("volatile:")).settings
    assert settings == {"beaker": Beaker(auto=True, unnoticed="language", testing_name="shop")}
    assert translated(tg_avoid_touch="true").settings["beaker"].unnoticed == "tg_lang"
    assert translated().settings == {"beaker": Beaker()}


def test_arguments_of_the_manager_complement_the_options():
    class Shopper(DictSession):
        pass

    manager = from_beaker_config({"session.timeout": 60}, store="volatile:", session_class=Shopper, concurrency="lock",
                                 idle_timeout=30, lifetime=None).manager
    assert (manager.session_class, manager.concurrency, manager.clocks.idle, manager.clocks.lifetime) == (
        Shopper, "lock", 30, None)


def test_three_lines_adopt_it():
    translation = from_beaker_config({"session.auto": True})
    assert SessionMiddleware(lambda environ, start: [], translation.manager, **translation.settings)


def test_options_in_the_place_of_a_manager_are_refused_with_the_way_to_go():
    with pytest.raises(ConfigurationError, match=r"beaker = from_beaker_config\(options\)"):
        SessionMiddleware(lambda environ, start: [], {"session.type": "memory"})
