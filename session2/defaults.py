"""Defaults of a session class that all its sessions would share."""

from __future__ import annotations

import sys
from typing import Any

from .errors import ConfigurationError


def refuse_shared(cls: type) -> None:
    """Raise `ConfigurationError` for a default that can be changed: one visitor would see what another one put there.

    As in dataclasses, what cannot be hashed counts as such; ``merge_rules`` and a ``ClassVar`` are shared on purpose.
    """
    for name, base in _owners(cls).items():
        value = vars(base)[name]
        if name.startswith("__") or name == "merge_rules" or not _can_change(value):
            continue
        if "ClassVar" not in str(_annotations(base).get(name, "")):
            raise ConfigurationError(f"{cls.__name__}.{name} = {value!r} would be one object for all visitors; give "
                                     f"the class the default {name} = None and make the object in the session, or "
                                     "mark what is meant to be shared as a ClassVar")


def _owners(cls: type) -> dict[str, type]:
    """Return where each default is from: what is mixed in is no class of ours, and has not been looked at before."""
    return {name: base for base in reversed(cls.__mro__) for name in vars(base)}


def _can_change(value: object) -> bool:
    """Tell whether a value, or what is in a tuple, can be changed."""
    return any(map(_can_change, value)) if isinstance(value, tuple) else type(value).__hash__ is None


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
    found: dict[str, Any] = vars(cls).get("__annotations__", {})
    return found
