"""What others send: a part of `session2.testing.AdapterSuite`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ... import tokens
from ..store.claims import needs_listing
from .browser import Browser
from .pages import NOTHING
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


NEIGHBOURS = {
    "JSON": b'prefs={"a": 1, "b": [true, "c;d"]}',
    "a blank": b"name=Ada Lovelace",
    "a blank in the name": b"my name=Ada",
    "a quote that is never closed": b'size="7',
    "a quote in the middle": b'size=7"8',
    "a backslash and a quote": b'a="b\\"c',
    "commas": b"list=1,2, 3",
    "no value": b"flag",
    "no name": b"=nameless",
    "nothing": b"",
    "a word of the cookie grammar": b"path=/",
    "brackets": b"a[0]=1",
    "bytes that are not ASCII": "größe=ä".encode() + b"\xff",
    "a control character": b"a=\x01",
    "a name that begins like ours": b"%s2=x",
    "a name that ends like ours": b"x%s=x",
    "our name in capitals": b"%S=x",
    "our name in a value": b"a=%s=x",
    "many": b"; ".join(b"c%d=%d" % (number, number) for number in range(100)),
}
"""What else a site may find in its Cookie header; ``%s`` stands for the name of the session cookie."""


SPACES = b"\xa0", "\xa0".encode(), b"\x85", "\u2000".encode()
"""What many languages, Python among them, take for space around the name of a cookie, and no browser does."""


class ForeignCookieTests(ServedTests):
    """Cookies that are not ours."""

    @pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
    def test_hostile_cookie(self, site: Site, value: bytes) -> None:
        (site.folder / "canary").write_bytes(b"untouched")
        before = _tree(site.folder)
        is_refused = any(byte in self.refused_bytes for byte in value)
        for path in ("/get?key=a", "/user", "/logout"):
            answer = site.request(path, cookie=site.cookie_name.encode() + b"=" + value)
            assert (answer.status, answer.cookies(site.cookie_name)) == (400 if is_refused else 200, []), answer
        assert _tree(site.folder) == before
        if is_refused:
            return
        answer = site.request("/set?key=a&value=1", cookie=site.cookie_name.encode() + b"=" + value)
        browser = site.browser().keep(answer)
        assert tokens.is_id(browser.id)
        assert str(browser.id).encode() != value
        assert browser.get("/get", key="a").text == "1"

    @pytest.mark.parametrize("neighbour", NEIGHBOURS.values(), ids=NEIGHBOURS)
    def test_neighbours_do_not_hide_the_cookie(self, browser: Browser, neighbour: bytes) -> None:
        browser.get("/set", key="a", value="1")
        name = browser.site.cookie_name
        other = neighbour.replace(b"%s", name.encode()).replace(b"%S", name.upper().encode())
        ours = browser.header().encode()
        both = other + b"; " + ours
        for header in (both, ours + b"; " + other, other + b";" + ours, both + b"; z=1"):
            answer = browser.site.request("/get?key=a", cookie=header)
            assert (answer.status, answer.text, answer.cookies(name)) == (200, "1", []), header

    @pytest.mark.parametrize("stale", ["", "bogus", '"', "x" * 43, "*del*"])
    def test_of_two_cookies_the_one_that_lives_counts(self, browser: Browser, stale: str) -> None:
        """An application at / and one at /shop; or the path was changed, and browsers still have the old one."""
        browser.get("/login", user="ada")
        name = browser.site.cookie_name
        ours, other = browser.header(), f"{name}={stale}"
        for header in (f"{other}; {ours}", f"{ours}; {other}", f"{other}; a=b; {other}; {ours}"):
            answer = browser.site.request("/user", cookie=header.encode())
            assert (answer.text, answer.cookies(name)) == ("ada", []), header

    def test_of_two_cookies_that_live_the_first_counts(self, site: Site) -> None:
        """Browsers send the most specific first."""
        ada, bob = site.browser(), site.browser()
        ada.get("/login", user="ada")
        bob.get("/login", user="bob")
        for first, second, user in ((ada, bob, "ada"), (bob, ada, "bob")):
            header = f"{first.header()}; {second.header()}"
            assert site.request("/user", cookie=header.encode()).text == user

    def test_login_beside_a_stale_cookie(self, site: Site) -> None:
        """The browser keeps the stale one, which has another path and is sent first."""
        name, stale = site.cookie_name, tokens.new_id()
        answer = site.request("/login?user=ada", cookie=f"{name}={stale}".encode())
        header = f"{name}={stale}; {site.browser().keep(answer).header()}".encode()
        assert site.request("/user", cookie=header).text == "ada"
        (ended,) = site.request("/logout", cookie=header).cookies(name)
        assert ended.is_deletion
        assert site.request("/user", cookie=header).text == NOTHING

    def test_space_makes_another_name_of_ours(self, site: Site) -> None:
        """From a sub-domain a browser takes a cookie of such a name, also where ours begins with ``__Host-``."""
        attacker = site.browser()
        attacker.get("/login", user="mallory")
        pair = attacker.header().encode()
        for space in SPACES:
            for header in (space + pair, pair.replace(b"=", space + b"=", 1), b"a=1;" + space + pair):
                answer = site.request("/user", cookie=header)
                assert (answer.status, answer.text, answer.cookies(site.cookie_name)) == (200, NOTHING, []), header

    def test_unknown_id_is_not_adopted(self, site: Site) -> None:
        planted = tokens.new_id()
        browser = site.browser(planted)
        browser.get("/set", key="a", value="1")
        assert browser.id != planted
        self.assert_dead(site.browser(planted))

    @needs_listing
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
