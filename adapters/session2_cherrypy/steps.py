"""The hooks of a request by which its session is stored, one for all requests at each point."""

from __future__ import annotations

from typing import Any

import cherrypy  # type: ignore[import-untyped, unused-ignore]
from cherrypy._cprequest import Hook
from cherrypy.lib.sessions import close, save  # type: ignore[import-untyped, unused-ignore]


class Step(Hook):  # type: ignore[misc]
    """What the session of the request under way does at a point; made once, for each request would make six."""

    def __call__(self) -> None:
        self.callback(cherrypy.serving.request.session2_session)


def are_alone(request: Any) -> bool:
    """Tell whether behind the page no hook runs but the tool's own and these."""
    hooks = request.hooks
    for hook in (*hooks["before_finalize"], *hooks["on_end_resource"], *hooks["on_end_request"]):
        if type(hook) is not Step and hook.callback not in (save, close):
            return False
    return True
