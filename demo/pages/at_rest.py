"""What is stored of a session, and when it ends."""

from __future__ import annotations

import time
from typing import Final

from session2.notes import issued_at
from session2.store.base import SessionStore
from session2.tokens import hash_id

from .html import Markup, joined, markup, span, stamp
from .session import DemoSession
from .site import Site

_SHOWN: Final = """<h3>At rest</h3>
<dl class="facts">
<div><dt>Key{how}</dt><dd><code>{key}…</code></dd></div>
<div><dt>Version</dt><dd><code>{version}</code></dd></div>
<div><dt>Record</dt><dd>{size} bytes, {serializer}</dd></div>
<div><dt>Found by</dt><dd>its key, and {user}</dd></div>
<div><dt>Stored</dt><dd>{stored}</dd></div>
</dl>
<details><summary>The bytes</summary><pre tabindex="0" aria-label="The bytes at rest">{data}</pre></details>"""

MOST_BYTES: Final = 1500


def shown(site: Site, session: DemoSession) -> Markup:
    """Show the record of a session, as it was loaded."""
    origin, store = session.origin, site.manager.store
    if origin is None:
        return Markup("<h3>At rest</h3><p>Nothing yet: it is stored when this request ends.</p>")
    record = origin.record
    return markup(_SHOWN, key=shown_key(store, origin.key)[:12], version=str(record.version)[:24],
                  how=", the SHA-256 of the id" if store.hash_ids else "",
                  user="by no user" if record.user is None else f"by the user {record.user}",
                  size=len(record.data), serializer=named(store), stored=stamp(record.modified),
                  data=_readable(record.data))


def shown_key(store: SessionStore, key: str) -> str:
    """Return what stands for a session where people see it: its key, or the hash of that if it is the id itself."""
    return key if store.hash_ids else hash_id(key)


def named(store: SessionStore) -> str:
    """Return how sessions become bytes."""
    return type(store.serializer).__name__.removesuffix("Serializer").lower()


def _readable(data: bytes) -> str:
    """Return bytes as text, with a dot for whatever is none."""
    text = "".join(chr(byte) if 32 <= byte < 127 or byte == 10 else "·" for byte in data[:MOST_BYTES])
    return text + (f"\n… and {len(data) - MOST_BYTES} more" if len(data) > MOST_BYTES else "")


# -- clocks ------------------------------------------------------------------------------------------------------------

_CLOCK: Final = """<div class="clock" data-end="{end}" data-length="{length}">
<p><b>{name}</b> <span class="left">{left}</span></p>
<progress max="{length}" value="{rest}" aria-label="{name}: time left">{left}</progress>
<p class="hint">{hint}</p></div>"""


def clocks(site: Site, session: DemoSession) -> Markup:
    """Show when a session ends if nobody uses it, when it ends anyway, and when it gets another id."""
    rules, now, created = site.manager.clocks, site.manager.sessions.clock(), session.get_creation_time()
    used = max(session.get_access_time(), created)
    made = [_clock("Idle", rules.idle, used, now, f"from its last use, noted every {span(rules.touch_interval)}"),
            _clock("Lifetime", rules.lifetime, created, now, "however much it is used"),
            _clock("Renewal", rules.renewal, issued_at(session), now, "then the next request gives it a new id")]
    return markup('<div id="clocks-now" data-now="{now}">{made}</div>', now=time.time(),
                  made=joined(filter(None, made)))


def _clock(name: str, length: float | None, start: float, now: float, hint: str) -> Markup | None:
    if length is None:
        return None
    rest = min(max(start + length - now, 0.0), length)
    return markup(_CLOCK, name=name, end=start + length, length=length, rest=round(rest, 1), left=f"{span(rest)} left",
                  hint=hint)
