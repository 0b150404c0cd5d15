"""`answer`: which page is asked for, and whether it may be."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from typing import Final

from . import admin, devices, labs, original, overview
from .asked import Answer, Asked
from .failing import no_page, refused
from .layout import neighbours
from .site import Site
from .static import static

Page = Callable[[Site, Asked], Answer]

SHOWN: Final[Mapping[str, Page]] = {
    "/": overview.show, "/devices": devices.show, "/labs": labs.show, "/admin": admin.show,
    "/lab/run": labs.show_run, "/lab/run.json": labs.run_json, "/lab/state": labs.state,
    **{f"/original/{name}": page for name, page in original.PAGES.items()},
}
"""What may be got.  Nothing is changed by it, but by the pages of the original test application."""

DONE: Final[Mapping[str, Page]] = {**overview.ACTIONS, **devices.ACTIONS, **admin.ACTIONS, **labs.ACTIONS}
"""What must be posted."""


def answer(site: Site, asked: Asked) -> Answer:
    """Answer a request, unless something fails."""
    if not asked.is_post:
        shown = SHOWN.get(asked.path)
        if shown is None:
            return static(asked.path) or no_page(site, asked)
        if asked.path in labs.ACROSS:
            return _readable(site, asked, shown(site, asked))
        return shown(site, asked) if _is_meant(asked) else refused(site, asked)
    done = DONE.get(asked.path)
    if done is None:
        return no_page(site, asked)
    if not (_comes_from_us(site, asked) and has_token(asked)):
        return refused(site, asked)
    return _readable(site, asked, done(site, asked))


def _is_meant(asked: Asked) -> bool:
    """Tell whether no other site leads here: the pages of the original application change the session when got."""
    return not asked.path.startswith("/original/") or asked.path == "/original/" \
        or asked.header("Sec-Fetch-Site") in (None, "none", "same-origin")


def _comes_from_us(site: Site, asked: Asked) -> bool:
    """Tell whether a form was on a page of this demo, as far as the browser says where it was."""
    if asked.origin is None:
        return asked.header("Sec-Fetch-Site") in (None, "none", "same-origin")
    return asked.origin == asked.header("Host") or _is_neighbour(site, asked)


def _is_neighbour(site: Site, asked: Asked) -> bool:
    return asked.header("Origin") in neighbours(site, asked)


def has_token(asked: Asked) -> bool:
    """Tell whether a form bears the token of the visitor's session.

    A visitor without a session has nothing that a forged form could use, and where it came from has been checked.
    """
    session = asked.session
    given = asked.form.get("csrf_token", "")
    return not session.has_info() or hmac.compare_digest(given.encode(errors="replace"),
                                                         session.get_csrf_token().encode())


def _readable(site: Site, asked: Asked, made: Answer) -> Answer:
    """Let the pages of the neighbouring ports read an answer of the race lab, as browsers do not otherwise."""
    if asked.path not in labs.ACROSS or not _is_neighbour(site, asked):
        return made
    allowed = ("Access-Control-Allow-Origin", asked.header("Origin") or ""), \
        ("Access-Control-Allow-Credentials", "true")
    return made._replace(headers=(*made.headers, *allowed))
