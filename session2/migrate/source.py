"""What another system holds of its sessions, in our terms: `Former`, and `Source`, which yields them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

from .. import tokens
from ..adopted import adopted_id
from ..store.base import SessionStore
from .bringing import bring_missing
from .known import Unreadable


class Former(NamedTuple):
    """A session of another system.  Times are seconds since the epoch; None where that system does not know."""

    id: str
    """As the old cookie carries it, without a signature."""
    state: dict[str, Any]
    """What a session of ours holds: attributes, ``user`` among them; ``data``, in a mapping, is the dict of items."""
    created: float | None = None
    accessed: float | None = None
    expires: float | None = None
    """None: that system ends no session by itself."""

    def __repr__(self) -> str:
        return f"<Former {place(self.id)}>"


class Skipped(NamedTuple):
    """What cannot be moved, and why: no id and no value in either."""

    where: str
    """As `place` names it, or, where no id is known, a file or a row."""
    why: str
    """Equal for what is skipped for the same reason."""


class Source(ABC):
    """The sessions of another system, opened for reading only.

    A class in `session2.migrate.sources` is made with what its URL says: ``place``, which is a path, or a URL without
    the name of the system in front; the `Unpickler` to use; and by keyword the arguments of the query, of which each
    has a default.  `SessionError` or `OSError` from any method means that the system failed.
    """

    can_list: ClassVar[bool] = True
    """Whether the system can tell what it holds; where it cannot there is nothing to `scan`, and `find` works."""

    @abstractmethod
    def scan(self) -> Iterator[Former | Skipped]:
        """Iterate over all sessions; tolerates that the old application goes on changing them."""

    @abstractmethod
    def find(self, id: str) -> Former | Skipped | None:
        """Return the session with this id, which may be anything that a visitor sent; None if there is none."""

    def bring(self, store: SessionStore, id: str) -> None:
        """Store the session with this id, unless it is not there, or ever was here."""
        bring_missing(store, self, id)

    def close(self) -> None:  # noqa: B027 (a source with nothing to let go of has nothing to override)
        """Let go of files and connections; the source may be used again afterwards."""


class Unlisted(Source):
    """A system that cannot tell what it holds."""

    can_list: ClassVar[bool] = False

    def scan(self) -> Iterator[Former | Skipped]:
        """Iterate over nothing."""
        return iter(())


def place(id: str) -> str:
    """Return how a session is named in messages: as its key begins once it is here, for ``session2 show``."""
    return f"session {tokens.hash_id(adopted_id(id))[:8]}"


def mapping(id: str, items: Any, user_key: str = "", *, created: float | None = None, accessed: float | None = None,
            expires: float | None = None) -> Former:
    """Return a session of a system whose sessions are mappings; `Unreadable` if `items` are none.

    :param user_key: the item that tells who is logged in; it becomes the user, and stays an item.  Nobody is, where it
        is None, False or "", as applications leave it at a logout.
    """
    if not isinstance(items, dict):
        raise Unreadable(f"it holds no mapping but a {type(items).__name__}")
    if not all(isinstance(name, str) for name in items):
        raise Unreadable("it has items whose names are no text")
    user = items.get(user_key) if user_key else None
    if user is True:
        raise Unreadable("the item of its user_key tells that somebody is logged in, and not who")
    is_nobody = user is None or user is False or user == ""
    return Former(id, {"data": items, **({} if is_nobody else {"user": user})}, created, accessed, expires)


def ended(id: str) -> Former:
    """Return a session in which nothing is, as some systems leave it behind at a logout: it is over there."""
    return Former(id, {"data": {}}, expires=0.0)


def attempt(id: str, read: Callable[[], Former]) -> Former | Skipped:
    """Return what `read` does, or why it cannot be read."""
    try:
        return read()
    except Unreadable as error:
        return Skipped(place(id), str(error))
