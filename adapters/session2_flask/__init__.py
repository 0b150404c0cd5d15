"""session2 for Flask: ``app.session_interface = SessionInterface(SessionManager(store))``."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, MutableMapping
from datetime import datetime, timezone
from functools import cached_property, lru_cache
from typing import Any, Final, cast

from session2 import CookiePolicy, SessionError, SessionManager, StoreUnavailable
from session2.environ import EnvironExchange
from session2.errors import needing
from session2.lazy import LazySession
from session2.session import ties_of
from session2.variants import for_mappings

with needing("Flask"):
    import flask
    from werkzeug.exceptions import HTTPException, default_exceptions
    from werkzeug.http import http_date

__all__ = ["SessionInterface"]

_FRESH: Final = "_fresh"
"""The item in which Flask-Login keeps whether somebody has just entered his password."""

_FRESH_IN: Final = "_fresh_in"
"""The attribute that tells in which login of the session that was."""

_FLASHES: Final = "_flashes"
"""Flask's messages: it makes each a tuple, and JSON, which cookies are written in, has none."""

_policy = lru_cache(maxsize=64)(CookiePolicy)

# Flask 3.2 has made one of its two kinds of contexts.
_context = vars(flask.globals).get("request_ctx", flask.globals.app_ctx)._get_current_object


class FlaskExchange(EnvironExchange):
    """One request; there is no response before Flask has the session saved."""

    max_age: Any = None
    """Seconds that a cookie lives whose policy says nothing: that of a permanent session that is not refreshed."""

    def __init__(self, request: flask.Request) -> None:
        super().__init__(request.environ)
        self._request: Callable[[], flask.Request | None] = weakref.ref(request)

    def post_value(self, name: str) -> str | None:
        request = self._request()  # None in a stream, perhaps
        return request.form.get(name) if request is not None and request.method == "POST" else None

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        if self.max_age is not None:
            attributes.setdefault("max_age", self.max_age)
        super().set_cookie(name, value, **attributes)
        if "max_age" in attributes and self.cookie_policy is not None:  # then it is all as Flask sends it
            expires = http_date(datetime.now().timestamp() + attributes["max_age"] if value else 0)
            self.headers[-1] = "Set-Cookie", f"{self.headers[-1][1]}; Expires={expires}"


