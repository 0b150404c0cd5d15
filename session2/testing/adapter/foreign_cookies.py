"""What others send: a part of `session2.testing.AdapterSuite`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ... import tokens
from .browser import Browser
from .served import ServedTests
from .website import Site

HOSTILE = {
    "a path upwards": b"../../etc/passwd",
    "a path upwards, escaped": b"..%2f..%2fetc%2fpasswd",
    "an absolute path": b"/etc/hostname",
    "a device": b"/dev/null",
    "a file beside the store": b"../canary",
    "5000 characters": b"x" * 5000,
    "43 characters, one of them not ours": b"." + b"x" * 42,
    "an id and a suffix": b"x" * 43 + b".lock",
    "NUL": b"x" * 42 + b"\x00",
    "NUL behind an id": b"x" * 43 + b"\x00",
    "bytes that are not ASCII": "ä".encode() * 20 + b"\xff\xfe\xfd",
    "letters that are not ASCII, 43 of them": "é".encode("latin-1") * 43,
    "nothing": b"",
    "the mark of a deleted cookie": b"*del*",
    "an empty string in quotes": b'""',
    "half a quotation": b'"' + b"x" * 43,
    "SQL": b"'OR'1'='1",
}


class ForeignCookieTests(ServedTests):
    """Cookies that are not ours."""

    @pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
    def test_hostile_cookie(self, site: Site, value: bytes) -> None:
        (site.folder / "canary").write_bytes(b"untouched")
        before = _tree(site.folder)
        for path in ("/get?key=a", "/user", "/logout"):
            answer = site.request(path, cookie=site.cookie_name.encode() + b"=" + value)
            assert (answer.status, answer.cookies(site.cookie_name)) in ((200, []),), answer
        assert _tree(site.folder) == before
        answer = site.request("/set?key=a&value=1", cookie=site.cookie_name.encode() + b"=" + value)
        cookie = site.browser().sent(answer)
        assert cookie is not None
        assert tokens.is_id(cookie.id)
        assert cookie.id.encode() != value
        assert site.browser(cookie.value).get("/get", key="a").text == "1"

    def test_unknown_id_is_not_adopted(self, site: Site) -> None:
        planted = tokens.new_id()
        browser = site.browser(planted)
        browser.get("/set", key="a", value="1")
        assert browser.id != planted
        self.assert_dead(site.browser(planted))

    def test_key_of_the_store_is_no_cookie(self, browser: Browser) -> None:
        before = browser.site.keys()
        browser.get("/set", key="a", value="1")
        (key,) = browser.site.keys() - before
        for value in (key, key[:43], f"{browser.id}.lock", f"{browser.id}x", str(browser.id)[:-1]):
            self.assert_dead(browser.site.browser(value))
        assert browser.get("/get", key="a").text == "1"

    def test_store_does_not_hold_the_cookie(self, browser: Browser) -> None:
        browser.get("/login", user="ada")
        assert browser.id is not None
        for path in (browser.site.folder / "store").rglob("*"):
            assert browser.id not in path.name
            assert path.is_dir() or browser.id.encode() not in path.read_bytes()


def _tree(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, but for the log, with their contents."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "log"}
