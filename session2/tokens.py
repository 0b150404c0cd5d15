"""Session ids: making them, checking them, hashing them, passing one on to the holder of another."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

_ID = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_KEY = re.compile(r"[0-9a-f]{64}", re.ASCII)


matches: Final = _ID.fullmatch
"""Of text: a match if it could be an id of ours."""

ADOPTED: Final = "former-"
"""How the id of a session begins that another system has begun.  No cookie of ours carries it: it is no `is_id`."""

names_a_session: Final = re.compile(f"(?:{ADOPTED})?{_ID.pattern}", re.ASCII).fullmatch
"""Of text: a match if it could be an id of a session that is here, also an adopted one."""


def new_id() -> str:
    """Return a fresh session id: 256 random bits as 43 characters of URL-safe base64."""
    return secrets.token_urlsafe(32)


def is_id(text: object) -> bool:
    """Tell whether `text` could be an id of ours; nothing else ever reaches a store."""
    return isinstance(text, str) and _ID.fullmatch(text) is not None


def is_key(text: object) -> bool:
    """Tell whether `text` could be what `hash_id` returns."""
    return isinstance(text, str) and _KEY.fullmatch(text) is not None


def hash_id(session_id: str) -> str:
    """Return the key a session is filed under: SHA-256 of its id, in hex."""
    return hashlib.sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()


def seal_id(new: str, old: str) -> bytes:
    """Hide the id `new` so that only somebody who knows the id `old` can read it.

    An old id is replaced once, so the pad derived from it serves once.
    """
    return bytes(a ^ b for a, b in zip(_decode(new), _pad(old), strict=True))


def unseal_id(sealed: bytes, old: str) -> str | None:
    """Return the id that `seal_id` hid, or None if `sealed` is not of its making."""
    pad = _pad(old)
    if len(sealed) != len(pad):
        return None
    raw = bytes(a ^ b for a, b in zip(sealed, pad, strict=True))
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _decode(session_id: str) -> bytes:
    return base64.urlsafe_b64decode(session_id + "=")


def _pad(old: str) -> bytes:
    return hmac.digest(old.encode("ascii"), b"session2 moved", "sha256")
