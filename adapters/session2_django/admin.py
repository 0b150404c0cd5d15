"""`SessionsPage`: who is logged in, in Django's admin; to end a session, or all of a user.  There is no model."""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from itertools import islice
from typing import Any, Final

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import get_permission_codename, get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse

from session2 import DictSession

from .managers import current_manager

_MOST: Final = 100
"""Sessions on a page."""

_MOST_BITS: Final = 63
"""Of an integer in a database: SQLite raises an error for a longer one."""

_MOST_READ: Final = 1000
"""Sessions that are looked at, to find those that somebody is logged in to."""


class SessionsPage:
    """A page of an `AdminSite`: ``SessionsPage(site).add()`` for a site of your own.

    Staff who may view users may look at it, and those who may change users may end sessions.
    """

    def __init__(self, site: Any) -> None:
        self.site = site
        self._urls, self._applications = site.get_urls, site.get_app_list

    def add(self) -> None:
        """Put the page into the site, and into its list of applications."""
        self.site.get_urls, self.site.get_app_list = self.get_urls, self.get_app_list

    def get_urls(self) -> list[Any]:
        """Return the URLs of the site with this page before them, for the last of them takes all that is left."""
        return [path("sessions/", self.site.admin_view(self.answer), name="session2_sessions"), *self._urls()]

    def get_app_list(self, request: Any, app_label: str | None = None) -> list[Any]:
        """Return what the site lists, and this page."""
        listed: list[Any] = self._applications(request, app_label)
        if app_label is None and _may(request, "view"):
            named = {"name": "Sessions", "admin_url": self._url(), "app_url": self._url()}
            page = {**named, "object_name": "Session", "add_url": None, "view_only": not _may(request, "change")}
            listed.append({**named, "app_label": "session2_django", "has_module_perms": True, "models": [page]})
        return listed

    def _url(self) -> str:
        return str(reverse("admin:session2_sessions", current_app=self.site.name))

    # -- requests ------------------------------------------------------------------------------------------------------

    def answer(self, request: Any) -> HttpResponse:
        """List sessions, or end some."""
        if not _may(request, "view"):
            raise PermissionDenied
        if request.method == "POST":
            return self._end(request)
        request.current_app, asked = self.site.name, _text(request.GET, "user").strip()
        key = _text(request.GET, "key") or (_key_of(asked) if asked else None)
        return TemplateResponse(request, "session2_django/sessions.html", {
            **self.site.each_context(request), "title": "Sessions", "asked": asked, "key": key,
            "may_end": _may(request, "change"), **_listed(request.session.session, key)})

    def _end(self, request: Any) -> HttpResponse:
        """End one session of a user, or all, but for that of the request: who wants to end that logs out."""
        if not _may(request, "change"):
            raise PermissionDenied
        manager, own, key = current_manager(), request.session.session, _text(request.POST, "user")
        mark = request.POST.get("session")
        if mark is None:
            count = manager.revoke_user(key, except_=own)
        else:
            ended = [each for each in manager.sessions_of(key) if _mark(each) == mark and each.key != own.key]
            for session in ended:
                manager.delete(session)
            count = len(ended)
        messages.success(request, f"{count} session{'' if count == 1 else 's'} ended.")
        return HttpResponseRedirect(self._url())


def _may(request: Any, action: str) -> bool:
    user = get_user_model()._meta
    return bool(request.user.has_perm(f"{user.app_label}.{get_permission_codename(action, user)}"))


def _text(fields: Any, name: str) -> str:
    """Return a field without what no database takes."""
    return str(fields.get(name, "")).replace("\0", "")


def _mark(session: DictSession) -> str:
    """Return what names a session on the page: its key will not do, which may be its id."""
    return hashlib.sha256(f"admin {session.key}".encode()).hexdigest()


# -- what is listed ---------------------------------------------------------------------------------------------------


def _listed(own: DictSession, key: str | None) -> dict[str, Any]:
    """Return what the template is to show: the sessions of one user, or of all."""
    manager = current_manager()
    if not manager.store.can_list:
        return {"cannot_list": True}
    read = manager.sessions.each(manager.session_class) if key is None else manager.sessions_of(key)
    looked_at = list(islice(read, _MOST_READ + 1))
    found = [session for session in looked_at if session.user_key() is not None][:_MOST + 1]
    names = _names(found)
    rows = [_row(session, names, own) for session in found[:_MOST]]
    return {"rows": sorted(rows, key=lambda row: row["seen"], reverse=True),
            "has_more": max(len(looked_at) - _MOST_READ, len(found) - _MOST) > 0}


def _row(session: DictSession, names: dict[str, str], own: DictSession) -> dict[str, Any]:
    key = session.user_key() or ""
    return {"key": key, "name": names.get(key, key), "since": _moment(session.get_login_time()),
            "seen": _moment(session.get_access_time()), "address": session.get_remote_address(),
            "mark": _mark(session), "is_own": session.key == own.key}


def _moment(seconds: float | None) -> datetime:
    return datetime.fromtimestamp(seconds or 0, timezone.utc if settings.USE_TZ else None)


def _key_of(asked: str) -> str:
    """Return the key of a user, given that or the name to log in with."""
    users: Any = get_user_model()._default_manager
    user = users.filter(**{users.model.USERNAME_FIELD: asked}).first()
    return asked if user is None else str(user._meta.pk.value_to_string(user))


def _names(sessions: list[DictSession]) -> dict[str, str]:
    """Return the names of users by their keys, of those that Django knows."""
    model: Any = get_user_model()
    keys = [_primary_key(model, session.user_key() or "") for session in sessions]
    return {str(user._meta.pk.value_to_string(user)): user.get_username()
            for user in model._default_manager.filter(pk__in={key for key in keys if key is not None})}


def _primary_key(model: Any, key: str) -> Any:
    """Return a key as the database has it, None for one of another framework, which it would refuse."""
    try:
        found = model._meta.pk.clean(key.replace("\0", ""), None)
    except ValidationError:
        return None
    return None if isinstance(found, int) and found.bit_length() > _MOST_BITS else found
