"""`CookiePolicy`: what the session cookie looks like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal, Protocol

from .errors import ConfigurationError

CANDIDATES: Final = 5
"""How many cookies of one name are tried: more than a site has applications mounted in one another."""

SameSite = Literal["Lax", "Strict", "None"]

_TOKEN: Final = re.compile("[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PATH: Final = re.compile(r"/[!$-:=@-\[\]-_a-z|~]*")
_BLANKS: Final = " \t"
_LABEL: Final = re.compile("[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")

# RFC 6265bis: a browser ignores a longer attribute, and a longer cookie.
_MOST_BYTES_OF_ATTRIBUTE: Final = 1024
_MOST_BYTES: Final = 4096 - 256
"""What is left for the name, the path and the domain beside the id and all other attributes."""


class Place(Protocol):
    """Where a request came to: `session2.Exchange` tells."""

    @property
    def is_secure(self) -> bool: ...
    @property
    def script_name(self) -> str: ...


@dataclass(frozen=True)
class CookiePolicy:
    """How the session cookie is named and sent.  Impossible combinations are refused when the policy is made.

    :param name: a prefix such as ``__Host-`` or ``__Secure-`` is enforced by browsers, and here.
    :param path: as it stands in URLs; default: where the application is mounted.
    :param domain: a host that is to get the cookie with all its subdomains; default: the host that set it alone.
    :param secure: default (None): when the request is.
    :param samesite: "None" needs ``secure=True``.
    :param max_age: seconds or timedelta for which the browser keeps the cookie; default: until it is closed.
        The cookie is sent again when the idle clock is moved, once in each `touch_interval` of the manager.
    :param partitioned: a separate cookie for each embedding site (CHIPS); needs ``secure=True``.
    """

    name: str = "session2"
    path: str | None = None
    domain: str | None = None
    secure: bool | None = None
    httponly: bool = True
    samesite: SameSite | None = "Lax"
    max_age: float | timedelta | None = None
    partitioned: bool = False

    def __post_init__(self) -> None:
        self._check_attributes()
        self._check_combinations()

    def _check_attributes(self) -> None:
        _demand("name", self.name, isinstance(self.name, str) and _TOKEN.fullmatch(self.name),
                "letters, digits and a few signs, but no blank and none of ()<>@,;:\\\"/[]?={}, in ASCII")
        _demand("path", self.path, self.path is None or is_path(self.path),
                "a path as it stands in URLs: it begins with /, has no blank, no part . or .., none of \"#;<>?`{}\\ "
                "and at most 1024 characters")
        _demand("domain", self.domain, self.domain is None or _is_domain(self.domain),
                "the bare name of a host: no scheme, port, path or wildcard, and no IP address (for one leave it out); "
                "what is not ASCII is written as in the DNS, xn--...")
        _demand("samesite", self.samesite, self.samesite in ("Lax", "Strict", "None", None),
                "'Lax', 'Strict', 'None' or None")
        _demand("max_age", self.max_age, self.max_age is None or _is_age(self.max_age),
                "a number of seconds, or a timedelta, from one second to 68 years, or None")
        _demand("secure", self.secure, self.secure is None or isinstance(self.secure, bool), "True, False or None")
        _demand("httponly", self.httponly, isinstance(self.httponly, bool), "True or False")
        _demand("partitioned", self.partitioned, isinstance(self.partitioned, bool), "True or False")

    def _check_combinations(self) -> None:
        prefixed = self.name.lower().startswith(("__host-", "__secure-", "__http-"))  # browsers do not mind the case
        for needs, what in ((self.samesite == "None", 'samesite="None"'), (self.partitioned, "partitioned"),
                            (prefixed, "a cookie prefix")):
            if needs and self.secure is not True:
                raise ConfigurationError(f"{what} needs secure=True")
        if self.name.lower().startswith(("__http-", "__host-http-")) and not self.httponly:
            raise ConfigurationError("a __Http- cookie needs httponly=True")
        if self._is_of_host() and (self.domain is not None or self.path not in (None, "/")):
            raise ConfigurationError('a __Host- cookie has path="/" and no domain')
        if sum(map(len, (self.name, self.path or "", self.domain or ""))) > _MOST_BYTES:
            raise ConfigurationError("the name, path and domain of the cookie are too long: browsers ignore a cookie "
                                     "of more than 4096 bytes")

    def _is_of_host(self) -> bool:
        return self.name.lower().startswith("__host-")

    def attributes(self, request: Place) -> dict[str, Any]:
        """Return the attributes a cookie of this policy is sent with in answer to this request."""
        found = {
            "path": self._path(request.script_name),
            "domain": self.domain,
            "max_age": self._max_age(),
            "secure": request.is_secure if self.secure is None else self.secure,
            "httponly": self.httponly,
            "samesite": self.samesite,
            "partitioned": self.partitioned,
        }
        return {name: value for name, value in found.items() if value is not None and value is not False}

    def _path(self, script_name: str) -> str:
        if self.path is not None:
            return self.path
        if self._is_of_host():
            return "/"
        if script_name in ("", "/"):
            return "/"
        from urllib.parse import quote  # takes a while, and most are mounted at the root

        # As browsers write it, or they would not find it in the URL; and nothing in it can end the attribute.  With a
        # slash behind it the cookie would not be sent to the page at this very path.
        return quote(script_name, "/!$&'()*+,=:@[]|", "latin-1", "replace")

    def _max_age(self) -> int | None:
        seconds = self.max_age.total_seconds() if isinstance(self.max_age, timedelta) else self.max_age
        return None if seconds is None else int(seconds)  # browsers ignore a fraction, and all of the attribute with it


def values_of(header: str | None, name: str) -> list[str]:
    """Return the values of all cookies called `name` in a ``Cookie`` header, the most specific first, as browsers send.

    Only a semicolon ends a cookie: what others put into theirs, a quote that is never closed say, hides none of ours.
    Around a name there may be blanks and tabs, and no other space: to a browser that is part of the name, and such a
    cookie need not keep what a prefix such as ``__Host-`` demands.
    """
    values = []
    for part in (header or "").split(";"):
        found, equals, value = part.partition("=")
        if equals and found.strip(_BLANKS) == name:
            value = value.strip(_BLANKS)
            values.append(value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value)
    return values


def is_path(text: object) -> bool:
    """Tell whether a browser would find this path in a URL, and so ever send a cookie with it."""
    return (isinstance(text, str) and len(text) <= _MOST_BYTES_OF_ATTRIBUTE and _PATH.fullmatch(text) is not None
            and not any(part.lower().replace("%2e", ".") in (".", "..") for part in text.split("/")))


def _is_domain(text: object) -> bool:
    if not isinstance(text, str):
        return False
    labels = text.removeprefix(".").split(".")  # which browsers ignore, so it does no harm
    return len(text) <= 254 and all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()


def _is_age(age: object) -> bool:
    seconds = age.total_seconds() if isinstance(age, timedelta) else age
    return isinstance(seconds, (int, float)) and not isinstance(seconds, bool) and 1 <= seconds < 2 ** 31


def _demand(what: str, value: object, holds: object, wanted: str) -> None:
    if not holds:
        text = repr(value)
        shown = text if len(text) < 100 else text[:60] + "..."
        raise ConfigurationError(f"the {what} of a cookie must be {wanted}; not {shown}")
