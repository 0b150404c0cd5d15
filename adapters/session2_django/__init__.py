"""session2 for Django: ``SESSION_ENGINE = "session2_django"``, ``SESSION2_STORE``, and a middleware."""

from session2.errors import needing

with needing("Django"):
    from .managers import current_manager
    from .middleware import SessionMiddleware
    from .store import SessionStore

__all__ = ["SessionMiddleware", "SessionStore", "current_manager"]
