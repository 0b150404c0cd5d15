"""What an application keeps of one visitor: `Session` in attributes, `DictSession` in items."""

from __future__ import annotations

import hashlib
import hmac
import pickle
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from operator import attrgetter
from typing import Any, ClassVar, Final, TextIO, TypeVar

from . import merge
from .defaults import refuse_shared
from .errors import SerializationError, not_ours
from .forms import refuse_used, spend
from .ties import Ties
from .unheeded import refuse_pickling

_S = TypeVar("_S", bound="Session")


class _Shown:
    """One of the ties, under a public name that an application may nevertheless use for an attribute of its own."""

    def __init__(self, name: str) -> None:
        self._read: Callable[[Ties], Any] = attrgetter(name)

    def __get__(self, session: Session | None, owner: type) -> Any:
        return self if session is None else self._read(session._ties)


class Session:
    """One visitor's session.  Any attribute the application sets is kept.

    A subclass may override `set_user` and `get_user` (to keep a database id instead of an object), `has_info` (what is
    worth storing), `user_key` (the name `SessionManager.revoke_user` knows a user by) and `merge_rules`.  Give new
    attributes a class-level default: a session saved before they existed is restored without calling ``__init__``.
    """

    # What is in __dict__ is the state.
    __slots__ = ("__dict__", "__weakref__", "_ties")

    MAX_FORM_TOKENS: ClassVar[int] = 16
    CSRF_TOKEN_NAME: ClassVar[str] = "csrf_token"  # noqa: S105 (the name of a form field)

    merge_rules: ClassVar[Mapping[str, Any]] = {}
    """Rules of `session2.merge` by attribute (in a `DictSession`: by key)."""

    user: Any = None
    _remote_address: str | None = None
    _form_tokens: list[str] | tuple[str, ...] = ()
    _spent_tokens: list[str] | tuple[str, ...] = ()
    _csrf_token: str | None = None
    _tokens_of: int = 0
    """The login that the tokens were made in."""
    _login_time: float | None = None
    _logins: int = 0
    """How often the user has changed."""

    _ties: Ties
    key = _Shown("key")
    """What the store files the session under; None as long as nothing is stored."""
    creation_time = _Shown("created")
    access_time = _Shown("accessed")
    expires = _Shown("expires")
    origin = _Shown("origin")
    exchange = _Shown("exchange")

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a default that all sessions would share: one visitor would see what another one put there.

        And what would not be stored, or not as the class says, without a word.
        """
        super().__init_subclass__(**options)
        refuse_shared(cls)
        refuse_pickling(cls, Session)

    def __init__(self, id: str | None = None) -> None:
        now = time.time()
        self._ties = Ties(id, now, now)

    @property
    def id(self) -> str | None:
        """What the cookie carries; None until the session is worth storing, and for sessions met by iteration."""
        return self._ties.id

    @id.setter
    def id(self, id: str | None) -> None:
        self._ties.id = id

    @classmethod
    def restore(cls: type[_S], state: dict[str, Any]) -> _S:
        """Return a session with this state, as a store does after reading."""
        session = cls.__new__(cls)
        session._ties = Ties(None, 0.0, 0.0)
        session.set_state(state)
        return session

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._short_key()} user={self.user!r}>"

    def __str__(self) -> str:
        user = f"user {self.user}" if self.user else "no user"
        return f"session {self._short_key()} ({user})"

    def _short_key(self) -> str:
        return (self._ties.key or "new")[:8]

    # -- state -----------------------------------------------------------------------------------------------------

    def get_state(self) -> dict[str, Any]:
        """Return what is stored of this session: a plain dict."""
        return self.__dict__

    def set_state(self, state: dict[str, Any]) -> None:
        """Take on a state that `get_state` of this or of an earlier version of the class returned."""
        self.__dict__ = state

    def merge_state(self, base: dict[str, Any], theirs: dict[str, Any]) -> None:
        """Take on `theirs` with the changes applied that this session made since `base`."""
        mine = self.get_state()
        refuse_used(base, mine, theirs)
        self.set_state(merge.merge(base, mine, theirs, self._all_merge_rules()))

    def _all_merge_rules(self) -> dict[str, Any]:
        return {"_form_tokens": merge.union, "_spent_tokens": spend, "_csrf_token": merge.first, **self.merge_rules}

    def has_info(self) -> bool:
        """Tell whether there is anything worth storing; until then there is no record and no cookie."""
        return bool(self.user is not None or self._form_tokens or self._csrf_token)

    # A session travels by pickle only in the stores of others; ours keep the plain state.
    def __getstate__(self) -> dict[str, Any]:
        ties = self._ties
        return {**self.get_state(), "id": ties.id, "_creation_time": ties.created, "_access_time": ties.accessed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        created = state.pop("_creation_time", 0.0)
        self._ties = Ties(state.pop("id", None), created, state.pop("_access_time", created))
        self.set_state(state)

    # -- user ------------------------------------------------------------------------------------------------------

    def set_user(self, user: Any) -> None:
        """Set the user; when the request ends the session gets a new id and the old one is dead."""
        self.user = user

    def get_user(self) -> Any:
        """Return the user, None for nobody."""
        return self.user

    def user_key(self) -> str | None:
        """Return the text by which the sessions of this user are found, None if nobody is logged in."""
        user = self.user
        return user if user is None or type(user) is str else user_key(user)

    # -- where from, since when ------------------------------------------------------------------------------------

    def get_remote_address(self) -> str | None:
        """Return the address the first request of this session came from."""
        return self._remote_address

    def get_creation_time(self) -> float:
        """Return when this session began, in seconds since the epoch."""
        return self._ties.created

    def get_login_time(self) -> float | None:
        """Return when the present user logged in, None if nobody is."""
        nobody = self.user is None and self.user_key() is None
        return None if nobody else self._login_time or self._ties.created

    def get_access_time(self) -> float:
        """Return when this session was last seen before this request; exact to the manager's `touch_interval`."""
        return self._ties.accessed

    def get_creation_age(self, _now: float | None = None) -> float:
        """Return the seconds since this session began."""
        return (time.time() if _now is None else _now) - self._ties.created

    def get_access_age(self, _now: float | None = None) -> float:
        """Return the seconds since this session was last seen before this request."""
        return (time.time() if _now is None else _now) - self._ties.accessed

    def start_request(self) -> None:
        """Do what a subclass wants done at the start of each request; nothing by default."""

    def dump(self, file: TextIO | None = None, header: bool = True, deep: bool = True) -> None:
        """Write a readable summary to `file` (default: standard output); `deep` adds the state."""
        out = file or sys.stdout
        if header:
            out.write(f"session {self._short_key()}:\n")
        out.write(f"  user {self.user!r}\n  remote address {self._remote_address}\n")
        out.write(f"  created {_stamp(self._ties.created)}, last accessed {_stamp(self._ties.accessed)}\n")
        for name, value in sorted(self.get_state().items()) if deep else ():
            out.write(f"  {name}: {value!r}\n")

    def _login_number(self) -> int:
        """Return which login this is, or which time of nobody: what was noted for another one counts no more.

        It is the same before and after the request is stored in which the user changes.
        """
        bound, now = self._ties, self.user_key()
        before = None if bound.origin is None else bound.origin.record.user
        has_changed = now != before and (bound.visit is None or bound.visit.sessions.user_changed(self))
        return self._logins + has_changed

    # -- tokens for forms ------------------------------------------------------------------------------------------

    def _forget_tokens_of_others(self) -> None:
        """Begin anew at a login or logout: whoever planted the session that somebody logs in to knows its tokens."""
        login = self._login_number()
        if self._tokens_of != login:
            for name in ("_form_tokens", "_csrf_token"):
                self.__dict__.pop(name, None)
            self._tokens_of = login

    def create_form_token(self) -> str:
        """Return a new token for one form; the newest `MAX_FORM_TOKENS` are remembered, until the user changes."""
        self._forget_tokens_of_others()
        token = secrets.token_urlsafe(16)
        self._form_tokens = [*self._form_tokens, token][-self.MAX_FORM_TOKENS:]
        return token

    def has_form_token(self, token: str) -> bool:
        """Tell whether `token` is outstanding."""
        return token in self._form_tokens and self._tokens_of == self._login_number()

    def remove_form_token(self, token: str) -> None:
        """Strike `token` off; ValueError if it is not outstanding.

        Of two requests that do so at once the second fails with `SessionConflict` when it is stored.  The form that
        logs in may be struck off when the user is set already.
        """
        tokens = list(self._form_tokens) if self._tokens_of in (self._login_number(), self._logins) else []
        tokens.remove(token)
        self._form_tokens = tokens
        self._spent_tokens = [*self._spent_tokens, token][-self.MAX_FORM_TOKENS:]

    def get_csrf_token(self) -> str:
        """Return the token that every form of this session carries; made at the first call, and at each login."""
        self._forget_tokens_of_others()
        if self._csrf_token is None:
            self._csrf_token = secrets.token_urlsafe(16)
        return self._csrf_token

    def valid_csrf_token(self, name: str | None = None) -> bool:
        """Tell whether the current request is a POST whose field `name` (`CSRF_TOKEN_NAME`) holds the CSRF token."""
        request = self._ties.exchange
        value = request.post_value(name or self.CSRF_TOKEN_NAME) if request else None
        if not isinstance(value, str) or self._csrf_token is None or self._tokens_of != self._login_number():
            return False
        return hmac.compare_digest(value.encode(errors="replace"), self._csrf_token.encode())


