"""A record as the value of a cookie, sealed, and opened again."""

from __future__ import annotations

import base64
import binascii
import logging
import math
from struct import Struct
from typing import Final, cast

from ..errors import SerializationError
from ..record import Record
from ..serializers import Serializer
from .ended import Born

log = logging.getLogger("session2")

_PLACE: Final = "cookie of "
"""What a cookie is bound to besides its key: a record of a store with the same secret is none."""

_PARTS: Final = Struct("<dddddd16sI")
"""Created, modified, accessed, expires, in place since, all in seconds, and for how many it was ever to live unused;
the token of the version; and how long the user is, in bytes, and one more."""

_NEVER: Final = math.inf


def sealed(seal: Serializer, record: Record, key: str, span: float) -> str:
    """Return a record as the value of a cookie; `span` is for how many seconds it was ever to live unused."""
    since, token = cast(Born, record.version)
    user = b"" if record.user is None else record.user.encode("utf-8", "surrogatepass")
    parts = _PARTS.pack(record.created, record.modified, record.accessed,
                        _NEVER if record.expires is None else record.expires, since, span, token,
                        0 if record.user is None else len(user) + 1)
    return base64.urlsafe_b64encode(seal.seal(parts + user + record.data, _PLACE + key)).decode("ascii").rstrip("=")


def opened(seal: Serializer, value: str, key: str) -> tuple[Record, float] | None:
    """Return the record in a cookie and its span, None if we did not put it there under this key."""
    try:
        packed = seal.open(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)), _PLACE + key)
    except (SerializationError, ValueError, binascii.Error) as error:
        log.debug("session %.8s: a cookie that came with its id is not its own: %s", key, type(error).__name__)
        return None
    return _unpacked(packed)


def _unpacked(packed: bytes) -> tuple[Record, float]:
    created, modified, accessed, expires, since, span, token, length = _PARTS.unpack_from(packed)
    user, data = packed[_PARTS.size:][:max(length - 1, 0)], packed[_PARTS.size + max(length - 1, 0):]
    return Record(data, created, modified, accessed, None if expires == _NEVER else expires,
                  user.decode("utf-8", "surrogatepass") if length else None, (since, token)), span
