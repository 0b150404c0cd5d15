"""The cookie policy: what is sent, and what is refused when the policy is made."""

import math
from datetime import timedelta
from typing import Any

import pytest

from session2 import ConfigurationError, CookiePolicy, DictSession, SessionManager, tokens
from session2.cookies import values_of
from session2.environ import EnvironExchange
from session2.record import Record
from session2.store.volatile import VolatileSessionStore
from session2.testing.fakes import FakeExchange


def test_the_defaults_are_safe() -> None:
    assert CookiePolicy().attributes(FakeExchange()) == {"path": "/", "httponly": True, "samesite": "Lax"}


def test_secure_follows_the_request_unless_it_is_fixed() -> None:
    assert CookiePolicy().attributes(FakeExchange(is_secure=True))["secure"] is True
    assert CookiePolicy(secure=True).attributes(FakeExchange())["secure"] is True
    assert "secure" not in CookiePolicy(secure=False).attributes(FakeExchange(is_secure=True))


def test_the_path_is_where_the_application_is_mounted() -> None:
    assert CookiePolicy().attributes(FakeExchange(script_name="/shop"))["path"] == "/shop"
    assert CookiePolicy(path="/x").attributes(FakeExchange(script_name="/shop"))["path"] == "/x"
    assert CookiePolicy("__Host-s", secure=True).attributes(FakeExchange(script_name="/shop"))["path"] == "/"


@pytest.mark.parametrize(("path", "is_sent"), [
    ("/shop", True), ("/shop/", True), ("/shop/buy", True), ("/shopping", False), ("/", False),
])
def test_the_cookie_is_sent_to_every_page_of_the_application_and_to_no_other(path: str, is_sent: bool) -> None:
    """By section 5.1.4 of RFC 6265."""
    ours = CookiePolicy().attributes(FakeExchange(script_name="/shop"))["path"]
    assert (path == ours or path.startswith(ours if ours.endswith("/") else ours + "/")) is is_sent


@pytest.mark.parametrize(("mounted", "path"), [
    ("/my shop", "/my%20shop"), ("/b\xc3\xb6rse", "/b%C3%B6rse"), ("/100%", "/100%25"),
    ("/~joe/(a+b)", "/~joe/(a+b)"), ("/\u20ac", "/%3F"),
    ("/x; Domain=example.org", "/x%3B%20Domain=example.org"), ("/x\r\nSet-Cookie: a=b", "/x%0D%0ASet-Cookie:%20a=b"),
])
def test_the_path_is_written_as_browsers_do(mounted: str, path: str) -> None:
    assert CookiePolicy().attributes(FakeExchange(script_name=mounted))["path"] == path


@pytest.mark.parametrize(("header", "values"), [
    (None, []), ("", []), ("a", []), ("a=", [""]), ("a=1", ["1"]), ("b=2; a=1;c", ["1"]), ("a=1; a=2", ["1", "2"]),
    (' a = "1" ', ["1"]), ('a="1', ['"1']), ('a="', ['"']), ('a=""', [""]), ("aa=1; A=2", []), ("b=a=1", []),
    ("a=1=2", ["1=2"]), ("b={'a': 1, a=2}", []), ("b=1, a=2", []), ('b="; a=1', ["1"]), ("a=\xe4", ["\xe4"]),
    ("\ta=1\t", ["1"]), ("\xa0a=1", []), ("a\xa0=1", []), ("b=2;\x85a=1", []), ("\x1ca=1", []), ("a=\xa01", ["\xa01"]),
])
def test_only_a_semicolon_ends_a_cookie(header: str | None, values: list[str]) -> None:
    assert values_of(header, "a") == values


def test_an_environ_tells_what_a_session_asks_for() -> None:
    exchange = EnvironExchange({"REMOTE_ADDR": "192.0.2.7", "wsgi.url_scheme": "https", "SCRIPT_NAME": "/shop",
                                "HTTP_COOKIE": "a=1; b=2; a=3"})
    assert (exchange.remote_address, exchange.is_secure, exchange.script_name) == ("192.0.2.7", True, "/shop")
    assert (exchange.get_cookie("a"), exchange.get_cookie("c")) == ("1", None)
    assert exchange.get_cookies("a") == ["1", "3"]


def test_only_so_many_cookies_of_one_name_are_tried() -> None:
    class Flood(FakeExchange):
        def get_cookies(self, name: str) -> list[str]:
            return ["malformed"] * 50 + [tokens.new_id() for _ in range(100)]

    looked: list[str] = []

    class Counting(VolatileSessionStore):
        def read(self, key: str) -> Record | None:
            looked.append(key)
            return super().read(key)

    SessionManager(Counting(), DictSession).start_request(Flood())
    assert 1 < len(looked) <= 10


@pytest.mark.parametrize("day", [86400, 86400.0, 86400.9, timedelta(days=1)])
def test_the_age_is_sent_in_whole_seconds(day: float | timedelta) -> None:
    assert repr(CookiePolicy(max_age=day).attributes(FakeExchange())["max_age"]) == "86400"


