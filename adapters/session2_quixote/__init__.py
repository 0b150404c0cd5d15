"""session2 for Quixote: ``Publisher(root, session_manager=SessionManager(store))``, and nothing else.

Quixote calls a session manager without arguments; `current_exchange` is how the manager then finds the request.
"""

from __future__ import annotations

import functools
import threading
import weakref
from typing import Any

from session2 import ConfigurationError, CookiePolicy, Exchange, Session
from session2.cookies import values_of
from session2.errors import needing
from session2.exchange import joined
from session2.session import ties

with needing("Quixote"):
    from quixote import get_publisher  # type: ignore[import-untyped, unused-ignore]

__all__ = ["QuixoteExchange", "current_exchange"]


class QuixoteExchange(Exchange):
    """One request of Quixote's; `session` is the request's own attribute, so Quixote's ``get_session()`` finds it.

    Refers to the request weakly: a session refers to its exchange, and would keep uploads and pages alive with it.
    """

    def __init__(self, request: Any) -> None:
        self._request = weakref.ref(request)
        self._cookies: dict[str, dict[str, Any]] = {}

    @property
    def request(self) -> Any:
        """The `HTTPRequest`; its response is asked for anew each time, since Quixote replaces it on errors."""
        request = self._request()
        if request is None:
            raise ConfigurationError("this Quixote request is over: its session can no longer be changed or stored")
        return request

    @property
    def session(self) -> Session | None:
        session: Session | None = self.request.session
        if session is not None:
            ties(session)  # who has put a session of Quixote's own there is told what to do
        return session

    @session.setter
    def session(self, session: Session | None) -> None:
        self.request.session = session
        if session is not None and session.user is not None:
            self.request.environ["REMOTE_USER"] = str(session.user)

    def get_cookie(self, name: str) -> str | None:
        return next(iter(self.get_cookies(name)), None)

    def get_cookies(self, name: str) -> list[str]:
        # The header as it came: of a name that is there twice Quixote keeps the last.
        return values_of(self.request.get_environ("HTTP_COOKIE"), name)

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        # Quixote would keep the attributes of a cookie set earlier in the request: a max_age=0 among them.
        cookies = self.request.response.cookies
        cookies.pop(name, None)
        if attributes.pop("partitioned", False):  # has no value, and Quixote writes one behind all it does not know
            attributes["path"] += "; Partitioned"
        self.request.response.set_cookie(name, value, **attributes)
        self._cookies[name] = cookies[name]

    def repeat_cookies(self) -> None:
        """Send what was set in mid-request with the response there is now: Quixote begins another one for an error."""
        for name, cookie in self._cookies.items():
            if name not in self.request.response.cookies:
                self.request.response.cookies[name] = cookie
                self.add_header("Cache-Control", "no-store")

    def add_header(self, name: str, value: str) -> None:
        response = self.request.response
        response.set_header(name, joined(response.get_header(name), value))

    @property
    def remote_address(self) -> str | None:
        address: str | None = self.request.get_environ("REMOTE_ADDR")
        return address

    @property
    def is_secure(self) -> bool:
        return bool(self.request.get_scheme() == "https")

    @property
    def script_name(self) -> str:
        path: str = self.request.get_environ("SCRIPT_NAME") or ""
        return path if path.endswith("/") else path + "/"  # as Quixote has it, whose cookie this one takes the place of

    def post_value(self, name: str) -> str | None:
        request = self._request()
        if request is None or request.get_method() != "POST":
            return None
        value = request.get_field(name)
        if isinstance(value, list):  # sent more than once: Quixote's get_param takes the last
            value = value[-1]
        return value if isinstance(value, str) else None


def current_exchange() -> QuixoteExchange:
    """Return the exchange of the request that Quixote is processing; ConfigurationError if there is none."""
    publisher = get_publisher()
    request = None if publisher is None else publisher.get_request()
    if request is None:
        raise ConfigurationError("no Quixote request is being processed: give the manager an exchange")
    exchange: QuixoteExchange | None = getattr(request, "session2_exchange", None)
    if exchange is None:
        exchange = request.session2_exchange = QuixoteExchange(request)
        _close_previous(publisher, exchange)
        exchange.cookie_policy = _policy(publisher.config)
    if exchange._cookies:
        exchange.repeat_cookies()
    return exchange


def _close_previous(publisher: Any, exchange: QuixoteExchange) -> None:
    """Release the lock of a request that Quixote began and never finished.

    That happens if the path lacks its leading slash, and with SystemExit.  A publisher has one request at a time, or
    with an application's own threaded publisher one in each thread.
    """
    latest = vars(publisher).get("session2_latest") or vars(publisher).setdefault("session2_latest", threading.local())
    previous: QuixoteExchange | None = getattr(latest, "exchange", None)
    latest.exchange = exchange
    if previous is not None and previous.visit is not None and not previous.visit.finished:
        previous.visit.close()


def _policy(config: Any) -> CookiePolicy:
    return _checked_policy(config.session_cookie_name, config.session_cookie_path or None,
                           config.session_cookie_domain or None, bool(config.session_cookie_secure))


@functools.lru_cache(maxsize=16)
def _checked_policy(name: str, path: str | None, domain: str | None, secure: bool) -> CookiePolicy:
    """Return the policy of Quixote's configuration.

    That a setting is off cannot be told from its never having been thought of.  So the cookie is Secure over HTTPS
    and HttpOnly in any case; who wants to go without gives the manager a policy.
    """
    return CookiePolicy(name=name, path=path, domain=domain, secure=True if secure else None)
