"""What goes wrong, on purpose or not: the pages that say so and lead back."""

from __future__ import annotations

from http import HTTPStatus

from session2 import SessionError

from .asked import Answer, Asked
from .html import Markup, markup
from .layout import page
from .site import Site


class OnPurpose(RuntimeError):
    """What a page raises that crashes on purpose, after it has changed the session.

    :param session_id: of the session as it is stored.
    :param counter: what the page made of its counter; None: it logged out.
    """

    def __init__(self, session_id: str | None, counter: int | None = None) -> None:
        super().__init__("this page fails on purpose: what it did to its session must be forgotten")
        self.session_id = session_id
        self.counter = counter


def failed(site: Site, asked: Asked, error: BaseException) -> Answer:
    """Return what a request that failed is answered with; its framework has its session forgotten."""
    if isinstance(error, OnPurpose):
        return _proved(site, asked, error)
    if isinstance(error, SessionError) and error.is_refusal:
        return _told(site, asked, HTTPStatus(error.status).phrase, error.public, error.status)
    return _told(site, asked, "An error of this demo", "The request failed, and what it did to the session is "
                 "forgotten. The console has more.", 500)


def no_page(site: Site, asked: Asked) -> Answer:
    """Answer for a path that leads nowhere, and for what cannot be got or posted."""
    return _told(site, asked, "No such page", f"Nothing is at {asked.path} that could be "
                 f"{'posted to' if asked.is_post else 'shown'}.", 404)


def refused(site: Site, asked: Asked) -> Answer:
    """Answer for a form that may be forged."""
    return _told(site, asked, "Not done", "The form did not carry the token of your session, or came from another "
                 "site. That is how a forged one looks, and one of a page that was open while you logged in or out. "
                 "Nothing was changed: go back and try again.", 403)


def _told(site: Site, asked: Asked, title: str, text: str, status: int) -> Answer:
    content = markup('<h1>{title}</h1><p class="lead">{text}</p>{back}', title=title, text=text, back=_BACK)
    return page(site, asked, title, content, status)


_BACK = Markup('<p><a class="button" href="/">Back to the session</a></p>')

_INCREMENT = """
<h1>It crashed, and nothing is left of it</h1>
<p class="lead">This request added one to the counter, and then raised an exception: {framework} answers 500.</p>
<dl class="facts">
<div><dt>Counter in the request that crashed</dt><dd>{inside}</dd></div>
<div><dt>Counter in the store, read just now</dt><dd>{stored}</dd></div>
</dl>
<p><b>{verdict}</b> A request that fails leaves its session as it was before.</p>
"""

_LOGOUT = """
<h1>It crashed, and you are still here</h1>
<p class="lead">This request logged out, and then raised an exception: {framework} answers 500.</p>
<dl class="facts">
<div><dt>Session in the request that crashed</dt><dd>ended</dd></div>
<div><dt>Session in the store, looked for just now</dt><dd>{stored}</dd></div>
</dl>
<p><b>{verdict}</b> A logout counts when its request succeeds, and not before.</p>
"""


def _proved(site: Site, asked: Asked, error: OnPurpose) -> Answer:
    """Show what the request did, and what is stored."""
    framework = site.names[asked.framework]
    found = None if error.session_id is None else site.manager.load(error.session_id)
    if error.counter is None:
        holds, stored = found is not None, "there" if found is not None else "none"
        shown = markup(_LOGOUT, framework=framework, stored=stored, verdict=_verdict(holds))
    else:
        count = 0 if found is None else found.get("counter", 0)
        shown = markup(_INCREMENT, framework=framework, inside=error.counter, stored=count,
                       verdict=_verdict(count != error.counter))
    return page(site, asked, "Failed on purpose", markup("{shown}{back}", shown=shown, back=_BACK), 500)


def _verdict(holds: bool) -> str:
    return "As it should be." if holds else "This should not be."


