"""session2 for WSGI: `SessionMiddleware` around any application, also one that was written for Beaker."""

from .beaker import Beaker
from .config import from_beaker_config
from .middleware import SessionMiddleware
from .session import WSGISession

__all__ = ["Beaker", "SessionMiddleware", "WSGISession", "from_beaker_config"]
