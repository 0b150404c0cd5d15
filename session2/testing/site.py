"""What the tests of `AdapterSuite` are made of: server processes, browsers, and a gate at which pages wait."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ..urls import from_url
from .serve import FileClock, Setting

PATIENCE = 60
"""Seconds after which a request, a start or a wait counts as hanging."""


_COMMAND = "import sys; from session2.testing.serve import main; main(sys.argv[1])"

STORE_URL = "directory:{}/store?create=true"


@dataclass(frozen=True)
class SetCookie:
    """A ``Set-Cookie`` header."""

    name: str
    value: str
    """As it was sent, quotes and all: that is what a browser sends back."""
    attributes: Mapping[str, str]
    """By name in small letters; an attribute without a value has ""."""

    @classmethod
    def parse(cls, header: str) -> SetCookie:
        pair, *rest = [part.strip() for part in header.split(";")]
        name, _, value = pair.partition("=")
        parts = (part.partition("=") for part in rest)
        return cls(name, value, {key.lower(): text for key, _, text in parts})

    @property
    def id(self) -> str:
        return self.value.strip('"')

    @property
    def is_deletion(self) -> bool:
        return self.id == "" and self.attributes.get("max-age") == "0"


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    text: str
    headers: list[tuple[str, str]]

    def tokens(self, name: str) -> list[str]:
        """Return the comma-separated values of a header, in small letters."""
        values = (value for key, value in self.headers if key.lower() == name.lower())
        return [token.strip().lower() for value in values for token in value.split(",")]

    def cookies(self, name: str) -> list[SetCookie]:
        sent = (SetCookie.parse(value) for key, value in self.headers if key.lower() == "set-cookie")
        return [cookie for cookie in sent if cookie.name == name]

    def json(self) -> Any:
        return json.loads(self.text)


class Browser:
    """Keeps its cookies, as browsers do, for all servers of a site; checks what must hold for every answer."""

    def __init__(self, site: Site, cookie: str | None = None) -> None:
        self.site = site
        self.cookies: dict[str, str] = {}
        if cookie is not None:
            self.cookies[site.cookie_name] = cookie

    @property
    def id(self) -> str | None:
        """The session id the browser holds."""
        value = self.cookies.get(self.site.cookie_name)
        return None if value is None else value.strip('"')

    def get(self, path: str, server: int = 0, status: int = 200, **arguments: Any) -> Answer:
        """Ask for a page; `status` is what must come of it."""
        answer = self.site.request(path, server, self._header(), **arguments)
        assert answer.status == status, answer
        cookie = check_headers(answer, self.site.cookie_name)
        if cookie is not None and cookie.is_deletion:
            self.cookies.pop(cookie.name, None)
        elif cookie is not None:
            self.cookies[cookie.name] = cookie.value
        return answer

    def sent(self, answer: Answer) -> SetCookie | None:
        """Return the session cookie that came with an answer."""
        return next(iter(answer.cookies(self.site.cookie_name)), None)

    def copy(self) -> Browser:
        """Return a browser with the same cookies, which then go their own way."""
        other = Browser(self.site)
        other.cookies = dict(self.cookies)
        return other

    def _header(self) -> bytes | None:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items()).encode() or None


def check_headers(answer: Answer, cookie_name: str) -> SetCookie | None:
    """Check what holds for every answer to which a session belongs; return the session cookie sent with it."""
    sent = answer.cookies(cookie_name)
    assert len(sent) <= 1, f"the session cookie is sent twice: {answer}"
    if answer.status < 500:
        assert answer.tokens("Vary").count("cookie") == 1, answer
    else:
        assert not sent, f"a request that failed sends a cookie: {answer}"
    if not sent:
        return None
    assert "no-store" in answer.tokens("Cache-Control"), answer
    assert sent[0].is_deletion or re.fullmatch("[A-Za-z0-9_-]{43}", sent[0].id), answer
    return sent[0]


class Gate:
    """Where pages wait: a test sees that requests have arrived there, and lets them go on when it likes.

    A gate is a port.  A page that is asked with its number connects, and goes on when the connection ends; so nobody
    polls, and nobody waits for a test that is gone.
    """

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._door.settimeout(PATIENCE)
        self.port: int = self._door.getsockname()[1]
        self._inside: list[socket.socket] = []

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()
        self.open()

    def wait_for(self, count: int = 1) -> None:
        """Wait until `count` more requests have arrived."""
        for _ in range(count):
            self._inside.append(self._door.accept()[0])

    def open(self) -> None:
        """Let all that have arrived go on."""
        while self._inside:
            self._inside.pop().close()

    def pass_in_groups(self, total: int, together: int) -> None:
        """Let requests go on as soon as `together` of them have arrived, until `total` have passed."""
        for start in range(0, total, together):
            self.wait_for(min(together, total - start))
            self.open()


class Site:
    """Server processes that serve the pages from one store.

    :param server: ``FILE:FUNCTION`` of the function that serves; see `AdapterSuite`.
    :param folder: an empty folder to work in.
    :param processes: how many servers there are.
    :param cookie: arguments of `CookiePolicy`.
    :param https: whether the servers are to take every request for one over HTTPS.
    :param store_url: where sessions are kept, ``{}`` standing for the folder.
    :param options: arguments of `SessionManager`.
    """

    def __init__(self, server: str, folder: Path, processes: int = 1, cookie: dict[str, Any] | None = None,
                 https: bool = False, store_url: str = STORE_URL, **options: Any) -> None:
        self.folder = folder
        self.processes = processes
        self.clock = FileClock(folder / "clock")
        if not self.clock.path.exists():
            self.clock.set(time.time())
        cookie = {} if cookie is None else cookie
        self.cookie_name = cookie.get("name", "session2")
        self.setting = Setting(server, store_url.format(folder), str(self.clock.path), options, cookie, https)
        self.store = from_url(self.setting.store_url, clock=self.clock)
        self.ports: list[int] = []
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Site:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the servers, all at once, and wait until they serve."""
        with (self.folder / "log").open("ab") as log:
            self._running = [self._spawn(log.fileno()) for _ in range(self.processes)]
        self.ports = [self._port(process) for process in self._running]

    def stop(self) -> None:
        """Kill the servers, as a power failure would."""
        for process in self._running:
            process.kill()
        for process in self._running:
            process.communicate()
        self._running = []

    def _spawn(self, log: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", _COMMAND, self.setting.to_json()]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return subprocess.Popen(command, env=environment, cwd=self.folder, stdin=subprocess.PIPE,  # noqa: S603
                                stdout=subprocess.PIPE, stderr=log)

    def _port(self, process: subprocess.Popen[bytes]) -> int:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the server did not start:\n{self.log()}"
        return int(line)

    def log(self) -> str:
        """Return what the servers wrote to their standard error."""
        return (self.folder / "log").read_text(errors="replace")

    def browser(self, cookie: str | None = None) -> Browser:
        return Browser(self, cookie)

    def request(self, path: str, server: int = 0, cookie: bytes | None = None, **arguments: Any) -> Answer:
        """Send one GET request with this value of the Cookie header."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[server], timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.putrequest("GET", path + ("?" + urlencode(arguments) if arguments else ""))
            if cookie is not None:
                connection.putheader("Cookie", cookie)
            connection.endheaders()
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), response.getheaders())

    def keys(self) -> set[str]:
        """Return the keys of the sessions that are stored."""
        return {key for key, record in self.store.scan() if self.store.is_session(key, record)}

    @contextlib.contextmanager
    def unavailable(self) -> Iterator[None]:
        """Make the store fail, as a file system that is gone does."""
        path, aside = self.folder / "store", self.folder / "aside"
        path.rename(aside)
        path.write_bytes(b"not a folder")
        try:
            yield
        finally:
            path.unlink()
            aside.rename(path)


def in_parallel(browser: Browser, requests: list[tuple[str, dict[str, Any]]], workers: int,
                gate: Gate | None = None) -> list[Browser]:
    """Send all requests with the cookies of `browser`, `workers` at a time, spread over all servers of the site.

    With a `gate` they are sent on to the pages with its port, and as many as are sent at a time pass it together: all
    of them have then loaded the session before any of them stores it.  Returns a browser for each request.
    """
    site = browser.site
    browsers = [browser.copy() for _ in requests]

    def send(number: int) -> None:
        path, arguments = requests[number]
        extra = {} if gate is None else {"gate": gate.port}
        browsers[number].get(path, server=number % site.processes, **arguments, **extra)

    # A pool for each server: one that answers a single request at a time must not be sent more.
    pools = [ThreadPoolExecutor(workers // site.processes) for _ in range(site.processes)]
    with contextlib.ExitStack() as stack:
        for pool in pools:
            stack.enter_context(pool)
        sent = [pools[number % site.processes].submit(send, number) for number in range(len(requests))]
        if gate is not None:
            gate.pass_in_groups(len(requests), workers)
        for future in sent:
            future.result()
    return browsers
