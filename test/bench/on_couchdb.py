"""The CouchDB part of what is measured: a private pouchdb-server, which keeps its data on disk."""

from __future__ import annotations

import atexit
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from cases import Case, ours, raw

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers_couchdb import PouchServer


def on_couchdb(folder: Path) -> list[Case]:
    """A GET and a PUT with the revision, by the standard library, with a connection for each worker."""
    server = PouchServer(on_disk=True)
    atexit.register(server.close)

    def begin(number: int) -> tuple[Callable[[], bytes], Callable[[bytes], object]]:
        connection = HTTPConnection("127.0.0.1", server.port)
        headers, revs = {"Content-Type": "application/json"}, dict[str, str]()

        def ask(method: str, path: str, body: Any = None) -> Any:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            return json.loads(connection.getresponse().read())

        def load() -> bytes:
            document = ask("GET", f"/raw/{number}")
            revs["_rev"] = document["_rev"]
            return b64decode(document["data"])

        def save(data: bytes) -> None:
            revs["_rev"] = ask("PUT", f"/raw/{number}", {"data": b64encode(data).decode(), **revs})["rev"]

        ask("PUT", "/raw")
        return load, save

    return [raw("http.client, GET + PUT", begin), *ours("couchdb", server.url)]


def groups() -> dict[str, Callable[[Path], list[Case]]]:
    """Return the group by name."""
    return {"couchdb": on_couchdb}
