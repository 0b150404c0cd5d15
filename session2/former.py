"""Visitors who come with the cookie of the system before: `FormerCookie`, and the id their session is found by."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

_PURPOSE: Final = b"session2 former\0"


@dataclass(frozen=True)
class FormerCookie:
    """A cookie of another system that names a session; `session2.migrate.cookies` makes those of known ones.

    :param name: of the cookie.
    :param read: returns the id that a value carries, or None if that system cannot have issued it: by its signature,
        its length and its letters.
    :param source: a `session2.migrate.Source`, where sessions that are not here yet are looked for, once each.
    :param path: where the cookie was set, and is deleted; likewise `domain`.
    :param keep: do not delete it, because the other system still needs it.
    """

    name: str
    read: Callable[[str], str | None]
    source: Any = None
    path: str = "/"
    domain: str | None = None
    keep: bool = False


def adopted_id(former_id: str) -> str:
    """Return the id under which a session is filed that another system knows by `former_id`.

    It is of our shape whatever the other one is, so that everything holds for it that holds for ours.  Nobody can tell
    it who does not know `former_id`.
    """
    digest = hashlib.sha256(_PURPOSE + former_id.encode("utf-8", "surrogatepass")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")
