"""Sessions in a dbm file of any flavour, as the standard library's shelves are."""

from .store import ShelveSessionStore

__all__ = ["ShelveSessionStore"]
