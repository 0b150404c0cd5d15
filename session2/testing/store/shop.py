"""A session class of a shop, and its sessions: stored, and loaded again."""

from __future__ import annotations

from ... import merge
from ...record import Outcome
from ...session import DictSession, Session
from ...store.base import SessionStore
from ...tokens import new_id


class Shop(DictSession):
    """A session with a merge rule of each kind."""

    merge_rules = {"visits": merge.add, "basket": merge.union, "source": merge.first, "nested": {"n": merge.add}}


def saved(store: SessionStore, **items: object) -> Shop:
    """Return a session that was just stored with these items."""
    session = Shop(new_id())
    session.data.update(items)
    assert store.sessions.save(session) is Outcome.SAVED
    return session


def again(store: SessionStore, session: Session) -> Shop:
    """Return another copy of a stored session."""
    assert session.id is not None
    loaded = store.sessions.load(session.id, Shop)
    assert loaded is not None
    assert loaded is not session
    return loaded


def alive(store: SessionStore, *ids: str | None) -> list[Shop]:
    """Return all sessions; of a store that cannot list, those to which the ids in question lead."""
    if store.can_list:
        return list(store.sessions.each(Shop))
    found = [store.sessions.load(id, Shop) for id in ids if id is not None]
    return list({str(session.key): session for session in found if session is not None}.values())
