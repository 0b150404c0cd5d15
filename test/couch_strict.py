"""A stand-in for CouchDB 3.4 that answers as that was seen to answer, above all where pouchdb-server is more lenient.

It keeps everything in memory, serves each connection in a thread, and can be told to lose an answer or to be slow.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

Login = tuple[str, str] | None

ADMIN = ("admin", "p@ss:w/rd")
MEMBER = ("member", "secret")

LARGEST_DOCUMENT = 8_000_000

ADMINS_ONLY: dict[str, Any] = {"members": {"roles": ["_admin"]}, "admins": {"roles": ["_admin"]}}

VIEWS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "by_user": lambda doc: doc["user"],
    "by_expiry": lambda doc: doc["expires"],
    "by_use": lambda doc: doc["accessed"] if doc["session"] else None,
}
"""What the functions in the design document emit, for this stand-in runs no JavaScript."""


class Answered(Exception):
    """Ends a request."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def refused(status: int, error: str, reason: str = "") -> Answered:
    return Answered(status, {"error": error, "reason": reason})


class Fault(NamedTuple):
    """What goes wrong with the next request of this kind."""

    method: str
    path: str
    """A regular expression."""
    what: str
    """`unheard`: cut before it is done; `lost`: done, and the answer lost; a number: answered with that status.

    `slow`: what is done meanwhile comes first; `after`: that comes between what is done and the answer; `closing`: the
    answer is the last one on its connection.
    """
    meanwhile: Callable[[], object]


