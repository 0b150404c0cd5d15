"""`StoreSession`: what `cherrypy.session` stands for during a request."""

from __future__ import annotations

import math
import sys
import weakref
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Final

import cherrypy  # type: ignore[import-untyped, unused-ignore]

from session2 import ConfigurationError, CookiePolicy, DictSession, SessionError, SessionManager
from session2.found import Absence
from session2.late import Late

from . import drafts, proxy
from .answers import refuse
from .cleaning import clean, keep_clean
from .counted import CountedSession
from .exchange import CherryPyExchange
from .settings import cookie_path, cookie_policy, find_manager, mode_of, tool_settings
from .steps import Step, are_alone


class StoreSession(CountedSession):
    """A session kept in a session2 store, for ``tools.sessions.storage_class``.

    Beside CherryPy's own settings of the tool it takes:

    - ``manager``: a `session2.SessionManager`; or
    - ``store_url``: text for `session2.from_url`, such as ``"directory:/var/lib/sessions?create=true"``;
    - ``samesite``: ``"Lax"`` (default), ``"Strict"``, ``"None"`` or None.

    The session is opened at the first access: a request that does not look at it costs nothing and gets no cookie.
    Everything else is documented at CherryPy's ``Session``; where this class differs, docs/cherrypy.md says so.
    """

    _exchange: CherryPyExchange

    samesite: Any = CookiePolicy.samesite
    clean_thread: Any = None
    """CherryPy's place for the one clean-up thread of a class; here the threads belong to the stores."""

    debug = False
    locked = False
    regenerated = False

    def __init__(self, id: str | None = None, *, timeout: float = 60, clean_freq: float | None = 5,
                 **settings: Any) -> None:
        proxy.install()
        self._timeout = timeout
        self.clean_freq = clean_freq
        self.id_observers: list[Callable[[str], None]] = []
        """The tool adds one that sets its cookie; nobody is called, since the cookie is told when it is due."""
        self._late: Late | None = None
        self._settled = self._page_is_over = self._is_done = self._is_drafted = False
        self._request: Any = weakref.proxy(cherrypy.serving.request)  # the hooks of which have the session
        self._response = cherrypy.serving.response
        self._settings = {**tool_settings(self._request), **settings}
        cookie_path(self._settings, self._request.headers)  # before the tool puts it into its draft: Python may object
        super().__init__(CherryPyExchange(self._request, self._response))
        if self._settings.get("on") or "name" in self._settings:
            self._cookie_name = str(self._settings.get("name", "session_id"))
        self._given_id = id
        locking = self._settings.get("locking")
        self._wants_lock = None if locking is None else locking in ("implicit", "early")
        self._hook_is_due = locking in (None, "implicit")
        self._follow_request()

    def _follow_request(self) -> None:
        earlier = getattr(self._request, "prev", None)
        while earlier is not None and not hasattr(earlier, "session2_session"):  # its page had the tool off
            earlier = earlier.prev
        if earlier is not None:
            self._exchange.carry_on(earlier.session2_session._exchange)
        hooks = self._request.hooks
        if not hasattr(self._request, "session2_session"):
            self._request.session2_session = self
            for point, step in _STEPS:
                hooks[point].append(step)
        else:  # beside that of the tool, under a cookie of its own
            for point, step in _STEPS:
                hooks.attach(point, partial(step.callback, self), step.failsafe, step.priority)

    @cached_property
    def originalid(self) -> str | None:
        """The id that the browser sent, whatever it is worth."""
        try:
            return self._exchange.get_cookie(self._cookie_name) or self._given_id
        except ReferenceError:  # the request is over
            return self._given_id

    @cached_property
    def _cookie_name(self) -> str:
        """The name that a tool has drafted which is not called ``sessions``: its settings are not told."""
        return drafts.name_in(self._response.cookie) or "session_id"

    # -- the session -----------------------------------------------------------------------------------------------

    @cached_property
    def manager(self) -> SessionManager[DictSession]:
        """The manager this request is served by."""
        return find_manager(self._settings, self._timeout)

    @property
    def timeout(self) -> float:
        """The minutes that a session lives unused; infinite if it lives for ever."""
        idle = self.manager.clocks.idle
        return math.inf if idle is None else idle / 60

    @timeout.setter
    def timeout(self, minutes: float) -> None:
        raise AttributeError("timeout cannot be set for one session: configure tools.sessions.timeout, for a path if "
                             "need be")

    @property
    def cookie_policy(self) -> CookiePolicy:
        """What the tool's settings make of the cookie, for a manager that was made without a policy."""
        clocks = self.manager.clocks
        max_age = clocks.lifetime if clocks.idle is None else clocks.idle
        settings = {**self._settings, "name": self._cookie_name}
        return cookie_policy(settings, self._request.headers, self._settings.get("samesite", self.samesite),
                             max_age)

    @property
    def id(self) -> str:
        """The id the cookie carries, or will carry if there is something to store."""
        if not self._opened and not self._is_drafted:
            self._is_drafted = True
            return drafts.UNOPENED  # the tool asks, to draft its cookie; not worth opening the session for
        return self.session.id or self.manager.reserve_id(self.session)

    @property
    def missing(self) -> bool:
        """Whether the request named a session that does not exist."""
        self.session  # noqa: B018 (it is opened)
        return self._exchange.visit.absence not in (None, Absence.NO_COOKIE)

    # -- CherryPy's session API ------------------------------------------------------------------------------------

    def load(self) -> None:
        """Open the session; one that is open takes in what others stored since, and is empty if it ended meanwhile."""
        try:
            self._look_again()
        except SessionError as error:
            refuse(error)

    def _begin(self) -> None:
        try:
            manager, exchange = self.manager, self._exchange
            if manager.cookie is None:
                exchange.cookie_policy = self.cookie_policy
            exchange.sends_expires = manager.cookie is None
            manager.start_request(exchange, mode_of(manager, self._wants_lock))
        except SessionError as error:
            refuse(error)
        except ReferenceError:
            raise ConfigurationError("this CherryPy request is over: its session can no longer be opened") from None
        self.locked = exchange.visit.concurrency == "lock"
        keep_clean(manager.store, self.clean_freq)

    def save(self) -> None:
        """Store the session if it changed, and release its lock; also in a thread that goes on behind the request."""
        if self._late is None:
            self._settle()
        else:
            self._late.settle_request(self._exchange)
        self.release_lock()

    def delete(self, clear_site_data: bool = False) -> None:
        """Log out, when the request succeeds; behind it, at once."""
        if self._late is not None:
            self._late.end(self._exchange)
        super().delete(clear_site_data)

    def regenerate(self) -> None:
        """Give the session a new id; the old one is dead when the request has succeeded."""
        super().regenerate()
        self.regenerated = True

    def acquire_lock(self) -> None:
        """Lock the session, and take in what others stored since it was loaded; harmless while it is locked.

        What the tool does before each handler only has the session locked at the first access: one that is never
        looked at needs no lock.
        """
        hooked, self._hook_is_due = self._hook_is_due, False
        if self.locked or hooked:
            return
        self._wants_lock = True
        self.session  # noqa: B018 (it is opened)
        try:
            (self._late or self.manager).lock_request(self._exchange)
        except SessionError as error:
            refuse(error, self._late is not None)
        self.locked = True

    def renew_lock(self) -> None:
        """Start the lease of the lock anew, in a request that runs longer than the manager's `lock_lease`."""
        try:
            (self._late or self.manager).renew_lock(self._exchange)
        except SessionError as error:
            refuse(error, self._late is not None)

    def release_lock(self) -> None:
        """Unlock the session, from whatever thread; harmless while it is not locked.

        What is changed from here on is merged with what others store.
        """
        self._wants_lock = self.locked = False
        if self._opened:
            (self._late or self.manager).unlock_request(self._exchange)

    def clean_up(self) -> None:
        """Remove expired records, as the clean-up thread does."""
        clean(self.manager.store)

    # -- the request -----------------------------------------------------------------------------------------------

    def _heed(self, draft: Any) -> None:
        """Heed what pages made of the cookie the tool has drafted: a logout, or another kind of cookie."""
        if drafts.is_logout(draft):
            drafts.withdraw(draft)
            self.delete()
        elif self._opened:
            own = drafts.of_the_tool(self._settings, self._request.headers, self._timeout)
            drafts.apply(draft, own, self._exchange)

    def _before_others(self) -> None:
        if not self._settled:
            self._before_headers()

    def _before_headers(self) -> None:
        """Settle while a cookie can still be sent; the lock of a stream is kept until its body is out."""
        self._is_done = self._page_is_over and type(self._response.body) is list and are_alone(self._request)
        if not self._is_done:
            self._settle()
        self._emit()

    def _before_internal_redirect(self) -> None:
        if isinstance(sys.exc_info()[1], cherrypy.InternalRedirect):
            self.save()

    def _at_the_end(self) -> None:
        """Store what the last hooks changed, and let go of the session."""
        try:
            is_done = self._is_done and self._settled == self._opened  # a listener or middleware may have opened it
            if not is_done and (
                    self._exchange.headers_sent or isinstance(sys.exc_info()[1], cherrypy.InternalRedirect)):
                self._settle()
        except Exception:
            cherrypy.log("What was changed in a session after the answer was made could not be stored.",
                         context="TOOLS.SESSIONS", severity=40, traceback=True)
        finally:
            if self._opened:
                self.locked, self._late = False, Late(self.manager)
                self._exchange.visit.close()

    def _settle(self) -> None:
        draft = drafts.changed(self._response.cookie.get(self._cookie_name), self._settings, self._timeout)
        if draft is not None:
            self._heed(draft)
        self._page_is_over = self._request.stage.startswith("before_finalize")
        if not self._opened or self._exchange.visit.finished or (self._settled and not self._exchange.visit.has_news()):
            return
        try:
            self._settle_request()
        except cherrypy.HTTPError as error:
            # If this response is a redirection or an error already, CherryPy would make a 500 of a second one.
            self._request.error_response = error.set_response
            self._give_up()
            raise
        self._settled = True
        if self._exchange.headers_sent and self.session.has_info() and self.manager.needs_new_id(self.session):
            self._give_up()  # it was refused, and will be however often it is tried

    def _settle_request(self) -> None:
        try:
            self.manager.settle_request(self._exchange)
        except SessionError as error:
            refuse(error)

    def _give_up(self) -> None:
        """Forget what is not stored by now, and free the lock."""
        self.locked = False
        if self._opened:
            self.manager.finish_failed_request(self._exchange)
        self._exchange.emit()

    def _draft(self) -> Any:
        return drafts.changed(self._response.cookie.get(self._cookie_name), self._settings, self._timeout)

    def _before_error(self) -> None:
        """Undo what the request did; the page that answers the error may log out nevertheless."""
        self._give_up()
        draft = self._draft()
        if draft is not None:
            drafts.withdraw(draft)
        self._request.error_response = partial(self._answer_error, self._request.error_response)

    def _answer_error(self, answer: Callable[[], None] | None) -> None:
        try:
            if answer:
                answer()
        finally:
            self._heed_error_page()
            self._emit_again()

    def _heed_error_page(self) -> None:
        """Log out if the page that shows an error did."""
        draft = self._draft()
        try:
            if draft is not None and drafts.is_logout(draft):
                self.session  # noqa: B018 (it is opened, or it is said again why it cannot be)
                if self._exchange.visit.finished:  # nothing is left of the request that failed: it begins anew
                    self._begin()
                self._exchange.visit.expire()
                self._settle_request()
        except Exception:
            cherrypy.log("The session could not be ended that an error page expired.", context="TOOLS.SESSIONS",
                         severity=40, traceback=True)

    def _emit(self) -> None:
        if self._cookie_name not in self._exchange.cookies:
            self._response.cookie.pop(self._cookie_name, None)
        if not self._exchange.is_emitted():
            self._exchange.emit()

    def _emit_again(self) -> None:
        """Tell the browser with another response, that of an error, what it was to be told."""
        self._response.cookie.pop(self._cookie_name, None)
        self._exchange.emit()


# Before what CherryPy caches by the headers, if that was not done; and once more behind all others, for what they
# changed.  Not where one of them crashed; where one answered, with a redirection say, CherryPy runs them all again.
_STEPS: Final = (
    ("before_finalize", Step(StoreSession._before_others, failsafe=False, priority=90)),
    ("before_finalize", Step(StoreSession._before_headers, failsafe=False, priority=sys.maxsize)),
    ("before_error_response", Step(StoreSession._before_error, failsafe=True, priority=50)),
    ("after_error_response", Step(StoreSession._emit_again, failsafe=True, priority=50)),
    ("on_end_resource", Step(StoreSession._before_internal_redirect, failsafe=True, priority=50)),
    ("on_end_request", Step(StoreSession._at_the_end, failsafe=True, priority=sys.maxsize)),
)
