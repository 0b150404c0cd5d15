"""`SessionStore`: what Django calls a session: the items of a `DictSession`, in a request or out of it."""

from __future__ import annotations

from typing import Any

from asgiref.sync import sync_to_async
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.utils.asyncio import async_unsafe

from session2 import DictSession, tokens
from session2.clocks import Clocks
from session2.session import ties_of, user_key
from session2.store.cleaning import clean

from .keepers import InRequest, Outside
from .managers import current_manager, default_age, lenient, own_clocks

_LOGIN = (SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY)

_NOTES = "_django_login"
"""The attribute of a session with what Django notes of a login: an item for Django alone."""

_NOTED_IN = "_django_login_in"
"""The attribute that tells which login of the session that was."""


class SessionStore(SessionBase):  # type: ignore[misc]
    """A session of Django's, kept by session2.

    :param session_key: the id of a session.  What could not be one of ours counts as none.
    :param keeper: what carries out what is said; default: all is done at once.
    """

    def __init__(self, session_key: str | None = None, keeper: InRequest | None = None) -> None:
        super().__init__(session_key)
        self._keeper: InRequest | Outside = keeper or Outside()
        self._kept: DictSession | None = None
        self._user: Any = None
        """Who was logged in through Django when the items were taken from the session."""

    @property
    def session(self) -> DictSession:
        """The session itself: its attributes, its user, its tokens; it holds what the items are by now."""
        data = self._get_session()
        if self._kept is None:
            self._take(self._find())
        session: Any = self._kept
        if data.get(SESSION_KEY) != self._user:  # who is logged in
            session.user = self._user = data.get(SESSION_KEY)
        if self.modified:
            _hand_over(session, data)
        return session  # type: ignore[no-any-return]

    # -- its id --------------------------------------------------------------------------------------------------------

    _id: str | None = None

    @property
    def _session_key(self) -> str | None:
        """The id, as Django and those who know its insides get at it."""
        return self._id

    @_session_key.setter
    def _session_key(self, key: object) -> None:
        self._id = str(key) if tokens.is_id(key) else None

    @property
    def session_key(self) -> str | None:
        """The id of the session, None if it has none; in a request one that was looked up, not what a cookie says."""
        if self._keeper.opens_at_once and self._kept is None:
            self._get_session()
        return self._id

    def is_empty(self) -> bool:
        """Tell whether there is neither an id nor an item; an id that was not looked up counts."""
        return not self.session_key and not self.__dict__.get("_session_cache")

    def exists(self, session_key: str | None) -> bool:
        """Tell whether there is a session with this id."""
        return lenient(self._keeper.manager).has_session(session_key)

    # -- its items -----------------------------------------------------------------------------------------------------

    def _get_session(self, no_load: bool = False) -> dict[str, Any]:
        self.accessed = True
        if "_session_cache" not in self.__dict__:
            self._session_cache = {} if no_load else self._take(self._find())
        return self._session_cache

    async def _aget_session(self, no_load: bool = False) -> dict[str, Any]:
        if no_load or "_session_cache" in self.__dict__:
            return self._get_session(no_load)
        return await sync_to_async(self._get_session)()

    _session = property(_get_session)

    def load(self) -> dict[str, Any]:
        """Return the items that are stored; where nothing is stored the session has no id any more."""
        session = self._find()
        self._id = ties_of(session).id
        return _visible(session)

    @async_unsafe  # type: ignore[untyped-decorator]
    def _find(self) -> DictSession:
        return self._keeper.find(self._id, self)

    def _take(self, session: DictSession) -> dict[str, Any]:
        """Go on with what this session holds; return its items."""
        self._kept, self._id = session, ties_of(session).id
        data = _visible(session)
        self._user = data.get(SESSION_KEY)
        return data

    def take_over(self, session: DictSession) -> None:
        """Have the items be those of this session from now on."""
        self._session_cache = self._take(session)

    # -- storing -------------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Store the items as a new session; in a request, under a new id."""
        self._create(None)

    def _create(self, key: str | None) -> None:
        self._get_session(no_load=True)
        self._take(self._keeper.begin(key, self))
        self.modified = True
        self._store()

    def save(self, must_create: bool = False) -> None:
        """Store the items, merged with what others stored meanwhile.

        Out of requests `UpdateError` is raised if the session has ended; in a request nothing is stored then.
        """
        if must_create or (self.session_key is None and not self._keeper.opens_at_once):
            self._create(self._id)
        else:
            self._store()

    @async_unsafe  # type: ignore[untyped-decorator]
    def _store(self) -> None:
        session = self.session
        if not self._keeper.save(session, self):
            raise UpdateError("the session has ended, or has another id by now")
        self.take_over(session)

    def cycle_key(self) -> None:
        """Give the session a new id; the old one is dead: at once, or in a request when that has succeeded."""
        session = self.session
        self._keeper.rotate(session, self)
        self.take_over(session)
        self.modified = True

    async def acycle_key(self) -> None:
        """See `cycle_key`."""
        await sync_to_async(self.cycle_key)()

    def flush(self, clear_site_data: bool = False) -> None:
        """End the session, and begin another: at once, or in a request when that succeeds.

        :param clear_site_data: in a request, tell the browser to drop its caches, cookies and storage of this site too.
        """
        self.take_over(self._keeper.flush(self._id, clear_site_data, self))
        self.accessed = self.modified = True

    async def aflush(self) -> None:
        """See `flush`."""
        await sync_to_async(self.flush)()

    def delete(self, session_key: str | None = None) -> None:
        """End a session, by default this one."""
        self._keeper.delete(session_key, self._id, self)

    @classmethod
    def clear_expired(cls) -> None:
        """Remove what has expired from the store."""
        clean(current_manager().store)

    # -- its clocks ----------------------------------------------------------------------------------------------------

    def get_session_cookie_age(self) -> float:
        """Return after how many seconds without use a session ends that was told nothing else."""
        return default_age(self._keeper.manager.clocks)

    def clocks_of(self, session: DictSession) -> Clocks:
        """Return the clocks that are to hold for a session."""
        return own_clocks(self._keeper.manager.clocks, self.get_session_cookie_age(),
                          session.data.get("_session_expiry"), ties_of(session).created)


def _visible(session: DictSession) -> dict[str, Any]:
    """Return the items, with what Django noted of a login unless that is over, or of another one by now, elsewhere."""
    notes = session.__dict__.get(_NOTES)
    if not notes or notes.get(SESSION_KEY) != user_key(session.user):
        return session.data
    return session.data if vars(session).get(_NOTED_IN, 0) != session._login_number() else {**session.data, **notes}


def _hand_over(session: DictSession, items: dict[str, Any]) -> None:
    """Let the session have these items, and what Django noted of a login beside them."""
    notes = {key: items[key] for key in _LOGIN if key in items}
    session.data = {key: value for key, value in items.items() if key not in notes} if notes else items
    for name in (_NOTES, _NOTED_IN):
        vars(session).pop(name, None)
    if notes:
        vars(session).update({_NOTES: notes, _NOTED_IN: session._login_number()})
