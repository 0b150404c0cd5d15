"""session2 for Pyramid: ``config.set_session_factory(SessionFactory(manager))``.

What Pyramid asks of a session is documented at ``pyramid.interfaces.ISession``.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import Any

from session2 import CookiePolicy, SessionError, SessionManager, StoreUnavailable
from session2.environ import EnvironExchange
from session2.errors import needing
from session2.lazy import LazySession
from session2.variants import for_mappings

with needing("Pyramid"):
    from pyramid.httpexceptions import status_map
    from pyramid.interfaces import IResponse, ISession
    from pyramid.response import Response
    from pyramid.threadlocal import manager as in_progress
    from zope.interface import implementer

__all__ = ["PyramidExchange", "PyramidSession", "SessionFactory", "includeme"]

log = logging.getLogger("session2")

_CSRF = "_csrft_"
_FLASH = "_f_"
"""Where Pyramid's own sessions keep these, so that what they wrote is read."""


class PyramidExchange(EnvironExchange):
    """One request of Pyramid; what is to be told the browser is put into the response at the end."""

    def __init__(self, request: Any, policy: CookiePolicy | None) -> None:
        super().__init__(request.environ)
        self._request: Callable[[], Any] = weakref.ref(request)  # which has the session
        self.cookie_policy = policy

    @property
    def request(self) -> Any:
        """The request; None where nobody has it any more, in a stream perhaps."""
        return self._request()

    def post_value(self, name: str) -> str | None:
        request = self.request
        value = request.POST.get(name) if request is not None and request.method == "POST" else None
        return value if isinstance(value, str) else None


@implementer(ISession)
class PyramidSession(LazySession):
    """``request.session``: the items of the session, and what Pyramid wants of one."""

    _exchange: PyramidExchange

    def __init__(self, manager: SessionManager[Any], request: Any, policy: CookiePolicy | None = None) -> None:
        super().__init__(PyramidExchange(request, policy))
        self.manager = manager
        self._waits = False
        """Whether it is behind the response callbacks that were added after its own."""

    def _begin(self) -> None:
        request = self._exchange.request
        if request is not None:
            request.add_response_callback(self._answer)
            request.add_finished_callback(self._let_go)
        try:
            self.manager.start_request(self._exchange)
        except SessionError as error:
            raise _refusal(error) from error
        if not [each for each in in_progress.stack if each["request"] is request]:  # in a stream: nobody will call back
            self.manager.unlock_request(self._exchange)

    def _answer(self, request: Any, response: Any) -> None:
        """Store the session, unless the view crashed: then all stays as it was; and tell the browser."""
        if request.response_callbacks and not self._waits:  # which may change the session
            self._waits = True
            request.add_response_callback(self._answer)
            return
        try:
            if self._opened and (request.exception is None or IResponse.providedBy(request.exception)):
                self.manager.finish_successful_request(self._exchange)
        except SessionError as error:
            _refuse(request, response, error)
        response.headerlist = self._exchange.added_to(response.headerlist)

    def _let_go(self, request: Any) -> None:
        if self._opened and not self._exchange.visit.finished:
            self.manager.finish_failed_request(self._exchange)

    # -- what Pyramid asks for -------------------------------------------------------------------------------------

    @property
    def created(self) -> int:
        """When the session began, in seconds since the epoch."""
        return int(self.session.get_creation_time())

    @property
    def new(self) -> bool:
        """Whether nothing is stored of it yet."""
        return self.session.origin is None

    def invalidate(self) -> None:
        """Log out: the session ends when the request succeeds, and an empty one stands in its place."""
        self.delete()

    def changed(self) -> None:
        """Do nothing: changes are found by comparing, also those within values."""

    def flash(self, msg: Any, queue: str = "", allow_duplicate: bool = True) -> None:
        """Add a message to a queue; without `allow_duplicate` only if it is not there."""
        messages = self.get(_FLASH + queue, [])
        if allow_duplicate or msg not in messages:
            self[_FLASH + queue] = [*messages, msg]

    def pop_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of a queue and empty it."""
        return self.pop(_FLASH + queue, [])  # type: ignore[no-any-return]

    def peek_flash(self, queue: str = "") -> list[Any]:
        """Return the messages of a queue and leave them there."""
        return self.get(_FLASH + queue, [])  # type: ignore[no-any-return]

    def new_csrf_token(self) -> str:
        """Make a new token and return it."""
        self.pop(_CSRF, None)
        self.session._csrf_token = None
        return self.session.get_csrf_token()

    def get_csrf_token(self) -> str:
        """Return the token that every form of this session carries."""
        known = self.get(_CSRF)  # of a session that Pyramid's own factory wrote
        return known if isinstance(known, str) else self.session.get_csrf_token()


class SessionFactory:
    """Gives every request its session.

    :param manager: its session class is a `DictSession`; `Session` itself will do.
    :param cookie: how the cookie is sent, for a manager that was made without a policy of its own.
    :raises ConfigurationError: for a session class that is no mapping.
    """

    def __init__(self, manager: SessionManager[Any], cookie: CookiePolicy | None = None) -> None:
        self.manager = for_mappings(manager)
        self.cookie = cookie

    def __call__(self, request: Any) -> PyramidSession:
        return PyramidSession(self.manager, request, self.cookie)


def includeme(config: Any) -> None:
    """Have each request answered with a response of its own: ``config.include("session2_pyramid")``."""
    config.add_tween("session2_pyramid.private_responses")


def private_responses(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """Copy responses before they get a cookie: an application may use one again, for another visitor."""
    def answer(request: Any) -> Any:
        response = handler(request)
        if not isinstance(response, Response):
            return response  # how to copy it is unknown
        kind: Any = type(response)
        copy = kind.__new__(kind)
        vars(copy).update(vars(response))
        copy.headerlist = list(response.headerlist)
        return copy

    return answer


def _refusal(error: SessionError) -> Any:
    """Return the HTTP error that an error means, or itself if it is somebody's programming mistake."""
    if not error.is_refusal:
        return error
    if isinstance(error, StoreUnavailable):
        log.error("the session store is not available", exc_info=error)
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return status_map[error.status](error.public, headers=headers)


def _refuse(request: Any, response: Any, error: SessionError) -> None:
    """Make the answer that an error means of a response that was to be sent: it is too late to raise anything."""
    refusal = _refusal(error)
    if refusal is error:
        raise error
    refusal.prepare(request.environ)
    getattr(response.app_iter, "close", lambda: None)()
    response.status, response.headerlist, response.app_iter = refusal.status, refusal.headerlist, refusal.app_iter
