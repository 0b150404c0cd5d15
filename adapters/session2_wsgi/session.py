"""`WSGISession`: what ``environ["session2.session"]`` holds during a request."""

from __future__ import annotations

from typing import Any

from session2 import DictSession, SessionManager
from session2.environ import EnvironExchange
from session2.late import Late
from session2.lazy import LazySession


class WSGISession(LazySession):
    """The items of the session; it is true even when it is empty.

    It is opened at the first access: a request that does not look at it costs nothing and gets no cookie.
    """

    _exchange: EnvironExchange

    _is_over = False
    """Whether the answer is out, or will not be."""

    def __init__(self, manager: SessionManager[DictSession], environ: dict[str, Any]) -> None:
        super().__init__(EnvironExchange(environ))
        self._manager = manager

    def _begin(self) -> None:
        self._manager.start_request(self._exchange)
        if self._is_over:  # in a thread of its own, say: nobody would release it
            self._manager.unlock_request(self._exchange)

    def __bool__(self) -> bool:
        return True

    @property
    def id(self) -> str:
        """The id the cookie carries, or will carry if there is something to store."""
        return self.session.id or self._manager.reserve_id(self.session)

    @property
    def exchange(self) -> EnvironExchange:
        """The request, for what the manager does in one: `lock_request` and its like."""
        return self._exchange

    @property
    def failure(self) -> Exception | None:
        """Why the session could not be opened."""
        return self._failure

    def save(self) -> None:
        """Store the session now; harmless when repeated, and seldom needed: it is stored before the headers go out.

        In a thread that goes on when the answer is out it works too, but for what needs another cookie.
        """
        self.session  # noqa: B018 (opens it)
        (Late(self._manager) if self._is_over else self._manager).settle_request(self._exchange)

    def delete(self, clear_site_data: bool = False) -> None:
        """Log out, when the request succeeds; when it is over, at once."""
        if self._opened and self._is_over:
            Late(self._manager).end(self._exchange)
        super().delete(clear_site_data)

    def release_lock(self) -> None:
        """Unlock the session before the end, of a long download say; what is changed from here on is merged."""
        if self._opened:
            self._manager.unlock_request(self._exchange)

    # -- for the middleware ----------------------------------------------------------------------------------------

    def is_under_way(self, manager: SessionManager[Any]) -> bool:
        """Tell whether it is a session of this manager, and its answer still to come."""
        return self._manager is manager and not self._is_over

    def finish(self, final: bool) -> None:
        """Store the session while a cookie can be sent; `final` if nobody can change it any more."""
        if self._opened:
            store = self._manager.finish_successful_request if final else self._manager.settle_request
            store(self._exchange)

    def finish_late(self) -> None:
        """Store what was changed when the headers were out, and let go of the session."""
        self._is_over = True
        visit = self._exchange.visit  # also one that another thread is just about to open
        if visit is None or visit.finished:
            return
        try:
            self._store_late()
        finally:
            self.give_up()

    def give_up(self) -> None:
        """Forget what is not stored by now, and free the lock."""
        self._is_over = True
        self._manager.finish_failed_request(self._exchange)
