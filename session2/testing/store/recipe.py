"""A recipe for the store under test."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...store.base import SessionStore


@dataclass(frozen=True)
class Recipe:
    """How to make the store under test; can be sent to another process."""

    store_class: type[SessionStore]
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    def make(self, **options: Any) -> SessionStore:
        return self.store_class(*self.args, **{**self.options, **options})
