"""session2 for Django: ``SESSION_ENGINE = "session2_django"``, ``SESSION2_STORE``, and a middleware."""

from session2 import ConfigurationError

try:
    from .managers import current_manager
    from .middleware import SessionMiddleware
    from .store import SessionStore
except ModuleNotFoundError as error:
    if error.name != "django":
        raise
    raise ConfigurationError("session2_django needs Django: pip install 'session2[django]'") from error

__all__ = ["SessionMiddleware", "SessionStore", "current_manager"]