class Database:
    """Documents by id, each with its revision; a deleted one has a body of None."""

    def __init__(self) -> None:
        self.documents: dict[str, tuple[int, str, dict[str, Any] | None]] = {}
        self.security = ADMINS_ONLY

    def get(self, id: str, query: dict[str, str]) -> dict[str, Any]:
        if id not in self.documents:
            raise refused(404, "not_found", "missing")
        number, hash, body = self.documents[id]
        if query.get("rev", f"{number}-{hash}") != f"{number}-{hash}":
            raise refused(404, "not_found", "missing")
        if body is None:
            raise refused(404, "not_found", "deleted")
        return {"_id": id, "_rev": f"{number}-{hash}", **body}

    def put(self, id: str, document: dict[str, Any], rev: str | None) -> str:
        """Store a document; one with ``_deleted`` deletes what is there."""
        if id.startswith("_") and not id.startswith("_design/"):
            raise refused(400, "illegal_docid", "Only reserved document ids may start with underscore.")
        body = {name: value for name, value in document.items() if not name.startswith("_")}
        unknown = {name for name in document if name.startswith("_")} - {"_id", "_rev", "_deleted"}
        if unknown:
            raise refused(400, "doc_validation", "Bad special document member")
        if len(json.dumps(body)) > LARGEST_DOCUMENT:
            raise refused(413, "document_too_large", id)
        number, hash, before = self.documents.get(id, (0, "", None))
        if before is not None or rev is not None:
            if rev is not None and not re.fullmatch(r"\d+-[0-9a-f]{32}", rev):
                raise refused(400, "bad_request", "Invalid rev format")
            if before is None or rev != f"{number}-{hash}":
                raise refused(409, "conflict", "Document update conflict.")
        is_deleted = bool(document.get("_deleted"))
        made = hashlib.md5(json.dumps([number, hash, is_deleted, body]).encode()).hexdigest()
        self.documents[id] = number + 1, made, None if is_deleted else body
        return f"{number + 1}-{made}"

    def live(self) -> dict[str, dict[str, Any]]:
        return {id: {"_id": id, "_rev": f"{number}-{hash}", **body}
                for id, (number, hash, body) in sorted(self.documents.items()) if body is not None}

    def rows(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        found = [{"id": id, "key": id, "value": {"rev": document["_rev"]}, "doc": document}
                 for id, document in self.live().items()]
        return cut(found, query)

    def view(self, name: str, query: dict[str, Any]) -> list[dict[str, Any]]:
        design = self.documents.get("_design/session2")
        if design is None or design[2] is None or name not in design[2]["views"]:
            raise refused(404, "not_found", "missing_named_view")
        value = (lambda document: None) if name == "by_user" else (lambda document: document["_rev"])
        found = [{"id": id, "key": VIEWS[name](document), "value": value(document), "doc": document}
                 for id, document in self.live().items() if document.get("versions") is not None]
        emitted = [row for row in found if row["key"] is not None]
        return cut(sorted(emitted, key=lambda row: row["key"]), query)


def cut(rows: list[dict[str, Any]], query: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a list or a view was asked for."""
    if "key" in query:
        rows = [row for row in rows if row["key"] == query["key"]]
    if "startkey" in query:
        rows = [row for row in rows if row["key"] >= query["startkey"]]
    if "endkey" in query:
        rows = [row for row in rows if row["key"] < query["endkey"]
                or (query.get("inclusive_end", True) and row["key"] == query["endkey"])]
    shown = [{**row} for row in rows[:query.get("limit", len(rows))]]
    if not query.get("include_docs"):
        for row in shown:
            del row["doc"]
    return shown


class StrictServer:
    """The server; its databases are there as long as it is.

    :param context: to be spoken to in TLS.
    """

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.databases: dict[str, Database] = {}
        self.faults: list[Fault] = []
        self.asked: list[tuple[str, str]] = []
        """The requests there were."""
        self.mutex = threading.RLock()
        self.running = threading.Event()
        self.running.set()
        handler = type("Handler", (_Handler,), {"stand_in": self})
        self._http = _Listener(("127.0.0.1", 0), handler)
        if context is not None:
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_address[1]
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return self.url_for(ADMIN)

    def url_for(self, login: Login, prefix: str = "sessions") -> str:
        quoted = "" if login is None else ":".join(re.sub(r"\W", lambda found: f"%{ord(found[0]):02X}", part)
                                                   for part in login) + "@"
        return f"couchdb://{quoted}127.0.0.1:{self.port}/{prefix}"

    def fail(self, method: str, path: str, what: str, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Have something go wrong with the next such request."""
        self.faults.append(Fault(method, path, what, meanwhile))

    def cut_all(self) -> None:
        """End all connections, as a restart does."""
        self._http.cut_all()

    def close(self) -> None:
        self.running.set()
        self._http.shutdown()
        self._http.server_close()
        self._http.cut_all()
        self._thread.join()

    # -- what it answers -------------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, query: dict[str, Any], body: Any, login: Login) -> Answered:
        parts = [unquote(part) for part in path.strip("/").split("/")]
        self.asked.append((method, path))
        try:
            with self.mutex:
                if login not in (None, ADMIN, MEMBER):
                    raise refused(401, "unauthorized", "Name or password is incorrect.")
                if parts == [""]:
                    raise Answered(200, {"couchdb": "Welcome", "version": "3.4"})
                if len(parts) == 1:
                    raise self.about_database(method, parts[0], login)
                database = self.database(parts[0], login)
                raise self.inside(database, method, "/".join(parts[1:]), query, body, login)
        except Answered as answered:
            return answered

    def about_database(self, method: str, name: str, login: Login) -> Answered:
        if method in ("PUT", "DELETE"):
            if login != ADMIN:
                return refused(401, "unauthorized", "You are not a server admin.")
            if not re.fullmatch(r"[a-z][a-z0-9_$()+/-]*", name):
                return refused(400, "illegal_database_name", "Only lowercase characters ...")
        if method == "PUT":
            if name in self.databases:
                return refused(412, "file_exists", "The database could not be created, the file already exists.")
            self.databases[name] = Database()
            return Answered(201, {"ok": True})
        database = self.database(name, login)
        if method == "DELETE":
            del self.databases[name]
            return Answered(200, {"ok": True})
        return Answered(200, {"db_name": name, "doc_count": len(database.live())})

    def database(self, name: str, login: Login) -> Database:
        if name not in self.databases:
            raise refused(404, "not_found", "Database does not exist.")
        database = self.databases[name]
        members = database.security["members"]
        if login != ADMIN and (members.get("roles") or members.get("names")):
            if login is None:
                raise refused(401, "unauthorized", "You are not authorized to access this db.")
            if login[0] not in members.get("names", ()):
                raise refused(403, "forbidden", "You are not allowed to access this db.")
        return database

    def inside(self, database: Database, method: str, path: str, query: dict[str, Any], body: Any,
               login: Login) -> Answered:
        view = re.fullmatch(r"_design/session2/_view/(\w+)", path)
        if view:
            return Answered(200, {"rows": database.view(view[1], query)})
        if path == "_all_docs":
            return Answered(200, {"rows": database.rows(query)})
        if path == "_bulk_docs":
            return Answered(201, [self.one_of_many(database, document) for document in body["docs"]])
        if path in ("_security", "_revs_limit"):
            if method == "GET":
                return Answered(200, database.security)
            if login != ADMIN:
                return refused(401, "unauthorized", "You are not a db or server admin.")
            if path == "_security":
                database.security = body
            return Answered(200, {"ok": True})
        return self.document(database, method, path, query, body, login)

    def one_of_many(self, database: Database, document: dict[str, Any]) -> dict[str, Any]:
        try:
            return {"ok": True, "id": document["_id"],
                    "rev": database.put(document["_id"], document, document.get("_rev"))}
        except Answered as answered:
            return {"id": document["_id"], **answered.body}

    def document(self, database: Database, method: str, id: str, query: dict[str, Any], body: Any,
                 login: Login) -> Answered:
        if method == "GET":
            return Answered(200, database.get(id, query))
        if id.startswith("_design/") and login != ADMIN:
            return refused(403, "forbidden", "You are not a db or server admin.")
        if method == "PUT":
            rev = database.put(id, body, query.get("rev", body.get("_rev")))
            return Answered(201, {"ok": True, "id": id, "rev": rev})
        database.get(id, {})
        if "rev" not in query:
            return refused(409, "conflict", "Document update conflict.")
        return Answered(200, {"ok": True, "id": id, "rev": database.put(id, {"_deleted": True}, query["rev"])})


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 100

    def __init__(self, *arguments: Any) -> None:
        self.open: set[socket.socket] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients break connections on purpose."""

    def cut_all(self) -> None:
        for connection in list(self.open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    stand_in: StrictServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        with contextlib.suppress(OSError):
            super().handle_one_request()
            return
        self.close_connection = True

    def serve(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("Content-Length", 0))
        data = self.rfile.read(length)
        if len(data) < length:  # who asked is gone
            self.close_connection = True
            return
        self.stand_in.running.wait()
        fault = next((fault for fault in self.stand_in.faults
                      if fault.method == self.command and re.search(fault.path, self.path)), None)
        if fault is not None:
            self.stand_in.faults.remove(fault)
            if self.go_wrong(fault, parts.path, parts.query, data):
                return
        answered = self.answered(parts.path, parts.query, data)
        if fault is not None and fault.what == "after":
            fault.meanwhile()
        self.close_connection |= fault is not None and fault.what == "closing"
        self.send(answered.status, answered.body)

    def go_wrong(self, fault: Fault, path: str, query: str, data: bytes) -> bool:
        """Tell whether there is nothing more to answer."""
        if fault.what.isdigit():
            fault.meanwhile()
            self.send(int(fault.what), {"error": "unknown_error", "reason": "as told"})
            return True
        if fault.what == "lost":
            self.answered(path, query, data)
        if fault.what != "after":
            fault.meanwhile()
        if fault.what in ("lost", "unheard"):
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return True
        return False

    def answered(self, path: str, query: str, data: bytes) -> Answered:
        if self.headers.get("Content-Type", "application/json") != "application/json":
            return refused(415, "bad_content_type", "Content-Type must be application/json")
        try:
            body = json.loads(data.decode()) if data else {}
            data.decode()
            if re.search(rb"\\ud[89a-f]", data):
                raise ValueError("lone surrogates are not UTF-8")
        except ValueError:
            return refused(400, "bad_request", "invalid UTF-8 JSON")
        arguments = {name: value if name == "rev" else json.loads(value) for name, value in parse_qsl(query)}
        return self.stand_in.answer(self.command, path, arguments, body, self.login())

    def login(self) -> Login:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        name, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
        return name, password

    def send(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = serve
