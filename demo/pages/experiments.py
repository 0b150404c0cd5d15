"""The experiments of the race lab, run by the server as a client of its own: over HTTP, with sessions of their own."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from http.cookies import SimpleCookie
from itertools import cycle, islice
from typing import Any, Final
from urllib.parse import urlencode

from .meetings import meet
from .runs import Experiment, Run
from .session import COOKIE
from .site import Site

COUNT: Final = 50
"""Requests of a race."""

AT_ONCE: Final = 12
"""How many are under way: a browser has up to six connections to each port."""

LOOK: Final = 0.5
"""Seconds for people to see a step before the next one."""

LONGEST: Final = 30.0
"""Seconds that a visitor without scripts waits for the end of a run."""


class Client:
    """A browser of few words.

    :param cookie: the id it has by now.
    """

    def __init__(self, site: Site, cookie: str | None = None) -> None:
        self._site, self.cookie, self.token = site, cookie, ""

    def send(self, framework: str, path: str, **fields: object) -> dict[str, Any]:
        """Post a form, or get a page that needs none; return its answer, and keep the cookie that comes with it."""
        with closing(HTTPConnection(self._site.address, self._site.ports[framework], timeout=LONGEST)) as connection:
            headers = {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "the race lab"}
            if self.cookie:
                headers["Cookie"] = f"{COOKIE.name}={self.cookie}"
            body = urlencode({"csrf_token": self.token, **fields})
            method = "GET" if path == "/lab/state" else "POST"
            connection.request(method, path, body if method == "POST" else None, headers)
            response = connection.getresponse()
            sent = SimpleCookie(response.getheader("Set-Cookie", "")).get(COOKIE.name)
            self.cookie = sent.value or None if sent else self.cookie
            found: dict[str, Any] = json.loads(response.read())
        self.token = found.get("csrf", self.token)
        return found

    def copy(self) -> Client:
        """Return another tab of this browser."""
        tab = Client(self._site, self.cookie)
        tab.token = self.token
        return tab


def verdict(result: dict[str, Any]) -> str:
    """Return what became of a race."""
    kept = len(result["keys"])
    return f"{kept} of {COUNT} kept, the counter is at {result['counter']}: {COUNT - kept or 'nothing'} lost, " \
           f"in {result['seconds']} s"


def race(site: Site, run: Run) -> None:
    """Have many requests overlap, in each mode."""
    for mode in ("merge", "lock", "blind"):
        frameworks = list(site.ports)
        client = Client(site)
        client.send(frameworks[0], "/lab/begin")
        began = time.monotonic()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda number, framework, tab, mode: tab.send(framework, "/lab/add", mode=mode, n=number),
                          range(COUNT), cycle(frameworks), [client.copy() for _ in range(COUNT)], [mode] * COUNT))
        seconds = f"{time.monotonic() - began:.1f}"
        run.results[mode] = found = {**client.send(frameworks[-1], "/lab/state"), "seconds": seconds}
        run.step(mode, verdict(found))
        client.send(frameworks[0], "/lab/logout")
    run.conclude("All requests were answered in each of them; in the third that is worth little.")


def slow_against_logout(site: Site, run: Run) -> None:
    """Log out while a request is under way."""
    (one, A), (other, B) = _two(site)
    client = Client(site)
    client.send(one, "/lab/begin")
    client.send(one, "/lab/login", user="guest")
    run.step(A, "a guest has logged in")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(client.copy().send, one, "/lab/slow")
        meet(client.token)
        run.step(A, "a slow request has begun: it changes the session, and works on")
        time.sleep(LOOK)
        client.copy().send(other, "/lab/logout")
        run.step(B, "the guest has logged out")
        time.sleep(LOOK)
        meet(client.token)
        slow.result()
    run.step(A, "the slow request has answered, as if nothing had happened; it had something to store")
    for framework, name in ((one, A), (other, B)):
        found = client.copy().send(framework, "/lab/state")
        run.step(name, f"whoever comes with the old cookie finds: {found['absence'] or 'a session'}",
                 "bad" if found["live"] else "good")
    run.conclude("The logout is final. A library that writes the session back would have logged the guest in again.")


def two_logins(site: Site, run: Run) -> None:
    """Log in twice at the same moment, with one cookie."""
    (one, A), (other, B) = _two(site)
    before = Client(site)
    before.send(one, "/lab/begin")
    run.step(A, "a session has begun, nobody is logged in")
    tabs = {"Anne": (one, A, before.copy()), "Bert": (other, B, before.copy())}
    with ThreadPoolExecutor(2) as pool:
        logins = {user: pool.submit(tab.send, framework, "/lab/login", user=user, meet="1")
                  for user, (framework, _, tab) in tabs.items()}
        run.step(f"{A} and {B}", "Anne and Bert log in at once")
        for login in logins.values():
            login.result()
    for user, (_, name, tab) in tabs.items():
        changed = tab.cookie != before.cookie
        run.step(name, f"has answered {user}, "
                       + ("with a new cookie" if changed else "without a cookie: another login was first"))
    _look(site, run, before, [tab for _, _, tab in tabs.values()])


def _look(site: Site, run: Run, before: Client, tabs: list[Client]) -> None:
    """See whom each cookie leads to: the one from before the logins, and those that came with them."""
    (one, A), _ = _two(site)
    old = before.copy().send(one, "/lab/state")
    run.step(A, f"the cookie of before leads to: {old['absence'] or old['user'] or 'a session'}",
             "bad" if old["live"] else "good")
    ids = {tab.cookie for tab in tabs} - {before.cookie}
    users = [Client(site, id).send(one, "/lab/state")["user"] for id in ids]
    run.step(A, f"the new one leads to: {' and '.join(map(str, users))}", "good" if len(users) == 1 else "bad")
    tabs[0].send(one, "/lab/logout")
    run.conclude("One login was first, and has the session. The other one got no cookie, and its visitor is asked "
                 "again: nobody ever finds a session that is half Anne's and half Bert's.")


def _two(site: Site) -> list[tuple[str, str]]:
    frameworks = list(islice(cycle(site.ports), 2))
    return [(framework, site.names[framework]) for framework in frameworks]


ALL: Final[dict[str, Experiment]] = {
    "race": ("Requests at once", race),
    "logout": ("A slow request against a logout", slow_against_logout),
    "logins": ("Two logins at once", two_logins),
}
