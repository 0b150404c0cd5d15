"""Stores from text."""

import gc
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any

import pytest

from session2 import ConfigurationError, JSONSerializer, SessionError, from_url, get_secret, urls
from session2.errors import SerializationError, StoreMissing
from session2.store.postgres import PostgresSessionStore
from session2.store.volatile import VolatileSessionStore
from session2.urls import STORES


def test_a_scheme_names_a_store() -> None:
    assert isinstance(from_url("volatile:"), VolatileSessionStore)


def test_query_arguments_become_keyword_arguments() -> None:
    store = from_url("volatile:?hash_ids=false&serializer=json")
    assert not store.hash_ids
    assert isinstance(store.serializer, JSONSerializer)


@pytest.mark.parametrize("name", ["signed-pickle", "signed-json", "encrypted-json", "encrypted-msgpack"])
def test_secrets_come_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = get_secret(), get_secret()
    monkeypatch.delenv("SESSION2_SECRETS", raising=False)
    with pytest.raises(ConfigurationError, match="SESSION2_SECRETS"):
        from_url(f"volatile:?serializer={name}")
    monkeypatch.setenv("SESSION2_SECRETS", old)
    sealed = from_url(f"volatile:?serializer={name}").serializer.seal(b"{}", "key")
    monkeypatch.setenv("SESSION2_SECRETS", f"{new} {old}")
    both = from_url(f"volatile:?serializer={name}").serializer
    monkeypatch.setenv("SESSION2_SECRETS", new)
    newest = from_url(f"volatile:?serializer={name}").serializer
    assert both.open(sealed, "key") == newest.open(both.seal(b"{}", "key"), "key") == b"{}"
    with pytest.raises(SerializationError):
        newest.open(sealed, "key")


def test_options_are_passed_on() -> None:
    assert from_url("volatile:", clock=lambda: 5.0).clock() == 5.0


