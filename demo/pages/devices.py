"""My devices: the sessions of the user who is logged in, and how to end them."""

from __future__ import annotations

from typing import Final

from . import overview
from .asked import Answer, Asked
from .at_rest import shown_key
from .html import Markup, ago, joined, markup, plural
from .layout import form, hidden, page, token_of
from .session import DemoSession
from .site import Site

_NOBODY: Final = Markup("""<h1>My devices</h1>
<p class="lead">Log in first, and once more in another browser or a private window: here you will see both.</p>
<p><a class="button" href="/">To the session</a></p>""")

_CANNOT: Final = """<h1>My devices</h1>
<p class="lead">The {store} store cannot list sessions, so nobody can tell which ones are yours.</p>"""

_DEVICES: Final = """<h1>My devices</h1>
<p class="lead">{user} is logged in on {count}. Where a session is, is noted when it logs in: its address, and the
kind of its browser. No more than that is kept, and it goes when the session does.</p>
<ul class="devices">{devices}</ul>
{others}"""

_DEVICE: Final = """<li class="card"><h2>{device}{here}</h2>
<dl class="facts">
<div><dt>From</dt><dd>{address}</dd></div>
<div><dt>Logged in</dt><dd>{since}</dd></div>
<div><dt>Last seen</dt><dd>{seen}</dd></div>
<div><dt>Key</dt><dd><code>{key}…</code></dd></div>
</dl>
{end}</li>"""


def show(site: Site, asked: Asked) -> Answer:
    """Show the sessions of the user."""
    session, said = asked.session, overview.SAID.get(asked.query.get("done", ""), "")
    if session.user is None:
        return page(site, asked, "My devices", _NOBODY, token=token_of(asked))
    if not site.manager.store.can_list:
        return page(site, asked, "My devices", markup(_CANNOT, store=site.store), token=token_of(asked))
    found = sorted(site.manager.sessions_of(session.user), key=lambda each: (each.key != session.key,
                                                                            -each.get_access_time()))
    others = form(asked, "/devices/others", "Log out everywhere else", kind="block") if len(found) > 1 else None
    content = markup(_DEVICES, user=session.user, count=plural(len(found), "device"), others=others,
                     devices=joined(_device(site, asked, each) for each in found))
    return page(site, asked, "My devices", content, notice=said, token=token_of(asked))


def _device(site: Site, asked: Asked, each: DemoSession) -> Markup:
    now, is_here = site.manager.sessions.clock(), each.key == asked.session.key
    key = shown_key(site.manager.store, each.key or "")
    device = each.device or "an unknown browser"
    end = form(asked, "/devices/end", "Log out here" if is_here else "End this session", hidden("key", key),
               label=f"End the session {key[:8]} of {device}")
    return markup(_DEVICE, device=device, here=Markup(' <span class="here">this one</span>') if is_here else None,
                  address=each.get_remote_address() or "unknown", since=ago(now - (each.get_login_time() or now)),
                  seen=ago(now - each.get_access_time()), key=key[:8], end=end)


def end(site: Site, asked: Asked) -> str:
    """End one of the user's own sessions, if it is one."""
    session, manager, wanted = asked.session, site.manager, asked.form.get("key")
    if session.user is None or not manager.store.can_list:
        return "none"
    if wanted == shown_key(manager.store, session.key or ""):
        return overview.logout(site, asked)
    for each in manager.sessions_of(session.user):
        if each.key is not None and wanted == shown_key(manager.store, each.key):
            manager.sessions.end_key(each.key, "ended from another device")
            return "ended"
    return "none"


ACTIONS: Final = {"/devices/end": overview.and_back(end, "/devices"),
                  "/devices/others": overview.and_back(overview.log_out_elsewhere, "/devices")}
