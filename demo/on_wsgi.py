"""The demonstration as a bare WSGI application."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from session2_wsgi import SessionMiddleware

from .pages import Answer, Asked, Site, answer, failed
from .pages.asked import number_in
from .serving import Application

LARGEST: Final = 65536
"""Bytes of a form."""


def application(site: Site) -> Application:
    def demo(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        asked = Asked("wsgi", environ, _form(environ), lambda: environ["session2.session"].session)
        try:
            made = answer(site, asked)
        except Exception as error:
            traceback.print_exc(file=sys.stderr)
            made = failed(site, asked, error)
        return _sent(made, start)

    return SessionMiddleware(demo, site.manager)


def _form(environ: dict[str, Any]) -> dict[str, str]:
    given = number_in(environ.get("CONTENT_LENGTH") or "") or 0
    size = min(given, LARGEST) if environ["REQUEST_METHOD"] == "POST" else 0
    return dict(parse_qsl(environ["wsgi.input"].read(size).decode(errors="replace"), keep_blank_values=True))


def _sent(made: Answer, start: Callable[..., Any]) -> list[bytes]:
    start(f"{made.status} {HTTPStatus(made.status).phrase}", made.all_headers)
    return [made.body.encode()]
