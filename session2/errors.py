"""Every error session2 raises on purpose.  Each message says what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, NoReturn, TypeVar

_T = TypeVar("_T")


class SessionError(Exception):
    """The base of all errors of this package."""

    status: int = 500
    """What an adapter answers a request with that fails so, an HTTP status."""

    retry_after: int | None = None
    """Seconds after which the client may try again, where that makes sense; for the header ``Retry-After``."""

    public: str = "The session cannot be used."
    """What the visitor may be told."""

    @property
    def is_refusal(self) -> bool:
        """Whether the visitor is told, with the three above; anything else is somebody's mistake, and a crash."""
        return self.status != SessionError.status


class ConfigurationError(SessionError):
    """An argument, option, URL or combination of them cannot work."""


class StoreUnavailable(SessionError):
    """The system behind a store did not do what it was asked; nothing was handed out in its place."""

    status = 503
    public = "Sessions are not available at the moment."


class StoreMissing(StoreUnavailable):
    """There is no store at the place named; only `setup`, and a copy to there, creates one.

    ``what`` says what is missing and no more, for those who tell in other words what to do, such as the command line.
    """

    CREATE: ClassVar[str] = "create=True, in a URL ?create=true, or store.setup()"
    """What to do where the option of a store makes one too."""

    def __init__(self, what: str, how: str = "store.setup()") -> None:
        super().__init__(what, how)
        self.what, self.how = what, how

    def __str__(self) -> str:
        return f"{self.what}: set it up once with {self.how}, or in a shell with: session2 setup URL"


class Conflict(SessionError):
    """A record's version is not the one a primitive was told to expect."""


class SessionConflict(SessionError):
    """Another request changed the session meanwhile and this one may not, or could not, merge."""

    status = 409
    public = "Another request changed the session meanwhile. Please try again."


class SessionEnded(SessionConflict):
    """The session is no longer there: it was logged out of, revoked, or its time was over."""

    public = "The session has ended."


class LockTimeout(SessionError):
    """The lock of a session was not free within the bounded wait."""

    status = 503
    retry_after = 1
    public = "Another request of the same session is taking too long. Please try again."


class LockLost(SessionConflict):
    """The lease of a lock ran out and another holder has the session now; nothing was written."""


class ReadOnlySession(SessionError):
    """A request declared ``concurrency="read-only"`` changed its session; nothing was written."""


class SessionTooLarge(SessionError):
    """A session has become larger than the place it is kept in; nothing was stored, and what was there stays."""


class SerializationError(SessionError):
    """A state cannot become bytes, or bytes are not a state.

    ``where`` names the attribute or key at fault, when it is known.
    """

    def __init__(self, message: str, where: str | None = None) -> None:
        super().__init__(message)
        self.where = where


def not_ours(thing: object, what: str) -> TypeError:
    """Return the error for a session, or session class, of somebody else."""
    name = f"{thing.__module__}.{thing.__qualname__}" if isinstance(thing, type) else repr(thing)
    return TypeError(f"{name} is no {what} of session2: derive your class from session2.Session or DictSession, which "
                     "have what Quixote's own has, and name it as the manager's session_class; its sessions are made "
                     "by manager.new_session()")


def of_kind(what: str, value: _T, kind: type, example: str) -> _T:
    """Return an argument that is of this kind; `ConfigurationError` for another one."""
    return value if isinstance(value, kind) else refuse(what, value, kind, example)


def refuse(what: str, value: object, kind: type, example: str) -> NoReturn:
    """Raise the error for an argument of another kind; it is not shown, for it may be a URL with its password."""
    raise ConfigurationError(f"{what} must be a {kind.__name__}, such as {example}, not a {type(value).__name__}")


@contextmanager
def needing(framework: str) -> Iterator[None]:
    """Say what to install if a framework cannot be imported, whose package and extra have its name in small letters."""
    name = framework.lower()
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigurationError(f"session2_{name} needs {framework}: pip install 'session2[{name}]'") from error
