"""The cookie that CherryPy's tool drafts in each response: not what is sent, but where pages say how it is to be."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from email.utils import parsedate_to_datetime
from http.cookies import Morsel
from typing import Any, Final

from session2 import ConfigurationError, tokens
from session2.exchange import send_cookie

from .exchange import CherryPyExchange, SentMorsel
from .settings import cookie_path

UNOPENED: Final = "session2-draft"
"""What the tool drafts as the id of a session that nobody has looked at."""

_FIELDS: Final = ("path", "domain", "secure", "httponly", "samesite", "partitioned")

_LONGEST: Final = 400 * 86400
"""Seconds; no browser keeps a cookie for longer, whatever it is told."""


def of_the_tool(settings: Mapping[str, Any], headers: Mapping[str, str], timeout: float) -> dict[str, Any]:
    """Return the attributes the tool gives its draft, but for the time."""
    return {"path": cookie_path(settings, headers), "domain": settings.get("domain") or "",
            **{name: 1 if settings.get(name) else "" for name in ("secure", "httponly")},
            "max-age": timeout * 60, "persistent": settings.get("persistent", True)}


def name_in(cookies: Mapping[str, Morsel[Any]]) -> str | None:
    """Return the name of the cookie that a tool has drafted, None if there is none yet."""
    return next((name for name, draft in cookies.items() if draft.value == UNOPENED), None)


def changed(draft: Morsel[Any] | None, settings: Mapping[str, Any], timeout: float) -> Morsel[Any] | None:
    """Return the cookie that the tool has drafted, or that is to be sent and was expired, if pages changed it."""
    if draft is None or (type(draft) is SentMorsel and "max-age" in draft):
        return None
    configured, found, max_age = settings.get, draft.get, draft.get("max-age")
    is_untouched = (
        draft.value == UNOPENED
        and (max_age == timeout * 60 if configured("persistent", True) else (max_age, found("expires")) == ("", ""))
        and found("path") == (configured("path") or "/") and found("domain") == (configured("domain") or "")
        and bool(found("secure")) == bool(configured("secure"))
        and bool(found("httponly")) == bool(configured("httponly"))
        and not (found("samesite") or found("partitioned")))
    return None if is_untouched else draft


def is_logout(draft: Morsel[Any]) -> bool:
    """Tell whether a browser would lose its session by this cookie, as by `cherrypy.lib.sessions.expire`."""
    seconds = _seconds(draft)
    return (seconds is not None and seconds <= 0) or (
        draft.value != UNOPENED and not tokens.matches(draft.value))


def withdraw(draft: Morsel[Any]) -> None:
    """Make the draft one that says nothing of a logout."""
    draft.set(draft.key, UNOPENED, UNOPENED)
    draft.pop("max-age", None)
    draft.pop("expires", None)


def apply(draft: Morsel[Any], drafted: Mapping[str, Any], exchange: CherryPyExchange) -> None:
    """Send the cookie of this request as pages made it; ConfigurationError for what no browser would accept."""
    wishes = {name: _meant(name, value) for name, value in draft.items()
              if name in _FIELDS and (value or "") != drafted.get(name, "")}
    seconds = _seconds(draft)
    if seconds is None and drafted["persistent"] and "max-age" in draft:  # else it was withdrawn
        wishes["max_age"] = None
    elif seconds is not None and seconds != drafted["max-age"]:
        wishes["max_age"] = min(seconds, _LONGEST)
        exchange.visit.cookie = None  # so it is sent, also if the browser has it
    if wishes:
        policy = exchange.visit.policy = replace(exchange.visit.policy, **wishes)
        if policy.name in exchange.cookies:  # it was to be sent otherwise
            send_cookie(exchange, policy, exchange.cookies[policy.name][0] or None)


def _meant(name: str, value: Any) -> Any:
    if name in ("secure", "httponly", "partitioned"):
        return bool(value)
    return value.capitalize() if name == "samesite" else value or None


def _seconds(draft: Morsel[Any]) -> float | None:
    """Return how long a browser would keep the cookie, None if it says nothing; a Max-Age outdoes an Expires."""
    max_age, expires = draft.get("max-age", ""), draft.get("expires", "")
    if max_age not in ("", None):
        return _number(max_age)
    if expires in ("", None):
        return None
    return _number(expires) if isinstance(expires, (int, float)) else _until(expires)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"the Max-Age of a cookie is a number of seconds, not {value!r}") from None


def _until(date: str) -> float:
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (AttributeError, TypeError, ValueError):
        raise ConfigurationError(f"the Expires of a cookie is a date of HTTP, not {date!r}") from None
