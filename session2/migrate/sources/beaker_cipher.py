"""What Beaker has encrypted: with the package cryptography, or before 1.9 with PyCrypto, where nothing is sealed."""

from __future__ import annotations

import hashlib

from ...errors import ConfigurationError
from ..known import Unreadable
from .texts import from_base64


def is_encrypted(text: str) -> bool:
    """Tell whether a text is of two parts in Base64: a nonce of 128 bits ends in ``==``."""
    return "=" in text.rstrip("=")


def decrypted(text: str, encrypt_key: str, validate_key: str) -> bytes:
    """Return what a text stands for, or anything at all if it is not sealed and these are not the keys."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise ConfigurationError("encrypted sessions need cryptography: pip install 'session2[encrypted]'") from error
    size = 24 if is_encrypted(text) else 8  # the latter with encrypt_nonce_bits = 48, and before 1.8
    key = hashlib.pbkdf2_hmac("sha1", encrypt_key.encode(), (validate_key + text[:size]).encode(), 1, 32)
    data = from_base64(text[size:])
    if len(data) < 29:
        raise Unreadable("it is damaged")
    try:
        return AESGCM(key).decrypt(data[:12], data[28:] + data[12:28], None)
    except InvalidTag:
        counter = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).decryptor()
        return counter.update(data) + counter.finalize()
