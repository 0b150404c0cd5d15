"""The Quixote adapter: the suite, and every path on which Quixote calls a session manager, or does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import quixote
from quixote import get_session, get_user, redirect
from quixote.errors import TraversalError
from quixote.publish import Publisher
from quixote.server import simple_server

from session2 import SessionManager
from session2.testing import pages
from session2.testing.adapter import AdapterSuite


class Pages:
    """A root directory that leads every path to the pages of the suite."""

    def __init__(self, manager: SessionManager[Any]) -> None:
        self.manager = manager

    def _q_traverse(self, path: list[str]) -> str:
        call = pages.Call(_Fields(), get_session, lambda user: get_session().set_user(user), get_user,
                          self.manager.expire_session)
        try:
            return pages.answer("/" + "/".join(path), call)
        except pages.Redirect as answer:
            return str(redirect(answer.args[0]))
        except pages.NotFound:
            raise TraversalError from None


class _Fields(dict[str, str]):
    def __init__(self) -> None:
        super().__init__(quixote.get_request().form)


def serve(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    if https:
        simple_server.HTTPRequestHandler.required_cgi_environment = {"HTTPS": "on"}
    Publisher(Pages(manager), session_manager=manager)
    server = simple_server.SockInheritHTTPServer(("127.0.0.1", 0), simple_server.HTTPRequestHandler)
    ready(server.server_port)
    server.serve_forever()


class TestQuixote(AdapterSuite):
    server = f"{__file__}:serve"