class StoreSession(LazySession, flask.sessions.SessionMixin):
    """What `flask.session` stands for during a request: a session in a store, opened at the first access.

    The item that an application keeps its user under, Flask-Login's unless told otherwise, is the user of the session:
    there is one fact, and not two.
    """

    _exchange: FlaskExchange

    _lasts = False
    """Whether the cookie that came outlives the browser."""

    _modified = False

    _is_over = False

    accessed = False
    """Whether the answer depends on the session; later Flasks say so as soon as `flask.session` is asked for."""

    def __init__(self, interface: SessionInterface, app: flask.Flask, exchange: FlaskExchange) -> None:
        super().__init__(exchange)
        self._interface, self._app, self._user_item = interface, app, interface.user_item
        self._context: Callable[[], Any] = weakref.ref(_context()) if flask.has_request_context() else lambda: None
        """The context that the request began in: copies of it end at any time, and the request goes on."""

    @cached_property
    def manager(self) -> SessionManager[Any]:
        """The manager of the request."""
        return self._interface.manager_for(self._app)

    def _begin(self) -> None:
        self.accessed, exchange = True, self._exchange
        if self.manager.cookie is None:
            exchange.cookie_policy = self._interface.cookie_policy(self._app)
        try:
            self.manager.start_request(exchange)
        except SessionError as error:
            raise refusal(error) from error
        if not flask.has_request_context():  # in a stream: nobody would release it
            self.manager.unlock_request(exchange)
        self._opened = True
        self._lasts = self._interface.get_expiration_time(self._app, self) is not None

    @property
    def modified(self) -> bool:
        """Whether there is or was something to store; to say so is not necessary, and to deny it has no effect."""
        return self._modified or (self._opened and self._exchange.visit.has_news())

    @modified.setter
    def modified(self, value: bool) -> None:
        self._modified = value

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser."""
        return bool(self.session.data.get("_permanent"))

    @permanent.setter
    def permanent(self, value: bool) -> None:
        self.session["_permanent"] = bool(value)

    clear = LazySession.delete

    def finish(self) -> None:
        """Store what the request made of the session."""
        if self._opened and not self._exchange.visit.finished:
            self._choose_age()
            bound = ties_of(self.session)
            before = bound.origin
            self.manager.finish_successful_request(self._exchange)
            self._modified |= bound.origin is not before

    def leave(self, context: Any) -> None:
        """Let go of the session when a context ends, unless it is a copy of one in which the request goes on."""
        if self._context() in (context, None):
            self._is_over = True
        if self._is_over and self._opened:
            self._exchange.visit.close()

    def explain(self, response: flask.Response) -> None:
        """Say what a crash means, if it was that of an error page which looked at a session that cannot be had."""
        if isinstance(self._failure, HTTPException) and response.status_code == 500:
            response.status_code = cast(int, self._failure.code)
            response.headers.update(header for header in self._failure.get_headers() if header[0] == "Retry-After")

    def _choose_age(self) -> None:
        """Have the cookie outlive the browser if the session is permanent, which is not known before the end."""
        if self.manager.cookie is not None:
            return
        visit, expires = self._exchange.visit, self._interface.get_expiration_time(self._app, self)
        policy = visit.policy if expires is None else self._interface.cookie_policy(self._app, expires)
        self._exchange.max_age = policy.max_age
        if self._app.config["SESSION_REFRESH_EACH_REQUEST"] or self.modified:
            visit.policy = policy
        if (policy.max_age is not None) != self._lasts and self.session.key and visit.absence is None:
            visit.cookie = None  # what the browser has lives too long, or not long enough

    # -- the mapping -----------------------------------------------------------------------------------------------

    def __getitem__(self, key: str) -> Any:
        if key == self._user_item and self.user is not None:
            return self.user
        value = self.session[key]
        if key == _FRESH and self._user_item:
            return value and vars(self.session).get(_FRESH_IN, 0) == self.session._login_number()
        return _with(tuple, list, value) if key == _FLASHES else value

    def __setitem__(self, key: str, value: Any) -> None:
        if key == self._user_item:
            self.user = value
            return
        if key == _FRESH and value and self._user_item:
            vars(self.session)[_FRESH_IN] = self.session._login_number()
        self.session[key] = _with(list, tuple, value) if key == _FLASHES else value

    def __delitem__(self, key: str) -> None:
        if key == self._user_item and self.user is not None:
            self.user = None
        else:
            del self.session[key]

    def __iter__(self) -> Iterator[str]:
        return iter([*self.session, *([self._user_item] if self._user_item and self.user is not None else [])])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    __contains__, keys = MutableMapping.__contains__, MutableMapping.keys
    values, items = MutableMapping.values, MutableMapping.items


class SessionInterface(flask.sessions.SessionInterface):
    """Keeps Flask's sessions in a session2 store: ``app.session_interface = SessionInterface(manager)``.

    :param manager: without a `CookiePolicy`, the cookie is as the application's ``SESSION_COOKIE_*`` say.
    :param user_item: under which item the application keeps who is logged in; default: where Flask-Login does.
    :raises ConfigurationError: for a session class that is no mapping.
    """

    def __init__(self, manager: SessionManager[Any], user_item: str | None = "_user_id") -> None:
        self.manager, self.user_item = manager, user_item
        for_mappings(manager)

    def manager_for(self, app: flask.Flask) -> SessionManager[Any]:
        """Return the manager, or one like it where Flask wants sessions to end earlier."""
        lifetime, idle = app.permanent_session_lifetime.total_seconds(), self.manager.clocks.idle
        return for_mappings(self.manager, lifetime if idle is None else min(lifetime, idle))

    def cookie_policy(self, app: flask.Flask, expires: datetime | None = None) -> CookiePolicy:
        """Return the policy for the application's settings; where they say nothing, the safe choice holds.

        :param expires: when the cookie ends; None: with the browser.
        """
        max_age = None if expires is None else math.ceil((expires - datetime.now(timezone.utc)).total_seconds())
        return _policy(self.get_cookie_name(app), self.get_cookie_path(app), self.get_cookie_domain(app) or None,
                       self.get_cookie_secure(app) or None, bool(self.get_cookie_httponly(app)),
                       self.get_cookie_samesite(app) or "Lax", max_age,
                       bool(app.config.get("SESSION_COOKIE_PARTITIONED")))  # which Flask knows from 3.1 on

    def open_session(self, app: flask.Flask, request: flask.Request) -> StoreSession:
        """Return the session of a request, which is not opened yet."""
        _answer_privately(app)
        session = StoreSession(self, app, FlaskExchange(request))
        request.session2 = weakref.ref(session)  # type: ignore[attr-defined]
        return session

    def save_session(self, app: flask.Flask, session: Any, response: flask.Response) -> None:
        """Store the session; if that cannot be done, make an error of the response."""
        try:
            session.finish()
        except SessionError as error:
            _replace(response, app.make_response(app.handle_user_exception(refusal(error))))
        session.explain(response)
        if session.accessed:
            session._exchange.add_header("Vary", "Cookie")
        if session._exchange.headers:
            response.headers[:] = session._exchange.added_to(list(response.headers))

    def regenerate(self, session: Any) -> None:
        """Give a session a new id, as Flask-Session's interface does; the old one is dead when the request succeeds."""
        session.regenerate()


