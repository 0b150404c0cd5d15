"""Sessions in Django's admin, as a browser sees it: the real admin, with users in a database."""

from __future__ import annotations

import http.cookiejar
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urljoin

import pytest

from session2 import DictSession, SessionManager
from session2.testing.adapter.website import Site

NAMES = {"root": "is_superuser", "viewer": "view_user", "clerk": "", "ada": None}
"""Users, all with the password `sesame`: what they may, None for who is not staff."""

MIDDLEWARE = ["session2_django.SessionMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
              "django.contrib.auth.middleware.AuthenticationMiddleware",
              "django.contrib.messages.middleware.MessageMiddleware"]

manager: Any = None
"""What SESSION2_MANAGER names."""

urlpatterns: list[Any] = []


def serve(given: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    global manager
    from cheroot import wsgi
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application

    manager = given
    processors = [f"django.contrib.{name}" for name in ("auth.context_processors.auth",
                                                        "messages.context_processors.messages")]
    settings.configure(
        SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=MIDDLEWARE, USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"}}, STATIC_URL="/static/",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
                    "OPTIONS": {"context_processors": ["django.template.context_processors.request", *processors]}}],
        INSTALLED_APPS=[*(f"django.contrib.{name}" for name in ("admin", "auth", "contenttypes", "messages")),
                        "session2_django"],
        SESSION_ENGINE="session2_django", SESSION2_MANAGER=f"{__name__}.manager", SESSION_COOKIE_NAME="session2")
    application = get_wsgi_application()
    _make_users()
    server = wsgi.Server(("127.0.0.1", 0), application)
    server.prepare()
    ready(server.bind_addr[1])
    server.serve()


def _make_users() -> None:
    from django.contrib import admin
    from django.contrib.auth.models import Permission, User
    from django.core.management import call_command
    from django.urls import path

    from session2_django.admin import SessionsPage

    own = admin.AdminSite("own")
    SessionsPage(own).add()
    urlpatterns[:] = [path("admin/", admin.site.urls), path("own/", own.urls)]
    call_command("migrate", verbosity=0)
    for name, may in NAMES.items():
        user = User.objects.create_user(name, password="sesame", is_staff=may is not None,
                                        is_superuser=may == "is_superuser")
        user.user_permissions.set(Permission.objects.filter(codename=may))


