"""`SessionMiddleware`, in the place of Django's own: a request is a stay in its session, from cookie to cookie."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.sessions.middleware import SessionMiddleware as DjangoMiddleware
from django.http import HttpResponse
from django.utils.log import log_response

from session2 import ConfigurationError, SessionError, StoreUnavailable
from session2.errors import StoreMissing

from .exchange import DjangoExchange
from .keepers import Behind, InRequest, Outside
from .managers import cookie_policy, current_manager
from .store import SessionStore

log = logging.getLogger("session2")


class SessionMiddleware(DjangoMiddleware):  # type: ignore[misc]
    """Gives each request its session, and stores what became of it when the request has succeeded.

    Settings that cannot work stop the server when it starts.
    """

    def __init__(self, get_response: Any) -> None:
        super().__init__(get_response)
        if not issubclass(self.SessionStore, SessionStore):
            raise ConfigurationError('session2_django.SessionMiddleware needs SESSION_ENGINE = "session2_django", or '
                                     "a module whose SessionStore is derived from ours")
        try:
            if current_manager().cookie is None:
                cookie_policy(None)
        except StoreMissing:
            raise
        except StoreUnavailable as error:  # it may be there by the time somebody needs it
            log.warning("the session store is not available yet: %s", error)

    def __call__(self, request: Any) -> Any:
        try:
            return super().__call__(request)
        except BaseException:
            _give_up(vars(request).get("session2_exchange"))
            raise

    async def __acall__(self, request: Any) -> Any:
        try:
            return await super().__acall__(request)
        except BaseException:  # cancelled, for one
            _give_up(vars(request).get("session2_exchange"))
            raise

    def process_request(self, request: Any) -> None:
        """Give the request its session, which is opened when somebody looks at it."""
        request.session2_exchange = exchange = DjangoExchange(request)
        request.session = self.SessionStore(keeper=InRequest(exchange))

    def process_exception(self, request: Any, exception: Exception) -> HttpResponse | None:
        """Answer an error of sessions that a view let through."""
        answer = _refused(request, exception)
        keeper = getattr(getattr(request, "session", None), "_keeper", None)
        if answer is not None and isinstance(keeper, InRequest):
            keeper.failure = exception
        return answer

    def process_response(self, request: Any, response: Any) -> Any:
        """Store the session, unless the request has failed, and tell the browser what it must know."""
        exchange = vars(request).pop("session2_exchange", None)
        session: Any = getattr(request, "session", None)
        keeper = getattr(session, "_keeper", None)
        try:
            if not isinstance(keeper, InRequest):  # the application has put another session in its place
                return super().process_response(request, response)
            try:
                return keeper.exchange.apply(self._finished(request, response, session, keeper))
            finally:
                session._keeper = Behind(keeper.exchange) if keeper.exchange.visit is None else Outside()
        finally:
            _give_up(exchange)

    def _finished(self, request: Any, response: Any, session: Any, keeper: InRequest) -> Any:
        if response.status_code == 500 and keeper.failure is not None:  # of another middleware
            return _refused(request, keeper.failure) or response
        try:
            if response.status_code < 500:
                keeper.finish(session)
        except SessionError as error:
            answer = _refused(request, error)
            if answer is None:
                raise
            return answer
        return response


def _give_up(exchange: DjangoExchange | None) -> None:
    """Forget what was not stored, and free the lock."""
    if exchange is not None:
        exchange.is_over = True
        if exchange.visit is not None and not exchange.visit.finished:
            exchange.visit.close()


def _refused(request: Any, error: Exception) -> HttpResponse | None:
    """Return what an error of sessions is answered with, None if it is somebody's programming mistake."""
    if not isinstance(error, SessionError) or not error.is_refusal:
        return None
    response = HttpResponse(error.public, status=error.status, content_type="text/plain")
    if error.retry_after is not None:
        response["Retry-After"] = str(error.retry_after)
    log_response("%s: %s", type(error).__name__, request.path, response=response, request=request, exception=error)
    return response