def _with(new: type[Any], old: type[Any], values: Any) -> Any:
    """Return a list with each value of one type as another; the list itself where there is none."""
    if type(values) is not list or old not in map(type, values):
        return values
    return [new(each) if type(each) is old else each for each in values]


def refusal(error: SessionError) -> HTTPException:
    """Return the HTTP error that an error means; raise itself if it is somebody's programming mistake."""
    if not error.is_refusal:
        raise error
    if isinstance(error, StoreUnavailable):
        flask.current_app.logger.error("The session store is not available.", exc_info=error)
    refused = default_exceptions[error.status](error.public)
    refused.retry_after = error.retry_after  # type: ignore[attr-defined]
    return refused


def _answer_privately(app: flask.Flask) -> None:
    """Have each response copied when all functions of the application have seen it: it may be in a cache."""
    functions = app.after_request_funcs.get(None, [])
    if _private not in functions[:1]:  # the first is called last
        app.after_request_funcs[None] = [_private, *functions]  # requests may be going through the other list


def _private(response: flask.Response) -> flask.Response:
    """Return a response with headers of its own: an application may use one again, for another visitor."""
    copy = type(response).__new__(type(response))
    vars(copy).update(vars(response))
    copy.headers = type(response.headers)()  # one after the other they take twice as long
    copy.headers[:] = [*response.headers]
    return copy


def _replace(response: flask.Response, other: flask.Response) -> None:
    """Turn a response into another one: Flask has no other way to change it at this point."""
    response.call_on_close(getattr(response.response, "close", lambda: None))
    response.status, response.headers, response.response = other.status, other.headers, other.response
    response.direct_passthrough = False


def _give_up(sender: object, **_: Any) -> None:
    """Let go of the session of a request that crashed, or that is over in whatever way."""
    context = _context()
    session = getattr(context.request, "session2", lambda: None)()
    if session is not None:
        session.leave(context)


flask.got_request_exception.connect(_give_up)
flask.request_tearing_down.connect(_give_up)
