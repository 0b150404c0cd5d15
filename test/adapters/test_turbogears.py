"""TurboGears with its sessions in session2: the application stays as it was, but for its configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from turbogears_shop import shop
from wsgi_client import Client

from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import Clock
from session2_wsgi import SessionMiddleware, from_beaker_config

CONFIG = {"session.key": "shop", "session.timeout": "600", "i18n.no_session_touch": "true"}


def on_beaker(folder: Path, **config: Any) -> Any:
    return shop(folder, **{**CONFIG, "session.data_dir": str(folder / "beaker"), **config})


def on_session2(folder: Path, **config: Any) -> Any:
    beaker = from_beaker_config({**CONFIG, "session.data_dir": str(folder / "data"), **config})
    return SessionMiddleware(shop(folder, **{**config, "session.enabled": False}), beaker.manager, **beaker.settings)


@pytest.fixture(params=[on_beaker, on_session2], ids=["Beaker", "session2"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Client:
    return Client(request.param(tmp_path))


@pytest.fixture
def ours(tmp_path: Path) -> Client:
    return Client(on_session2(tmp_path))


def get(client: Client, path: str) -> str:
    path, _, query = path.partition("?")
    return client.get(path, QUERY_STRING=query).text


# -- with Beaker and with us ---------------------------------------------------------------------------------------


def test_what_is_saved_is_kept(client):
    assert [get(client, f"/buy?what={what}") for what in ("tea", "milk")] == ["tea", "tea milk"]
    assert get(client, "/basket") == "tea milk"


def test_what_is_not_saved_is_gone(client):
    get(client, "/buy?what=tea")
    assert get(client, "/try_on?what=hat") == "tea hat"
    assert get(client, "/basket") == "tea"


def test_who_only_looks_gets_no_cookie(client):
    assert get(client, "/basket") == "nothing"
    assert get(client, "/about") == "about"
    assert client.cookie is None


def test_what_is_reverted_is_as_it_was(client):
    get(client, "/buy?what=tea")
    assert get(client, "/regret") == "tea"
    assert get(client, "/basket") == "tea"


def test_a_new_id_keeps_the_items(client):
    get(client, "/buy?what=tea")
    before = client.cookie
    assert get(client, "/enter?user=ada") == "ada"
    assert client.cookie != before
    assert get(client, "/basket") == "tea"


def test_a_session_that_is_deleted_is_empty(client):
    get(client, "/buy?what=tea")
    get(client, "/leave")
    assert get(client, "/basket") == "nothing"


def test_a_session_that_is_invalidated_has_another_id(client):
    get(client, "/buy?what=tea")
    before = client.cookie
    get(client, "/start_again")
    assert client.cookie not in (None, before)
    assert get(client, "/basket") == "nothing"


def test_what_a_session_tells_of_itself(client):
    get(client, "/enter?user=ada")
    assert get(client, "/facts") == "False True True True False True True"


def test_a_session_is_found_by_its_id(client):
    get(client, "/buy?what=tea")
    number = client.cookie.partition("=")[2]
    assert get(client, f"/other?number={number}") == "tea"
    assert get(client, "/other?number=" + "0" * 32) == "none"


def test_the_session_is_in_the_environment_too(client):
    get(client, "/buy?what=tea")
    assert get(client, "/environ") == "True True"


def test_a_redirection_and_a_missing_page_are_no_crash(client):
    assert client.get("/pay").status == 302
    assert client.cookie is not None
    assert client.get("/missing").status == 404
    assert get(client, "/basket") == "ghost"


def test_a_crash_stores_nothing(client):
    get(client, "/buy?what=tea")
    with pytest.raises(RuntimeError, match="out of stock"):
        client.get("/crash")
    assert get(client, "/basket") == "tea"


# -- better than Beaker --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["/leave", "/enter?user=ada", "/start_again"])
def test_an_old_id_is_dead(ours, end):
    get(ours, "/buy?what=tea")
    before = ours.cookie
    get(ours, end)
    ours.cookie = before
    assert get(ours, "/basket") == "nothing"


def test_an_id_of_somebody_else_is_not_taken_on(ours):
    ours.cookie = "shop=" + "0" * 32
    get(ours, "/buy?what=tea")
    assert len(ours.cookie) == len("shop=") + 43


def test_the_cookie_is_as_configured_and_safe(ours):
    (cookie,) = ours.get("/buy", QUERY_STRING="what=tea").all("Set-Cookie")
    assert cookie.startswith("shop=")
    assert cookie.endswith("; Path=/; HttpOnly; SameSite=Lax")


# -- the language in the session -----------------------------------------------------------------------------------


@pytest.fixture
def aged(tmp_path: Path) -> Callable[..., tuple[Client, Any, Clock]]:
    """Return a visitor whose session has been used before, the manager, and the clock."""
    def make(**config: Any) -> tuple[Client, Any, Clock]:
        clock = Clock()
        beaker = from_beaker_config({**CONFIG, **config}, store=VolatileSessionStore(clock=clock))
        app = shop(tmp_path, **{"session.enabled": False, "i18n.enabled": True, **config})
        client = Client(SessionMiddleware(app, beaker.manager, **beaker.settings))
        get(client, "/speak?language=de")
        clock.advance(400)
        return client, beaker.manager, clock

    return make


def test_asking_for_the_language_is_no_use_of_a_session(aged):
    client, manager, clock = aged(**{"i18n.no_session_touch": "true"})
    answer = client.get("/about")
    assert answer.tokens("Vary") == ["cookie"], "the page may depend on the language"
    (session,) = manager.values()
    assert session.get_access_age(clock()) == 400
    clock.advance(300)
    assert list(manager.values()) == []


def test_the_old_name_of_the_option_holds_too(aged):
    """TurboGears itself has forgotten it since 2.3.5."""
    client, manager, clock = aged(**{"i18n.no_session_touch": "false", "session.tg_avoid_touch": "true"})
    client.get("/about")
    (session,) = manager.values()
    assert session.get_access_age(clock()) == 400


def test_without_the_option_every_request_is_a_use(aged):
    client, manager, clock = aged(**{"i18n.no_session_touch": "false"})
    client.get("/about")
    (session,) = manager.values()
    assert session.get_access_age(clock()) == 0


def test_who_uses_the_session_after_the_language_was_asked_for_keeps_it_alive(aged):
    client, manager, clock = aged(**{"i18n.no_session_touch": "true"})
    assert get(client, "/basket") == "nothing"
    (session,) = manager.values()
    assert session.get_access_age(clock()) == 0
    get(client, "/buy?what=tea")
    assert get(client, "/basket") == "tea"
