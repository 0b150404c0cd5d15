"""session2 for CherryPy: name `StoreSession` as ``tools.sessions.storage_class``."""

from session2 import ConfigurationError

try:
    from . import checks
    from .session import StoreSession
except ModuleNotFoundError as error:
    if error.name != "cherrypy":
        raise
    raise ConfigurationError("session2_cherrypy needs CherryPy: pip install 'session2[cherrypy]'") from error

__all__ = ["StoreSession"]

checks.install()
