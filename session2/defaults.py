"""Defaults of a session class that all its sessions would share."""

from __future__ import annotations

import sys
from typing import Any

from .errors import ConfigurationError


def refuse_shared(cls: type) -> None:
    """Raise `ConfigurationError` for a default that can be changed: one visitor would see what another one put there.

    As in dataclasses, what cannot be hashed counts as such; ``merge_rules`` and a ``ClassVar`` are shared on purpose.
    """
    for name, value in vars(cls).items():
        if type(value).__hash__ is not None or name.startswith("__") or name == "merge_rules":
            continue
        if "ClassVar" not in str(_annotations(cls).get(name, "")):
            raise ConfigurationError(f"{cls.__name__}.{name} = {value!r} would be one object for all visitors; give "
                                     f"the class the default {name} = None and make the object in the session, or "
                                     "mark what is meant to be shared as a ClassVar")


def _annotations(cls: type) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
    found: dict[str, Any] = vars(cls).get("__annotations__", {})
    return found
