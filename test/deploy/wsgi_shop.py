"""An application behind the WSGI middleware, for servers that import it: pages, a stream, and a file they send."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

sys.path[:0] = [os.environ["SHOP_PATH"], os.path.join(os.environ["SHOP_PATH"], "adapters")]

from session2 import SessionManager, from_url  # noqa: E402
from session2_wsgi import SessionMiddleware  # noqa: E402


def shop(environ: dict[str, Any], start: Any) -> Any:
    session = environ["session2.session"]
    session["n"] = session.get("n", 0) + 1
    text = str(session["n"]).encode()
    start("200 OK", [("Content-Type", "text/plain")])
    if environ["PATH_INFO"] == "/stream":
        return stream(session, text)
    if environ["PATH_INFO"] == "/file":
        file = tempfile.TemporaryFile()  # noqa: SIM115 (the server closes it)
        file.write(text)
        file.seek(0)
        return environ["wsgi.file_wrapper"](file, 65536)
    return [text]


def generator(environ: dict[str, Any], start: Any) -> Any:
    yield from shop(environ, start)


def stream(session: Any, text: bytes) -> Any:
    yield text
    session["n"] += 1
    yield b" and one"


def routed(environ: dict[str, Any], start: Any) -> Any:
    return (generator if environ["PATH_INFO"] == "/generator" else shop)(environ, start)


manager = SessionManager(from_url(os.environ["SHOP_STORE"]))
application = SessionMiddleware(routed, manager)
