"""A browser, which keeps its cookies, and what it is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .website import Site


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

    def all_cookies(self) -> list[SetCookie]:
        return [SetCookie.parse(value) for key, value in self.headers if key.lower() == "set-cookie"]

    def cookies(self, name: str) -> list[SetCookie]:
        return [cookie for cookie in self.all_cookies() if cookie.name == name]

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
        answer = self.site.request(path, server, self.header().encode() or None, **arguments)
        assert answer.status == status, answer
        check_headers(answer, self.site.cookie_name)
        self.keep(answer)
        return answer

    def keep(self, answer: Answer) -> Browser:
        """Keep the cookies of an answer."""
        for cookie in answer.all_cookies():
            self.cookies[cookie.name] = cookie.value
            if cookie.is_deletion:
                del self.cookies[cookie.name]
        return self

    def sent(self, answer: Answer) -> SetCookie | None:
        """Return the session cookie that came with an answer."""
        return next(iter(answer.cookies(self.site.cookie_name)), None)

    def copy(self) -> Browser:
        """Return a browser with the same cookies, which then go their own way."""
        other = Browser(self.site)
        other.cookies = dict(self.cookies)
        return other

    def header(self) -> str:
        """Return the Cookie header."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())


def check_headers(answer: Answer, cookie_name: str) -> None:
    """Check what holds for every answer to which a session belongs."""
    sent = answer.cookies(cookie_name)
    assert len(sent) <= 1, f"the session cookie is sent twice: {answer}"
    if answer.status < 500:
        assert answer.tokens("Vary").count("cookie") == 1, answer
    else:
        assert not sent, f"a request that failed sends a cookie: {answer}"
    for cookie in sent:
        assert "no-store" in answer.tokens("Cache-Control"), answer
        assert cookie.is_deletion or re.fullmatch("[A-Za-z0-9_-]{43}", cookie.id), answer
