"""`Asked`: a request as the pages need it; `Answer`: what they answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from session2 import Exchange

from .session import DemoSession

_HOST: Final = re.compile(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]")

HTML: Final = "text/html; charset=utf-8"


@dataclass
class Asked:
    """One request.

    :param framework: which one serves it.
    :param environ: as in WSGI, at least ``REQUEST_METHOD``, ``PATH_INFO``, ``QUERY_STRING`` and the headers.
    :param form: the fields of a posted form.
    :param open: returns the session.
    """

    framework: str
    environ: Mapping[str, Any]
    form: Mapping[str, str]
    open: Callable[[], Any]

    @property
    def is_post(self) -> bool:
        """Whether something may be changed."""
        return bool(self.environ["REQUEST_METHOD"] == "POST")

    @property
    def path(self) -> str:
        """The path, with its slash."""
        return str(self.environ.get("PATH_INFO") or "/")

    @cached_property
    def query(self) -> dict[str, str]:
        """The fields behind the question mark."""
        return dict(parse_qsl(self.environ.get("QUERY_STRING", ""), keep_blank_values=True, errors="replace"))

    def header(self, name: str) -> str | None:
        """Return a header of the request."""
        return self.environ.get("HTTP_" + name.upper().replace("-", "_"))

    @property
    def host(self) -> str:
        """The name under which the visitor came here, without a port; what is no name is not repeated."""
        name = re.sub(r":\d*$", "", self.header("Host") or "")
        return name if _HOST.fullmatch(name) else "localhost"

    @property
    def origin(self) -> str | None:
        """The host and port of the page that sent this, where the browser tells."""
        value = self.header("Origin")
        return None if value is None else value.partition("://")[2]

    @cached_property
    def session(self) -> DemoSession:
        """The visitor's session, opened at the first look."""
        return self.open()  # type: ignore[no-any-return]

    @property
    def exchange(self) -> Exchange:
        """The request as the manager knows it."""
        return self.session.exchange  # type: ignore[no-any-return]


class Answer(NamedTuple):
    """What a page answers."""

    body: str = ""
    status: int = 200
    content_type: str = HTML
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def all_headers(self) -> list[tuple[str, str]]:
        """The headers, with that of the content's type."""
        return [("Content-Type", self.content_type), *self.headers]


def number_in(text: str) -> int | None:
    """Return the number that a visitor sent; None for what is none, or longer than any that is meant."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None


def redirect(path: str) -> Answer:
    """Return an answer that has the browser get another page."""
    return Answer(status=303, headers=(("Location", path),))


def as_json(value: Any, status: int = 200) -> Answer:
    """Return an answer for a program."""
    return Answer(json.dumps(value), status, "application/json")
