"""The demonstration as its users have it: a process of its own, over real HTTP."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

ROOT = Path(__file__).parents[1]
PATH = os.pathsep.join([str(ROOT), str(ROOT / "adapters")])
COOKIE = "session2_demo"


class Answer(NamedTuple):
    """What a server answered."""

    status_code: int
    text: str
    cookie: str | None
    """The id that the session cookie set by it carries."""
    headers: dict[str, str]


class Server(NamedTuple):
    """One framework that is served."""

    url: str

    def ask(self, method: str, path: str, session_id: str | bytes | None = None, body: str | None = None,
            **headers: str) -> Answer:
        """Send a request with this cookie; no redirect is followed and no cookie kept."""
        sent: dict[str, str | bytes] = {name.replace("_", "-"): value for name, value in headers.items()}
        if session_id is not None:
            value = session_id if isinstance(session_id, bytes) else session_id.encode()
            sent["Cookie"] = f"{COOKIE}=".encode() + value
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        with closing(HTTPConnection(urlsplit(self.url).netloc, timeout=60)) as connection:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            cookie = SimpleCookie(response.getheader("Set-Cookie", "")).get(COOKIE)
            return Answer(response.status, response.read().decode(), cookie and cookie.value,
                          {name.lower(): value for name, value in response.getheaders()})

    def get(self, page: str = "", session_id: str | bytes | None = None, **headers: str) -> Answer:
        """Get a page of the original test application."""
        return self.ask("GET", "/original/" + page, session_id, **headers)

    def show(self, path: str = "/", session_id: str | None = None, **headers: str) -> Answer:
        return self.ask("GET", path, session_id, **headers)

    def post(self, path: str, session_id: str | None = None, /, **fields: str) -> Answer:
        """Post a form of the session with its token."""
        token = "" if session_id is None else self.token(session_id)
        return self.ask("POST", path, session_id, urlencode({"csrf_token": token, **fields}))

    def token(self, session_id: str) -> str:
        return re.search(r'name="csrf" content="([^"]*)"', self.show("/", session_id).text)[1]

    def begin(self) -> str:
        """Begin a session and return its id."""
        return self.post("/begin").cookie

    def keep(self) -> str:
        """Begin one as the original application does."""
        return self.get("keep").cookie

    def counter(self, session_id: str) -> int:
        return int(re.search(r"Counter is at (\d+)\.", self.get("", session_id).text)[1])

    def id_shown(self, session_id: str | bytes | None = None) -> str:
        return re.search(r"Your session ID is ([\w-]+)\.", self.get("", session_id).text)[1]


class Demo(NamedTuple):
    """One running process."""

    process: subprocess.Popen[str]
    servers: dict[str, Server]
    """By the names that the console shows."""
    password: str
    folder: Path

    @property
    def first(self) -> Server:
        return next(iter(self.servers.values()))

    def log(self) -> str:
        return (self.folder / "demo.log").read_text()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": PATH, **more}


@contextmanager
def demo(folder: Path, store: str, *options: str, port: int = 0, path: str = PATH) -> Iterator[Demo]:
    """Run the demonstration in `folder`, on free ports."""
    command = [sys.executable, "-m", "demo", store, "--port", str(port), *options]
    env = environment(PYTHONPATH=path)
    with (folder / "demo.log").open("a") as log, \
            subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            servers, password = _announced(process)
            assert servers, (folder / "demo.log").read_text()
            yield Demo(process, servers, password, folder)
        finally:
            process.kill()


def _announced(process: subprocess.Popen[str]) -> tuple[dict[str, Server], str]:
    """Return what the console shows first."""
    servers: dict[str, Server] = {}
    for line in process.stdout:
        if found := re.search(r"password: (\S+)", line):
            return servers, found[1]
        if found := re.search(r"(?:The demo \((\w+), .* at|^  (\w+) +)(?: )?(http://\S+)", line):
            servers[found[1] or found[2]] = Server(found[3])
    return servers, ""
