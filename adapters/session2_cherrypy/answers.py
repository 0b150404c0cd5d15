"""What a browser is told when its session cannot be had."""

from __future__ import annotations

from typing import NoReturn

import cherrypy  # type: ignore[import-untyped, unused-ignore]

from session2 import SessionError, StoreUnavailable


class SessionRefused(cherrypy.HTTPError):  # type: ignore[misc]
    """The answer an error stands for, with a Retry-After, which CherryPy would strip if it were set before."""

    def __init__(self, error: SessionError) -> None:
        super().__init__(error.status, error.public)
        self._retry_after = error.retry_after

    def set_response(self) -> None:
        super().set_response()
        if self._retry_after is not None:
            cherrypy.serving.response.headers["Retry-After"] = str(self._retry_after)


def refuse(error: SessionError, is_answered: bool = False) -> NoReturn:
    """Raise the HTTP error that an error means, or itself if it is somebody's programming mistake, or nobody waits."""
    if is_answered or not error.is_refusal:
        raise error
    if isinstance(error, StoreUnavailable):
        cherrypy.log("The session store is not available.", context="TOOLS.SESSIONS", severity=40, traceback=True)
    raise SessionRefused(error) from error
