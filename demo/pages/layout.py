"""What stands around each page: the bar of frameworks, the ways to the other pages, forms."""

from __future__ import annotations

from typing import Final

from .asked import Answer, Asked
from .html import Markup, joined, markup, plural
from .site import Site
from .static import SCRIPT, STYLE

_PAGES: Final = {"/": "Session", "/devices": "My devices", "/labs": "Race lab", "/admin": "Admin"}

_TEMPLATE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="csrf" content="{token}">
<title>{title} · session2 demo on {framework}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}">
<script src="{script}" defer></script>
</head>
<body>
<a class="skip" href="#main">Skip to the content</a>
<header>
<div class="bar">
<p class="brand"><a href="/">session2</a></p>
<nav aria-label="Frameworks" class="frameworks"><ul>{frameworks}</ul></nav>
</div>
<nav aria-label="Pages" class="pages"><ul>{pages}</ul></nav>
</header>
<main id="main" tabindex="-1">
{notice}{content}
</main>
<footer>
<p>{count} over one <b>{store}</b> store, by one manager. This page came from <b>{framework}</b>{more}.</p>
<p><a href="/original/">The pages of the original test application</a></p>
</footer>
</body>
</html>
"""

_MORE: Final = "; go to another one in the bar, and your session goes with you"

_SAFE: Final = "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; form-action 'self'; " \
               "base-uri 'none'; frame-ancestors 'none'; connect-src 'self'"


def page(site: Site, asked: Asked, title: str, content: Markup, status: int = 200, notice: str = "",
         token: str = "") -> Answer:
    """Return a whole page.

    :param notice: what has just been done.
    :param token: what its forms carry; "" where the visitor has no session that a form could be about.
    """
    said = markup('<p class="notice" role="status">{notice}</p>', notice=notice)
    body = markup(_TEMPLATE, title=title, framework=site.names[asked.framework], style=STYLE.path, script=SCRIPT.path,
                  frameworks=_bar(site, asked), pages=_ways(asked), notice=said if notice else None, content=content,
                  count=plural(len(site.ports), "framework"), more=_MORE if len(site.ports) > 1 else "",
                  store=site.store, token=token)
    return Answer(body, status, headers=(("Cache-Control", "no-store"), ("Referrer-Policy", "same-origin"),
                                         ("X-Content-Type-Options", "nosniff"),
                                         ("Content-Security-Policy", " ".join([_SAFE, *neighbours(site, asked)]))))


def neighbours(site: Site, asked: Asked) -> list[str]:
    """Return where the frameworks are, as the visitor's browser reaches them."""
    return [f"http://{asked.host}:{port}" for port in site.ports.values()]


def form(asked: Asked, action: str, button: str, fields: Markup = Markup(), kind: str = "",  # noqa: B008 (immutable)
         label: str = "") -> Markup:
    """Return a form with one button, which bears the token of the visitor's session.

    :param label: what the button does, where its text alone does not say that.
    """
    named = markup(' aria-label="{label}"', label=label) if label else None
    return markup('<form method="post" action="{action}" class="{kind}">{token}{fields}<button{named}>{button}</button>'
                  "</form>", action=action, token=token_field(asked), fields=fields, button=button, kind=kind,
                  named=named)


def token_field(asked: Asked) -> Markup:
    """Return the field with the token of the visitor's session, which is made where there is none yet."""
    return markup('<input type="hidden" name="csrf_token" value="{token}">', token=token_of(asked))


def token_of(asked: Asked) -> str:
    """Return the token of the visitor's session; "" for a visitor without one, about whom no form can be forged."""
    session = asked.session
    return session.get_csrf_token() if session.has_info() else ""


def hidden(name: str, value: str) -> Markup:
    """Return a field that nobody sees."""
    return markup('<input type="hidden" name="{name}" value="{value}">', name=name, value=value)


def _bar(site: Site, asked: Asked) -> Markup:
    return joined(markup('<li><a href="http://{host}:{port}{path}"{current}>{name}<span class="port">:{port}</span></a>'
                         "</li>", host=asked.host, port=port, path=asked.path if asked.path in _PAGES else "/",
                         current=_current(framework == asked.framework), name=site.names[framework])
                  for framework, port in site.ports.items())


def _ways(asked: Asked) -> Markup:
    return joined(markup('<li><a href="{path}"{current}>{name}</a></li>', path=path, name=name,
                         current=_current(path == asked.path)) for path, name in _PAGES.items())


def _current(is_here: bool) -> Markup:
    return Markup(' aria-current="page"' if is_here else "")
