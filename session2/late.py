"""What a thread of the application does with its session when the request is over."""

from __future__ import annotations

from typing import Any

from .errors import ConfigurationError
from .exchange import Exchange
from .manager import SessionManager
from .session import ties
from .store.lease import Lease


class Late:
    """What the manager is to a request under way, for one whose answer is out: all is stored at once."""

    def __init__(self, manager: SessionManager[Any]) -> None:
        self._manager = manager
        self._lease: Lease | None = None

    def lock_request(self, exchange: Exchange) -> None:
        """Lock the session, and take in what others stored since it was loaded."""
        session: Any = exchange.session
        if ties(session).origin is not None:
            self._lease = self._manager.lock(session)
            try:
                exchange.visit.sessions.merge_in(session)
            except BaseException:
                self.unlock_request(exchange)
                raise

    def renew_lock(self, exchange: Exchange) -> None:
        """Start the lease of the lock anew."""
        if self._lease is not None:
            self._lease.renew()

    def unlock_request(self, exchange: Exchange) -> None:
        """Unlock the session."""
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.release()

    def settle_request(self, exchange: Exchange) -> None:
        """Store the session; `ConfigurationError` where its browser would have to be told."""
        session: Any = exchange.session
        if not session.has_info():
            self.end(exchange)
        elif self._manager.needs_new_id(session) or exchange.visit.sessions is not self._manager.sessions:
            raise ConfigurationError("this request is over and no cookie can be sent any more: no session can begin, "
                                     "no user or id change, nor anything in a session that is kept in its cookie; "
                                     "nothing was stored")
        else:
            self._manager.save(session, exchange.visit.concurrency, self._lease)

    def end(self, exchange: Exchange) -> None:
        """End the session."""
        session: Any = exchange.session
        if ties(session).origin is not None:
            self._manager.delete(session)
