"""Logs in with each of Django's own engines, comes back with ours, and prints as JSON what each page said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from django.conf import settings

FOLDER = Path(sys.argv[1])
CACHES = "django.core.cache.backends"
OWN = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "session2_django.SessionMiddleware"
AUTH = "django.contrib.auth.middleware.AuthenticationMiddleware"
SECRET = "the secret of both"

for name in ("sessions", "cache"):
    (FOLDER / name).mkdir()

settings.configure(
    SECRET_KEY=SECRET, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, USE_TZ=True, MIDDLEWARE=[OWN, AUTH],
    SESSION_FILE_PATH=str(FOLDER / "sessions"),
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(FOLDER / "shop.sqlite")}},
    CACHES={"default": {"BACKEND": f"{CACHES}.filebased.FileBasedCache", "LOCATION": str(FOLDER / "cache")},
            "table": {"BACKEND": f"{CACHES}.db.DatabaseCache", "LOCATION": "shop_cache"}},
    DEFAULT_AUTO_FIELD="django.db.models.AutoField", PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"],
    SESSION_SERIALIZER="django.contrib.sessions.serializers.JSONSerializer")

import django  # noqa: E402

django.setup()

from django.contrib.auth import authenticate, login, logout  # noqa: E402
from django.contrib.auth.models import User  # noqa: E402
from django.contrib.sessions.models import Session  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test import Client, override_settings  # noqa: E402
from django.urls import path  # noqa: E402

from session2 import DictSession, SessionManager  # noqa: E402
from session2.migrate import bring, cookies, open_source  # noqa: E402
from session2.store.volatile import VolatileSessionStore  # noqa: E402

manager: Any = None


def index(request: Any) -> HttpResponse:
    return HttpResponse(f"{request.user.username or 'nobody'}: {request.session.get('basket')}")


def log_in(request: Any) -> HttpResponse:
    login(request, authenticate(request, username="ada", password="sesame"))
    request.session["basket"] = ["tea"]
    return index(request)


def log_out(request: Any) -> HttpResponse:
    logout(request)
    return index(request)


urlpatterns = [path("", index), path("login", log_in), path("logout", log_out)]

ENGINES = {
    "db": ({}, f"django+sqlite:{FOLDER}/shop.sqlite"),
    "cached_db": ({}, f"django+sqlite:{FOLDER}/shop.sqlite"),
    "file": ({}, f"django+file:{FOLDER}/sessions"),
    "cache": ({}, f"django-cache+file:{FOLDER}/cache"),
    "cache of a table": ({"SESSION_CACHE_ALIAS": "table"},
                         f"django-cache+sqlite:{FOLDER}/shop.sqlite?table=shop_cache"),
    "signed_cookies": ({}, ""),
}


def client_with(cookie: str) -> Client:
    client = Client()
    client.cookies["sessionid"] = cookie
    return client


def said(engine: str, own: dict[str, str], url: str) -> list[str]:
    """Return what the pages say to one visitor, before and after, and when he has logged out."""
    global manager
    with override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine.partition(' ')[0]}", **own):
        client = Client()
        before = client.get("/login").content.decode()
        cookie = client.cookies["sessionid"].value
    store = VolatileSessionStore()
    source = open_source(url) if url else None
    former = cookies.django(source=source) if url else cookies.django_signed([SECRET])
    if source is not None and source.can_list:  # moved as a whole
        for each in source.scan():
            bring(store, each)
        former = cookies.django()
    manager = SessionManager(store, DictSession, former=[former])
    with override_settings(SESSION_ENGINE="session2_django", SESSION2_MANAGER=f"{__name__}.manager",
                           MIDDLEWARE=[OURS, AUTH]):
        client = client_with(cookie)
        after = [client.get("/").content.decode() for _ in range(2)]
        changed = client.cookies["sessionid"].value != cookie
        users = len([*manager.sessions_of("1")])
        client.get("/logout")
        late = client_with(cookie).get("/").content.decode()
    Session.objects.all().delete()
    return [before, *after, f"changed: {changed}", f"known: {users}", late]


call_command("migrate", verbosity=0)
call_command("createcachetable", "shop_cache", verbosity=0)
User.objects.create_user("ada", password="sesame")
print(json.dumps({engine: said(engine, *how) for engine, how in ENGINES.items()}))