@pytest.mark.parametrize(("url", "message"), [
    ("nowhere:", "no store is called 'nowhere'.*There are: volatile, directory, "), ("", "no store"),
    ("sqlit:x", "did you mean 'sqlite'"), ("postgresq://x/y", "did you mean 'postgresql'"),
    ("mysql//x/y", "did you mean 'mysql'"),
    ("directory:", "names no path"), ("directory:~/sessions?create=true", "no shell replaces a ~ behind a colon"),
    ("sqlite:~joe/sessions.db", "write the path in full"), ("shelve:~", "or ./~ for"),
    ("directory", "'directory:/var/lib/sessions'"),
    ("volatile:x", "has no place"), ("volatile:?colour=red", "no argument 'colour'"),
    ("volatile:?colour=", "no argument 'colour'"), ("volatile:?hash_ids=", "true or false"),
    ("volatile:?clock=5", "no argument 'clock'"), ("volatile:?hash_ids=maybe", "true or false"),
    ("volatile:?serializer=xml", "no serializer is called 'xml'"),
    ("volatile:?serializer=sealed-json", "no serializer is called"), ("volatile:?x", "cannot be read"),
    ("sqlite:s.db?create=true&create=false", "twice"), ("sqlite:s.db?timeout=nan", "finite"),
    ("sqlite:s.db?timeout=inf", "finite"),
])
def test_what_does_not_exist_is_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        from_url(url)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
@pytest.mark.parametrize("password", ["s3/cret", "s3?cret", "s3#cret", "s3@cret", "s3 cret", "s3%cret", "s3%zzcret"])
def test_no_part_of_a_password_is_taken_for_something_else_and_told(scheme: str, password: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        from_url(f"{scheme}://anna:{password}@localhost/shop?table=sessions")
    assert "write %40 for @" in str(caught.value)
    assert "cret" not in "".join(traceback.format_exception(caught.value))


@contextmanager
def telling_no(secret: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        assert secret not in "".join(traceback.format_exception(error))  # noqa: PT017
        raise


@pytest.mark.parametrize("url", [
    *(f"{scheme}:{place}" for scheme in [*STORES, "nowhere", "mysq"] for place in [
        "//anna:s3cret@h/x", "//anna:s3cret@h:2/x", "anna:s3cret@h/x", "/anna:s3cret@h/x", "//s3cret@h/x",
        "//anna:s3cret@[h/x", "//h:s3cret", "//h:s3cret/x", "//h/x?s3cret", "//h/x?timeout=s3cret",
        "//h/x?hash_ids=s3cret", "//h/x?passwd=s3cret"]),
    "s3cret@h/d", "anna:s3cret@h/d", "//anna:s3cret@h/x", "mysql//s3cret@h/x", "volatile:s3cret", "durus://h:s3cret",
    "durus://h:1,s3cret", "durus://[s3cret]:1", "durus://[s3cret:1", "memcached://h:1,anna:s3cret",
    "memcached://h,s3cret@h",
    "memcached://h:1*s3cret", "memcached://[s3cret]", "memcached://h, s3cret"])
def test_no_error_repeats_a_password(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when the store is made nor at its first use; and no file is made of that name."""
    monkeypatch.chdir(tmp_path)
    with suppress(SessionError, OSError), telling_no("cret"):
        from_url(url).read("0" * 64)
    assert not list(tmp_path.rglob("*cret*"))


@pytest.mark.parametrize("url", ["durus://[::1]:2972", "durus://[fe80::1]", "memcached://[::1]:11211,[::2]:1*2,h:1*3,h"])
def test_a_colon_of_an_address_is_not_taken_for_that_of_a_password(url: str) -> None:
    urls.check_login(url)


@pytest.mark.parametrize("path", ["shop@example.com", "/srv/a:b@c/x", "./a:b@c", "a:b", "//srv/x", "///srv/x"])
@pytest.mark.parametrize("scheme", ["directory", "sqlite", "shelve"])
def test_a_path_may_hold_what_a_login_does_not_look_like(scheme: str, path: str) -> None:
    urls.check_login(f"{scheme}:{path}")


@pytest.mark.parametrize("scheme", ["directory"])
def test_what_is_missing_is_told_in_the_words_of_a_url(scheme: str, tmp_path: Path) -> None:
    with pytest.raises(StoreMissing, match=r"with \?create=true in the URL, or in a shell with: session2 setup URL"):
        from_url(f"{scheme}:{tmp_path}/nowhere")


@pytest.mark.parametrize("conninfo", ["host=localhost password=s3 cret"])
def test_no_part_of_a_password_is_told_of_a_conninfo_that_cannot_be_read(conninfo: str) -> None:
    with pytest.raises(ConfigurationError, match="needs quotes") as caught:
        PostgresSessionStore(conninfo)
    assert "cret" not in "".join(traceback.format_exception(caught.value))


def test_an_option_is_given_once() -> None:
    with pytest.raises(ConfigurationError, match="hash_ids"):
        from_url("volatile:?hash_ids=false", hash_ids=True)


def test_the_signature_gives_the_types(tmp_path: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be a number"):
        from_url(f"sqlite:{tmp_path}/x.db?timeout=soon")


# -- stores of other distributions ------------------------------------------------------------------------------------


def install(folder: Path, module: str = "from session2.store.volatile import VolatileSessionStore as ToyStore\n",
            scheme: str = "toy") -> None:
    """Put a distribution with a store into a folder, as pip would."""
    (folder / "toy_sessions.py").write_text(module)
    metadata = folder / "toy_sessions-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-sessions\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[session2.stores]\n{scheme} = toy_sessions:ToyStore\n")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("toy_sessions", None)


TOY = """
from session2.store.volatile import VolatileSessionStore

class ToyStore(VolatileSessionStore):
    def __init__(self, place, *, size=1, **options):
        super().__init__(**options)
        self.place, self.size = place, size

    @classmethod
    def _from_location(cls, location, **options):
        return cls(location, **options)
"""


def test_a_store_of_another_distribution_is_found_by_its_entry_point(site: Path) -> None:
    install(site, TOY)
    store: Any = from_url("toy://somewhere?size=3&hash_ids=false")
    assert (type(store).__name__, store.place, store.size, store.hash_ids) == ("ToyStore", "toy://somewhere", 3, False)
    with pytest.raises(ConfigurationError, match=r"ToyStore has no argument 'colour'; it has: .*size"):
        from_url("toy://somewhere?colour=red")


def test_a_store_of_another_distribution_is_suggested_too(site: Path) -> None:
    install(site)
    with pytest.raises(ConfigurationError, match=r"did you mean 'toy'\?  There are: volatile, .*, toy"):
        from_url("toi:")


def test_no_other_distribution_takes_the_place_of_a_store(site: Path) -> None:
    install(site, TOY, scheme="volatile")
    assert type(from_url("volatile:")) is VolatileSessionStore


@pytest.mark.parametrize(("module", "problem"), [
    ("import nowhere_at_all", "ModuleNotFoundError: No module named 'nowhere_at_all'"), ("", "ToyStore"),
    ("1 / 0", "ZeroDivisionError"), ("ToyStore = 1", "is not a SessionStore"),
])
def test_a_broken_entry_point_is_named(site: Path, module: str, problem: str) -> None:
    install(site, module)
    with pytest.raises(ConfigurationError) as caught:
        from_url("toy:")
    assert "toy-sessions, entry point session2.stores: toy = toy_sessions:ToyStore" in str(caught.value)
    assert problem in str(caught.value)


def beneath(thing: object) -> Iterator[object]:
    """Yield what a store is made of, as far as it is made here."""
    seen, left = set(), [thing]
    while left:
        one = left.pop()
        if id(one) not in seen and not isinstance(one, (str, bytes, type, ModuleType)):
            seen.add(id(one))
            is_ours = type(one).__module__.startswith("session2")
            if is_ours or isinstance(one, partial):
                yield one
            if is_ours or isinstance(one, (dict, list, tuple, CellType, MethodType, partial)):
                left += gc.get_referents(one)
            elif isinstance(one, FunctionType):
                left += one.__closure__ or ()


@pytest.mark.parametrize("url", [
    "redis://anna:s3cret@h/0", "redis+unix://anna:s3cret@/run/socket", "redis+sentinel://anna:s3cret@h/name",
    "redis+cluster://anna:s3cret@h", "couchdb://anna:s3cret@h/shop", "postgresql://anna:s3cret@h/shop",
    "mysql://anna:s3cret@h/shop"])
def test_no_part_of_a_store_shows_the_password(url: str) -> None:
    """Programs that report errors show the variables of every frame."""
    parts = [*beneath(from_url(url))]
    assert len(parts) > 10
    assert [type(part) for part in parts if "s3cret" in repr(part)] == []


PLACES = {"directory": "directory", "shelve": "filename", "sqlite": "path", "durus": "connection", "postgresql": "conn",
          "mysql": "conn", "memcached": "servers", "redis": "server", "couchdb": "url"}


@pytest.mark.parametrize(("scheme", "place"), PLACES.items())
def test_where_a_store_is_cannot_be_said_twice(scheme: str, place: str, tmp_path: Path) -> None:
    location = STORES[scheme].example.format(tmp_path).partition("?")[0]
    with pytest.raises(ConfigurationError, match=f"has no argument '{place}'"):
        from_url(f"{location}?{place}=elsewhere")