class DictSession(Session, MutableMapping[str, Any]):
    """A session that is a mapping.  Items and attributes are separate; it is true even when it is empty.

    The frameworks whose sessions are mappings all keep this one, so what one of them wrote any other reads.
    """

    __slots__ = ()

    data: dict[str, Any]

    def __init__(self, id: str | None = None) -> None:
        super().__init__(id)
        self.data = {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take on a state; one without items is a session whose items are all gone."""
        if "data" not in state:
            state["data"] = {}
        self.__dict__ = state

    def _all_merge_rules(self) -> dict[str, Any]:
        own = super()._all_merge_rules()
        return {**own, "data": self.merge_rules}

    def has_info(self) -> bool:
        """Tell whether there is a user, an item or an outstanding token."""
        return bool(self.data) or super().has_info()

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: str) -> Any:
        return self.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.data[key] = value

    def __delitem__(self, key: str) -> None:
        del self.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.data)

    def __len__(self) -> int:
        return len(self.data)

    # Two sessions with equal items are still two sessions.
    __eq__ = object.__eq__
    __hash__ = object.__hash__


ties_of: Final[Callable[[Session], Ties]] = attrgetter("_ties")
"""Return what binds a session that is known to be ours."""


def ties(session: Session) -> Ties:
    """Return what binds a session to its record and its request; TypeError for a session of somebody else's."""
    try:
        return session._ties
    except AttributeError:
        if isinstance(session, Session):
            raise TypeError(f"{type(session).__name__}.__init__ must call super().__init__(id)") from None
        raise not_ours(type(session), "session") from None


def user_key(user: Any) -> str | None:
    """Return the text under which sessions of `user` are indexed, None for nobody.

    A str, int or UUID is its own text.  Any other object counts as the hash of its pickle: good enough to notice that
    the user changed; to revoke by such a user, override `Session.user_key`.
    """
    if user is None:
        return None
    if isinstance(user, (str, int)) or _is_uuid(user):
        return str(user)
    try:
        pickled = pickle.dumps(user, 5)
    except Exception as error:  # whatever a foreign __reduce__ raises
        raise SerializationError(f"'user' cannot be pickled: {error}; override Session.user_key", "'user'") from error
    return "sha256:" + hashlib.sha256(pickled).hexdigest()


def _is_uuid(user: Any) -> bool:
    module = sys.modules.get("uuid")  # who has one has imported it
    return module is not None and isinstance(user, module.UUID)


def _stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
