"""session2 for CherryPy: name `StoreSession` as ``tools.sessions.storage_class``."""

from session2.errors import needing

with needing("CherryPy"):
    from . import checks
    from .session import StoreSession

__all__ = ["StoreSession"]

checks.install()
