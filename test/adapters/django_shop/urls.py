"""Every path leads to the pages of the suite."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from django.contrib.auth import authenticate, login, logout
from django.http import Http404, HttpResponse, HttpResponseRedirect
from django.urls import re_path

from session2.testing.adapter import pages


class Items(MutableMapping[str, Any]):
    """A session without what Django's login keeps there."""

    def __init__(self, session: Any) -> None:
        self.session = session

    def __getitem__(self, key: str) -> Any:
        return self.session[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.session[key] = value

    def __delitem__(self, key: str) -> None:
        del self.session[key]

    def __iter__(self) -> Iterator[str]:
        return (key for key in self.session.keys() if  # noqa: SIM118 (it has no __iter__)
                not key.startswith("_auth_user_"))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def page(request: Any) -> HttpResponse:
    # The suite looks for Vary on every page; one that does not look at its session has none.
    request.session.session_key  # noqa: B018
    call = pages.Call(request.GET.dict(), lambda: Items(request.session), lambda name: _login(request, name),
                      lambda: request.user.pk, lambda **options: _logout(request, **options))
    try:
        return HttpResponse(pages.answer(request.path_info, call))
    except pages.Redirect as answer:
        return HttpResponseRedirect(answer.args[0])
    except pages.NotFound:
        raise Http404 from None


def _login(request: Any, name: str) -> None:
    login(request, authenticate(request, name=name))


def _logout(request: Any, clear_site_data: bool = False) -> None:
    logout(request)
    if clear_site_data:
        request.session.flush(clear_site_data=True)


urlpatterns = [re_path("", page)]
