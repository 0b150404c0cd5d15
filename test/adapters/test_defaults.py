"""What the cookie is like unless somebody says otherwise stands in one place, for all adapters."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import session2

ADAPTERS = Path(__file__).parents[2] / "adapters"

PROGRAMS = {
    "cherrypy": """
import cherrypy, session2_cherrypy
from session2 import from_url, SessionManager
def page():
    cherrypy.session["a"] = 1
    return "page"
root = type("Root", (), {"index": staticmethod(cherrypy.expose(page))})()
app = cherrypy.Application(root, "", {"/": {"tools.sessions.on": True, "tools.sessions.store_url": "volatile:",
    "tools.sessions.clean_freq": 0, "tools.sessions.storage_class": session2_cherrypy.StoreSession}})
app.log.screen = False
""",
    "quixote": """
import quixote
from session2 import from_url, DictSession, SessionManager
class Root:
    def _q_traverse(self, path):
        quixote.get_session()["a"] = 1
        return "page"
quixote.publish.Publisher(Root(), session_manager=SessionManager(from_url("volatile:"), DictSession))
app = quixote.get_wsgi_app()
""",
    "wsgi": """
from session2 import from_url, SessionManager
from session2_wsgi import SessionMiddleware
def page(environ, start):
    environ["session2.session"]["a"] = 1
    start("200 OK", [])
    return []
app = SessionMiddleware(page, SessionManager(from_url("volatile:")))
""",
    "beaker": """
from session2_wsgi import SessionMiddleware, from_beaker_config
def page(environ, start):
    environ["beaker.session"]["a"] = 1
    start("200 OK", [])
    return []
beaker = from_beaker_config({"session.auto": True})
app = SessionMiddleware(page, beaker.manager, **beaker.settings)
""",
}

ASK = """
import io
def start(status, headers, error=None):
    print(*[value for name, value in headers if name == "Set-Cookie"])
b"".join(app({"SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1", "SCRIPT_NAME": "",
    "PATH_INFO": "/", "REQUEST_METHOD": "GET", "HTTP_HOST": "localhost", "QUERY_STRING": "", "wsgi.version": (1, 0),
    "wsgi.input": io.BytesIO(), "wsgi.errors": io.StringIO(), "wsgi.url_scheme": "http", "wsgi.multithread": False,
    "wsgi.multiprocess": False, "wsgi.run_once": False}, start))
"""


@pytest.mark.parametrize("framework", PROGRAMS)
def test_default_of_samesite_stands_in_the_policy_alone(framework: str, tmp_path: Path) -> None:
    package = tmp_path / "session2"
    shutil.copytree(Path(session2.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "testing"))
    policy = package / "cookies.py"
    text = policy.read_text("utf-8")
    assert text.count('= "Lax"') == 1
    policy.write_text(text.replace('= "Lax"', '= "Strict"'), "utf-8")
    path = [str(tmp_path), str(ADAPTERS), *filter(None, sys.path)]
    done = subprocess.run([sys.executable, "-c", f"import sys; sys.path[:0] = {path!r}\n{PROGRAMS[framework]}{ASK}"],
                          cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert "samesite=strict" in (done.stdout + done.stderr).lower()  # Quixote takes over the standard output
