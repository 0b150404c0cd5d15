"""The HTTP side of `CouchDBSessionStore`: one question, one answer that is read whole.

Six kinds of requests do not need a client library; `session2.store.servers.pool` knows more of interruptions and forks
than those do.
"""

from __future__ import annotations

import json
import re
import ssl
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from io import BufferedReader
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote, urlencode

from ...errors import ConfigurationError, StoreUnavailable
from ...urls import parts_of
from ..servers.asking import ask_once, ask_twice
from ..servers.pool import Kind, Pool
from ..servers.results import Fault, StatementFailed
from ..servers.wire import Deadline, Reply, polling

_T = TypeVar("_T")

_PORTS: Final = {"couchdb": 5984, "couchdbs": 6984}

_PREFIX: Final = re.compile(r"[a-z][a-z0-9_-]{0,99}", re.ASCII)

_WRITE: Final = (
    "write for example couchdb://user:password@host:5984/sessions, where sessions is what the names of the databases "
    "begin with: small letters, digits, '-' and '_', a letter first")


class Place(NamedTuple):
    """What a URL says."""

    host: str
    port: int
    path: str
    """Of the server, before the names of the databases."""
    prefix: str
    authorization: Mapping[str, str]
    encrypted: bool

    def __repr__(self) -> str:
        """Tell where it is, and no password."""
        return f"<{self.name}>"

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"CouchDB at {self.host}:{self.port}"


class Answer(NamedTuple):
    """What the server said."""

    status: int
    body: Any

    @property
    def is_good(self) -> bool:
        """Whether it did what it was asked, if only on some of the nodes of its cluster until now (202).

        Those tell the others.  To refuse it would undo nothing, and fail a request whose change is there.
        """
        return self.status in (200, 201, 202)

    def field(self, name: str, kind: type[_T]) -> _T:
        """Return a field of what was said; `StoreUnavailable` if it is missing or of another kind."""
        value = self.body.get(name) if isinstance(self.body, dict) else None
        if not isinstance(value, kind):
            raise StoreUnavailable(f"what answers for CouchDB left out {name!r}, or the answer is to another question")
        return value

    @property
    def error(self) -> str:
        """The server's word for what is wrong; its sentence might repeat what it was sent."""
        word = self.body.get("error") if isinstance(self.body, dict) else None
        return word[:60] if isinstance(word, str) and re.fullmatch("[A-Za-z_ ]+", word) else ""


class Server:
    """A CouchDB server.

    :param pool_size: how many connections to it this process has at most.
    :param connect_timeout: in seconds, as is `timeout`, for which it may be silent while it is asked something.
    :param ssl_ca: a file with the certificates to trust; default: those the system trusts.
    """

    def __init__(self, place: Place, pool_size: int, connect_timeout: float, timeout: float,
                 ssl_ca: str | None) -> None:
        if ssl_ca is not None and not place.encrypted:
            raise ConfigurationError("ssl_ca needs an encrypted connection: write couchdbs:// in the URL")
        self._place, self._timeout = place, timeout
        context = _trust(ssl_ca) if place.encrypted else None
        kind = Kind(lambda: _Wire(place, context, connect_timeout), _Wire.is_at_rest, _Wire.is_cut, _Wire.close,
                    _Wire.close)
        self._pool: Pool[_Wire] = Pool(kind, pool_size, timeout)

    def ask(self, method: str, path: str, body: Any = None, timeout: float | None = None, **query: Any) -> Answer:
        """Ask what may be asked twice, and is if the connection breaks: a question, or a change of one revision."""
        return ask_twice(self._pool, self._question(method, path, body, timeout, query))

    def change(self, method: str, path: str, body: Any = None, timeout: float | None = None, **query: Any) -> Answer:
        """Ask once; `AnswerLost` if it may or may not have been done.

        :param query: arguments, as they are made JSON of.
        """
        return ask_once(self._pool, self._question(method, path, body, timeout, query))

    def _question(self, method: str, path: str, body: Any, timeout: float | None,
                  query: Mapping[str, Any]) -> Callable[[_Wire], Answer]:
        arguments = urlencode({name: json.dumps(value) if name != "rev" else value for name, value in query.items()})
        path = f"{self._place.path}/{path}{arguments and '?'}{arguments}"
        encoded = None if body is None else json.dumps(body).encode()
        question = partial(_Wire.ask, method=method, path=path, body=encoded, seconds=timeout or self._timeout)
        return self._explained(question, (dict, list) if path.endswith("/_bulk_docs") else (dict,))

    def explain(self, answer: Answer, what: str = "what it was asked") -> str:
        """Return what an answer means and what to do about it.

        :param what: what the server was to do.
        """
        advice = _ADVICE.get(answer.status, "see its log")
        said = f", {answer.error}" if answer.error else ""
        return f"{self._place.name} refused {what}: it answered {answer.status}{said}; {advice}"

    def close(self) -> None:
        """Close what nobody uses."""
        self._pool.clear()

    def _none(self, why: str) -> StoreUnavailable:
        return StoreUnavailable(f"what answers at {self._place.host}:{self._place.port} is no CouchDB: {why}; check "
                                "the host and the port in the URL")

    def _explained(self, question: Callable[[_Wire], Answer], kinds: tuple[type, ...]) -> Callable[[_Wire], Answer]:
        """Return what asks and raises what the others know; an answer is one of these kinds."""
        def ask(wire: _Wire) -> Answer:
            try:
                answer = question(wire)
            except TimeoutError as error:
                raise StatementFailed(Fault.SILENT, f"{self._place.name} did not answer in time") from error
            except (OSError, HTTPException) as error:
                raise StatementFailed(Fault.BROKEN, f"the connection to {self._place.name} broke: "
                                                    f"{type(error).__name__}") from error
            except (ValueError, RecursionError) as error:
                raise self._none("it does not speak JSON") from error
            if answer.status >= 500:
                raise StatementFailed(Fault.BROKEN, self.explain(answer))
            if not isinstance(answer.body, kinds):
                raise self._none("it answers something else")
            return answer

        return ask


