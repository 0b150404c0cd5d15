"""The demonstration on Quixote, by a publisher that serves requests in parallel."""

from __future__ import annotations

import sys
import threading
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from quixote import get_request, get_response, get_session
from quixote.directory import Directory
from quixote.http_response import HTTPResponse
from quixote.publish import Publisher
from quixote.wsgi import QWIP

from .pages import Answer, Asked, Site, answer, failed
from .serving import Application


class Demo(Directory):  # type: ignore[misc]
    """All pages, at the root."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def _q_traverse(self, path: Sequence[str]) -> str:
        return sent(answer(self.site, asked()))


class ThreadedPublisher(Publisher):  # type: ignore[misc]
    """A publisher for a server with threads: Quixote's own has one place for the request that is being processed."""

    is_thread_safe = True

    def __init__(self, site: Site) -> None:
        self._here = threading.local()
        self.site = site
        super().__init__(Demo(site), session_manager=site.manager)

    @property
    def _request(self) -> Any:
        return getattr(self._here, "request", None)

    @_request.setter
    def _request(self, request: Any) -> None:
        self._here.request = request

    def finish_failed_request(self) -> str:
        """Have the session forgotten, and answer with a page of ours.

        Quixote itself would write the whole request into its log, cookies and all.
        """
        error = sys.exc_info()[1]
        traceback.print_exc(file=sys.stderr)
        if not isinstance(error, Exception):
            raise
        get_request().response = HTTPResponse()
        self.session_manager.finish_failed_request()
        return sent(failed(self.site, asked(), error))


def application(site: Site) -> Application:
    with redirect_stdout(sys.stdout):  # and back: a publisher turns standard output into its error log
        publisher = ThreadedPublisher(site)
    return QWIP(publisher)  # type: ignore[no-any-return]


def asked() -> Asked:
    request = get_request()
    form = {name: value for name, value in request.form.items() if isinstance(value, str)}
    return Asked("quixote", request.environ, form, get_session)


def sent(made: Answer) -> str:
    response = get_response()
    response.set_status(made.status)
    kind, _, charset = made.content_type.partition("; charset=")
    response.set_content_type(kind, charset or "utf-8")
    for name, value in made.headers:
        response.set_header(name, value)
    return made.body or "\n"  # without a body Quixote closes the connection by a header that WSGI leaves to the server
