"""The Django adapter under the suite that every adapter passes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from session2 import SessionManager
from session2.testing import AdapterSuite

sys.path.insert(0, str(Path(__file__).parent))



def application(manager: SessionManager[Any], **settings: Any) -> Any:
    import django_shop
    from django.core.wsgi import get_wsgi_application

    assert manager.cookie is not None
    django_shop.manager = manager
    django_shop.configure(SESSION2_MANAGER="django_shop.manager", SESSION_COOKIE_NAME=manager.cookie.name,
                          LOGGING_CONFIG=None, **settings)
    return get_wsgi_application()


def serve(manager: SessionManager[Any], ready: Callable[[int], None], https: bool) -> None:
    from cheroot import wsgi

    app = application(manager)

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        return app({**environ, "wsgi.url_scheme": "https"} if https else environ, start_response)

    server = wsgi.Server(("127.0.0.1", 0), answer, numthreads=20)
    server.prepare()
    ready(server.bind_addr[1])
    server.serve()


class TestDjango(AdapterSuite):
    server = f"{__file__}:serve"
    threads = 20
    conflict_status = 409
    unavailable_status = 503
