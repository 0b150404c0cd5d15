"""The signatures of other systems: of Django's texts, of those of itsdangerous, which Flask uses, and of Beaker's."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from ..errors import ConfigurationError

_SINCE_2011: Final = 1293840000
"""From when itsdangerous counted, up to 0.24."""


def checked(secrets: Sequence[str]) -> list[str]:
    """Return secrets if that is what they are; `ConfigurationError` repeats none."""
    if isinstance(secrets, str) or not secrets or not all(isinstance(each, str) and each for each in secrets):
        raise ConfigurationError("the secrets are a list of texts, and one at least")
    return [*secrets]


def of_beaker(value: str, secrets: Sequence[str]) -> str | None:
    """Return what Beaker has signed, None if none of these secrets was used."""
    signature, text = value[:40], value[40:]
    for secret in secrets:
        if _same(hmac.new(secret.encode(), text.encode(), "sha1").hexdigest(), signature):
            return text
    return None


def of_django(value: str, salt: str, secrets: Sequence[str]) -> str | None:
    """Return what Django has signed, with a colon before the signature, None if none of these secrets was used."""
    text, colon, signature = value.rpartition(":")
    for secret in secrets if colon else ():
        for method in ("sha256", "sha1"):  # the latter before Django 3.1
            key = hashlib.new(method, (salt + "signer" + secret).encode()).digest()
            if _same(_base64(hmac.new(key, text.encode(), method).digest()), signature):
                return text
    return None


def is_of_old_django(hash: bytes, data: bytes, salt: str, secrets: Sequence[str]) -> bool:
    """Tell whether Django, before 3.1, has made this hash of bytes with one of these secrets."""
    keys = (hashlib.sha1((salt + secret).encode()).digest() for secret in secrets)  # noqa: S324 (it was so)
    return any(_same(hmac.new(key, data, "sha1").hexdigest(), hash.decode("latin-1")) for key in keys)


def of_itsdangerous(value: str, salt: str, secrets: Sequence[str]) -> str | None:
    """Return what itsdangerous has signed, as Flask has it do that, None if none of these secrets was used."""
    text, dot, signature = value.rpartition(".")
    for secret in secrets if dot else ():
        key = hmac.digest(secret.encode(), salt.encode(), "sha1")
        if _same(_base64(hmac.digest(key, text.encode(), "sha1")), signature):
            return text
    return None


def time_of_itsdangerous(data: bytes) -> float:
    """Return the seconds since the epoch that itsdangerous writes as so many bytes."""
    seconds = int.from_bytes(data[:8], "big")
    return float(seconds if seconds >= _SINCE_2011 else seconds + _SINCE_2011)


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _same(ours: str, theirs: str) -> bool:
    return hmac.compare_digest(ours.encode(), theirs.encode("utf-8", "surrogatepass"))