class Browser:
    """Keeps cookies, fills in forms."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.cookies = http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str, data: dict[str, str] | None = None, status: int = 200) -> str:
        url = urljoin(f"http://127.0.0.1:{self.site.ports[0]}/admin/", path)
        try:
            answer = self.opener.open(url, None if data is None else urlencode(data).encode(), timeout=60)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            text = str(answer.read().decode())
        assert answer.status == status, text
        return text

    def post(self, page: str, path: str, status: int = 200, **data: str) -> str:
        """Send a form, with the token that stands in a page."""
        token = re.search('name="csrfmiddlewaretoken" value="([^"]*)"', page)
        assert token is not None
        return self.get(path, {"csrfmiddlewaretoken": token[1], **data}, status)

    def log_in(self, name: str) -> Browser:
        self.post(self.get("login/"), "login/", username=name, password="sesame", next="/admin/")
        return self


def forms(page: str) -> list[dict[str, str]]:
    """Return the hidden fields of the forms that end sessions."""
    found = [dict(re.findall('type="hidden" name="(user|session)" value="([^"]*)"', form))
             for form in re.findall(r"<form method=\"post\">.*?</form>", page, re.DOTALL)]
    return [fields for fields in found if fields]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(f"{__file__}:serve", tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def sessions(site: Site) -> SessionManager[DictSession]:
    """Return a manager of the same store, which is empty."""
    for session in (manager := SessionManager(site.store, DictSession)):
        manager.delete(session)
    return manager


def begin(sessions: SessionManager[DictSession], user: str, address: str = "192.0.2.7") -> DictSession:
    session = sessions.new_session()
    session.user, session._remote_address = user, address
    sessions.save(session)
    return session


def test_who_is_logged_in_is_listed_without_any_id(site: Site, sessions: SessionManager[DictSession]) -> None:
    ada, stranger = begin(sessions, "4"), begin(sessions, "no number", "2001:db8::7")
    nobody = sessions.new_session()
    nobody["a"] = 1
    sessions.save(nobody)
    browser = Browser(site).log_in("root")
    page = browser.get("sessions/")
    assert set(re.findall(r'<a href="\?key=([^"]*)">([^<]*)</a>', page)) == \
        {("1", "root"), ("4", "ada"), ("no%20number", "no number")}
    assert "192.0.2.7" in page
    assert "2001:db8::7" in page
    assert "this session" in page
    for session in (ada, stranger, nobody):
        assert str(session.id) not in page
        assert str(session.key) not in page
    assert not [cookie for cookie in browser.cookies if cookie.name == "session2" and str(cookie.value) in page]


def test_the_page_stands_in_the_index(site: Site, sessions: SessionManager[DictSession]) -> None:
    assert 'href="/admin/sessions/"' in Browser(site).log_in("root").get("")
    assert 'href="/admin/sessions/"' not in Browser(site).log_in("clerk").get("")


@pytest.mark.parametrize("asked", ["user=ada", "user=4", "key=4"])
def test_one_user_is_asked_for_by_name_or_key(site: Site, sessions: SessionManager[DictSession], asked: str) -> None:
    begin(sessions, "4")
    begin(sessions, "5")
    page = Browser(site).log_in("root").get(f"sessions/?{asked}")
    assert re.findall(r'href="\?key=([^"]*)"', page) == ["4"]


@pytest.mark.parametrize("asked", [
    "user=eve", "user=%00", "key=%00", "key=" + "9" * 40, "user=%3Cscript%3E", "key=%FF"])
def test_whoever_is_asked_for_in_vain_is_not_there(site: Site, sessions: SessionManager[DictSession],
                                                   asked: str) -> None:
    page = Browser(site).log_in("root").get(f"sessions/?{asked}")
    assert ("Nobody is logged in" in page) == ("%00" not in asked)
    assert "<script>" not in page.partition("content-main")[2]


def test_a_key_that_is_no_user_of_django_is_shown_as_it_is(site: Site, sessions: SessionManager[DictSession]) -> None:
    session = begin(sessions, "9" * 40)
    assert ">" + "9" * 40 + "<" in Browser(site).log_in("root").get("sessions/")
    assert sessions.load(session.id) is not None


def test_one_session_is_ended(site: Site, sessions: SessionManager[DictSession]) -> None:
    first, second, other = begin(sessions, "4"), begin(sessions, "4", "192.0.2.8"), begin(sessions, "5")
    browser = Browser(site).log_in("root")
    page = browser.get("sessions/?user=ada")
    rows = [row for row in page.split("<tr>") if "192.0.2.8" in row]
    form = forms(rows[0])[0]
    assert "1 session ended" in browser.post(page, "sessions/", **form)
    assert [sessions.load(session.id) is None for session in (first, second, other)] == [False, True, False]
    assert "0 sessions ended" in browser.post(page, "sessions/", **form)
    assert "0 sessions ended" in browser.post(page, "sessions/", user="4", session="nonsense")


def test_all_of_a_user_are_ended(site: Site, sessions: SessionManager[DictSession]) -> None:
    ada, other = [begin(sessions, "4") for _ in range(3)], begin(sessions, "5")
    browser = Browser(site).log_in("root")
    page = browser.get("sessions/?user=ada")
    assert "3 sessions ended" in browser.post(page, "sessions/", user="4")
    assert [sessions.load(session.id) for session in ada] == [None] * 3
    assert sessions.load(other.id) is not None


def test_that_of_the_request_itself_stays(site: Site, sessions: SessionManager[DictSession]) -> None:
    from session2_django.admin import _mark

    elsewhere, browser = Browser(site).log_in("root"), Browser(site).log_in("root")
    own = next(sessions.load(cookie.value) for cookie in browser.cookies if cookie.name == "session2")
    assert own is not None
    page = browser.get("sessions/?user=root")
    assert "0 sessions ended" in browser.post(page, "sessions/", user="1", session=_mark(own))
    assert "1 session ended" in browser.post(page, "sessions/", user="1")
    assert 'name="password"' in elsewhere.get("")
    assert "Site administration" in browser.get("")


def test_who_may_only_view_ends_nothing(site: Site, sessions: SessionManager[DictSession]) -> None:
    ada = begin(sessions, "4")
    browser = Browser(site).log_in("viewer")
    page = browser.get("sessions/")
    assert ">ada<" in page
    assert forms(page) == []
    browser.post(browser.get(""), "sessions/", 403, user="4")
    assert sessions.load(ada.id) is not None


def test_who_may_not_view_users_sees_nothing(site: Site, sessions: SessionManager[DictSession]) -> None:
    begin(sessions, "4")
    Browser(site).log_in("clerk").get("sessions/", status=403)
    for browser in (Browser(site), Browser(site).log_in("ada")):
        assert 'name="password"' in browser.get("sessions/")


def test_a_form_without_its_token_ends_nothing(site: Site, sessions: SessionManager[DictSession]) -> None:
    ada = begin(sessions, "4")
    Browser(site).log_in("root").get("sessions/", {"user": "4"}, 403)
    assert sessions.load(ada.id) is not None


def test_a_site_of_ones_own_has_the_page_too(site: Site, sessions: SessionManager[DictSession]) -> None:
    ada, browser = begin(sessions, "4"), Browser(site).log_in("root")
    assert 'href="/own/sessions/"' in browser.get("/own/")
    page = browser.get("/own/sessions/?user=ada")
    assert 'href="/own/sessions/"' in page
    browser.post(page, "/own/sessions/", user="4")
    assert sessions.load(ada.id) is None


def test_a_store_that_cannot_list_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    from django_cases import Site as Shop

    from session2.store.cookie import CookieSessionStore
    from session2_django.admin import _listed

    shop = Shop()
    shop.manager.store = CookieSessionStore("0123456789abcdef" * 4)
    assert _listed(shop.manager.new_session(), None) == {"cannot_list": True}
