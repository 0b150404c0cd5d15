"""What a browser is told when its session cannot be had."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cherrypy  # type: ignore[import-untyped, unused-ignore]

from session2 import LockTimeout, SessionConflict, StoreUnavailable


class SessionBusy(cherrypy.HTTPError):  # type: ignore[misc]
    """503 with a Retry-After, which CherryPy would strip if it were set before."""

    def set_response(self) -> None:
        super().set_response()
        cherrypy.serving.response.headers["Retry-After"] = "1"


@contextmanager
def as_http_errors() -> Iterator[None]:
    """Turn the errors that are nobody's programming mistake into the HTTP errors they mean."""
    try:
        yield
    except LockTimeout as error:
        raise SessionBusy(503, "Another request of the same session is taking too long. Please try again.") from error
    except StoreUnavailable as error:
        cherrypy.log("The session store is not available.", context="TOOLS.SESSIONS", severity=40, traceback=True)
        raise cherrypy.HTTPError(503, "Sessions are not available at the moment.") from error
    except SessionConflict as error:
        raise cherrypy.HTTPError(409, "Another request changed the session meanwhile. Please try again.") from error
