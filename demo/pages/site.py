"""What all requests of one start of the demo have in common."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass, field

from .session import Manager


@dataclass
class Site:
    """One start of the demo."""

    manager: Manager
    store: str
    """Its name, or the scheme of its URL."""
    names: dict[str, str] = field(default_factory=dict)
    """How the frameworks that are served are called."""
    ports: dict[str, int] = field(default_factory=dict)
    """Where, in the order of the bar."""
    address: str = "127.0.0.1"
    """Where this process itself reaches them."""
    password: str = field(default_factory=lambda: secrets.token_urlsafe(9), repr=False)
    """The administrator's; it is printed at the start, and another one at the next."""
    start: str = field(default_factory=lambda: secrets.token_urlsafe(9), repr=False)
    """Of which start a session's administrator is."""

    def is_password(self, text: str) -> bool:
        """Tell whether this is the administrator's password."""
        return hmac.compare_digest(text.encode(errors="replace"), self.password.encode())
