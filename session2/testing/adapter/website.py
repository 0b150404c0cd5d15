"""A website of several server processes, and many requests to it at a time."""

from __future__ import annotations

import contextlib
import http.client
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlencode

from ... import traces
from ...urls import from_url
from .browser import Answer, Browser
from .forking import fork_server_of
from .gate import PATIENCE, Gate
from .serve import FileClock, Setting

STORE_URL = "directory:{}/store?create=true"


class Running(NamedTuple):
    """A server process."""

    pid: int
    life: BinaryIO
    """While this is open the process lives."""
    told: BinaryIO
    """Here it tells its port."""


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
        self._running: list[Running] = []
        self._fork_server = fork_server_of(server.rpartition(":")[0])

    def __enter__(self) -> Site:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.store.close()

    def start(self) -> None:
        """Start the servers, all at once, and wait until they serve."""
        with (self.folder / "log").open("ab") as log:
            for _ in range(self.processes):
                self._running.append(self._spawn(log.fileno()))
        self.ports = [self._port(server) for server in self._running]

    def stop(self) -> None:
        """Kill the servers, as a power failure would."""
        for server in self._running:
            self._fork_server.kill(server.pid)
            server.life.close()
            server.told.close()
        self._running = []

    def _spawn(self, log: int) -> Running:
        (alive, life), (told, tells) = os.pipe(), os.pipe()
        ours = os.fdopen(life, "wb"), os.fdopen(told, "rb")
        try:
            pid = self._fork_server.fork(self.setting, self.folder, (alive, tells, log))
        finally:
            os.close(alive)
            os.close(tells)
        return Running(pid, *ours)

    def _port(self, server: Running) -> int:
        line = server.told.readline()
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
        """Return the keys of the sessions that are stored, as far as the store can tell."""
        if not self.store.can_list:
            return set()
        return {key for key, record in self.store.scan() if traces.is_session(key, record)}

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