_ADVICE: Final = {
    401: "check the user and the password in the URL",
    403: "let the user be a member of the database, in its _security, or run session2 setup as an administrator",
    404: "set the store up with: session2 setup URL",
    412: "it is there already",
    413: "keep less in the session, or raise max_document_size in the section [couchdb] of its settings",
    429: "it is too busy",
    **dict.fromkeys((301, 302, 303, 307, 308), "write the URL of the server itself"),
}


class _Socket:
    """As much of a socket as `http.client` uses once it is connected; a question and its answer have one deadline."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self.deadline = Deadline(0)
        self.end = socket.close

    def close(self) -> None:
        """Do nothing yet: `http.client` closes it before the answer is read, where the server is going to."""

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self.deadline.left())
        self._socket.sendall(data)

    def makefile(self, mode: str) -> BufferedReader:
        reply = Reply(self._socket)
        reply.deadline = self.deadline
        return BufferedReader(reply)


class _Wire:
    """A connection; at rest unless a question is under way on it."""

    def __init__(self, place: Place, context: ssl.SSLContext | None, connect_timeout: float) -> None:
        self._at_rest = False
        self._headers = {"Accept": "application/json", "Content-Type": "application/json", **place.authorization}
        self._http = (HTTPConnection(place.host, place.port, connect_timeout) if context is None else
                      HTTPSConnection(place.host, place.port, timeout=connect_timeout, context=context))
        try:
            self._http.connect()
        except (OSError, UnicodeError) as error:  # the latter of a host that can have no address
            self._http.close()
            why = getattr(error, "strerror", None) or error
            raise StoreUnavailable(f"no connection to {place.name}: {why}") from error
        except BaseException:
            self._http.close()
            raise
        self._poll = polling(self._http.sock.fileno())
        self._http.sock = self._socket = _Socket(self._http.sock)
        self._at_rest = True

    def ask(self, method: str, path: str, body: bytes | None, seconds: float) -> Answer:
        self._at_rest = False
        self._socket.deadline = Deadline(seconds)
        self._http.request(method, path, body, self._headers)
        response = self._http.getresponse()
        data = response.read()
        answer = Answer(response.status, json.loads(data or b"{}"))
        self._at_rest = not response.will_close
        return answer

    def is_at_rest(self) -> bool:
        return self._at_rest

    def is_cut(self) -> bool:
        """Tell whether the server has ended the connection, or said what nobody asked for."""
        return bool(self._poll(0))

    def close(self) -> None:
        self._http.close()
        self._socket.end()


def place_of(url: str) -> Place:
    """Return what a URL says; `ConfigurationError` if it says too little."""
    parts = parts_of(url)
    path, _, prefix = parts.path.rpartition("/")
    if parts.scheme not in _PORTS or not parts.hostname or not _PREFIX.fullmatch(prefix):
        raise ConfigurationError(f"the URL of a CouchDB store is not complete: {_WRITE}")
    if not re.fullmatch(r"[A-Za-z0-9._~/-]*", path) or parts.query or parts.fragment or " " in parts.hostname:
        raise ConfigurationError(f"the URL of a CouchDB store says more than there is to say: {_WRITE}")
    try:
        port = parts.port or _PORTS[parts.scheme]
    except ValueError:
        raise ConfigurationError("the port in the URL of a CouchDB store is not a number") from None
    return Place(parts.hostname, port, path, prefix, _authorization(parts.username, parts.password),
                 parts.scheme == "couchdbs")


def _authorization(user: str | None, password: str | None) -> Mapping[str, str]:
    if user is None:
        return {}
    login = f"{unquote(user)}:{unquote(password or '')}".encode()
    return {"Authorization": f"Basic {b64encode(login).decode('ascii')}"}


def _trust(ssl_ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ssl_ca)
    except OSError as error:
        raise ConfigurationError(f"ssl_ca: the file of certificates cannot be read: {error.strerror}") from None