@pytest.mark.parametrize("impossible", [
    {"samesite": "None"}, {"samesite": "lax"}, {"partitioned": True}, {"name": "__Host-s"}, {"name": "__Secure-s"},
    {"name": "__Host-s", "secure": True, "domain": "example.org"}, {"name": "__Host-s", "secure": True, "path": "/x"},
    {"name": ""}, {"name": "a b"}, {"name": "a;b"}, {"name": "ä"}, {"path": "/;x"}, {"domain": "a;b"},
    {"max_age": 0}, {"max_age": timedelta(0)}, {"max_age": -1},
    {"name": "a\r\nSet-Cookie: b"}, {"path": "/\n"},
    # Browsers take a prefix for one in whatever case.
    {"name": "__host-s"}, {"name": "__SECURE-s"}, {"name": "__hOST-s", "secure": True, "path": "/x"},
    {"name": "__host-s", "secure": True, "domain": "example.org"}, {"name": "__Http-s"},
    {"name": "__Http-s", "secure": True, "httponly": False},
    {"name": "__Host-Http-s", "secure": True, "httponly": False}, {"name": "__Host-s", "secure": False},
    {"name": "x" * 5000}, {"name": "x" * 4096}, {"name": "x" * 3000, "path": "/" + "x" * 1000}, {"name": None},
    {"name": "x" * 2806, "path": "/" * 1024, "domain": "example.org"},
    {"name": 5}, {"name": "a\x7f"}, {"name": "a,b"}, {"name": "a=b"}, {"name": "a\tb"},
    {"domain": "example.org:8080"}, {"domain": "https://example.org"}, {"domain": "//example.org"},
    {"domain": "example.org/shop"}, {"domain": "*.example.org"}, {"domain": ""}, {"domain": "."}, {"domain": ".."},
    {"domain": "..example.org"}, {"domain": "example..org"}, {"domain": "example.org."}, {"domain": " example.org"},
    {"domain": "-example.org"}, {"domain": "example-.org"}, {"domain": "b\xf6rse.example"}, {"domain": "a@example.org"},
    {"domain": "192.0.2.1"}, {"domain": ".192.0.2.1"}, {"domain": "[::1]"}, {"domain": "::1"}, {"domain": "999.1"},
    {"domain": "x" * 64 + ".org"}, {"domain": "." + "x." * 126 + "xx"}, {"domain": b"example.org"}, {"domain": "a,b"},
    {"domain": ["example.org"]},
    {"path": ""}, {"path": "shop"}, {"path": "./shop"}, {"path": "https://example.org/"}, {"path": "/my shop"},
    {"path": "/b\xf6rse"}, {"path": "/a/../b"}, {"path": "/."}, {"path": "/a/%2E%2e"}, {"path": "/?a=b"},
    {"path": "/#a"}, {"path": "\\shop"}, {"path": "/a\\b"}, {"path": "/<a>"}, {"path": "/\x7f"}, {"path": "/" * 1025},
    {"path": 5}, {"path": b"/"},
    {"max_age": math.nan}, {"max_age": math.inf}, {"max_age": -math.inf}, {"max_age": 0.9}, {"max_age": "3600"},
    {"max_age": True}, {"max_age": 2 ** 31}, {"max_age": 1e300}, {"max_age": timedelta.max},
    {"max_age": timedelta(milliseconds=999)},
    {"samesite": True}, {"samesite": "STRICT"}, {"samesite": ""}, {"samesite": False}, {"samesite": ["Lax"]},
    {"secure": 1}, {"httponly": 1}, {"secure": "yes"},
    {"secure": "False"}, {"httponly": None}, {"httponly": "no"}, {"partitioned": "yes"},
    {"partitioned": True, "secure": False}, {"partitioned": "yes", "secure": True},
])
def test_impossible_combinations_are_refused(impossible: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as refused:
        CookiePolicy(**impossible)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("possible", [
    {"domain": "example.org"}, {"domain": ".example.org"}, {"domain": "a_b.xn--brse-5qa.example"},
    {"domain": "localhost"}, {"domain": "1.example.org"}, {"name": "!#$%&'*+-.^_`|~09azAZ"}, {"name": "x" * 3000},
    {"name": "x" * 2805, "path": "/" * 1024, "domain": "example.org"}, {"domain": "." + "x." * 126 + "x"},
    {"path": "/"}, {"path": "/shop"}, {"path": "/~joe/(a+b)/b%C3%B6rse"}, {"path": "/..."}, {"path": "/" * 1024},
    {"path": "/a/.b"}, {"name": "__Secure-s", "secure": True, "path": "/x", "domain": "example.org"},
    {"name": "__host-s", "secure": True, "path": "/"}, {"name": "__Http-s", "secure": True, "path": "/x"},
    {"name": "__Host-Http-s", "secure": True}, {"name": "__hosts"}, {"max_age": 1}, {"max_age": 400 * 86400.5},
    {"samesite": None}, {"secure": False},
])
def test_what_browsers_accept_is_accepted(possible: dict[str, Any]) -> None:
    assert {**CookiePolicy(**possible).attributes(FakeExchange()), **possible}


def test_a_prefix_in_small_letters_fixes_the_path_too() -> None:
    policy = CookiePolicy("__host-s", secure=True)
    assert policy.attributes(FakeExchange(script_name="/shop"))["path"] == "/"


def test_headers_of_a_session_join_those_of_a_response() -> None:
    exchange = EnvironExchange({})
    exchange.add_header("Vary", "Cookie")
    exchange.add_header("Cache-Control", "no-store")
    exchange.set_cookie("a", "1")
    exchange.set_cookie("a", "2", path="/")
    response = [("vary", "Accept"), ("Set-Cookie", "b=3"), ("Vary", "cookie, Accept-Language"), ("X-Own", "4")]
    assert exchange.added_to(response) == [
        ("Set-Cookie", "b=3"), ("X-Own", "4"), ("Vary", "Accept, cookie, Accept-Language"),
        ("Cache-Control", "no-store"), ("Set-Cookie", "a=2; Path=/")]
    assert exchange.added_to(response) == response
    assert len(response) == 4
