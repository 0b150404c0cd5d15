"""CouchDBSessionStore against pouchdb-server, and against a stand-in that is as strict as CouchDB."""

from __future__ import annotations

import contextlib
import threading
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from couch_strict import MEMBER, Database, StrictServer
from servers_couchdb import PouchServer, url_of

from session2 import ConfigurationError, DictSession, LockTimeout, StoreUnavailable, from_url
from session2.errors import Conflict, StoreMissing
from session2.session import ties
from session2.store.couchdb import CouchDBSessionStore
from session2.store.couchdb.server import place_of
from session2.testing import StoreSuite
from session2.testing.fakes import Clock
from session2.testing.store.recipe import Recipe
from session2.testing.store.samples import KEY, contents, key_of, record_at
from session2.testing.store.shop import again, saved


def empty(url: str) -> None:
    """Delete what is under a URL."""
    store = CouchDBSessionStore(url, clock=lambda: 0.0)
    with contextlib.suppress(StoreMissing):
        months = store._databases.all(0.0)
        if len(months) > 1:  # a test was in the future
            store.setup(drop=True)
        for database in (store._databases.base, *months):
            documents = store._documents.all(database)
            store._documents.delete_all(database, {each["_id"]: each["_rev"] for each in documents})
    store.close()


class TestCouchDB(StoreSuite):
    store_class = CouchDBSessionStore
    scale = 0.03
    largest = 1_000_000

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, pouch: PouchServer) -> str:
        """The databases of all tests of this class, for to make some takes that server longer than most tests do."""
        return url_of(pouch)

    @pytest.fixture
    def recipe(self, url: str) -> Recipe:
        empty(url)
        return Recipe(CouchDBSessionStore, (url,))


@pytest.mark.sampled
class TestStrictCouchDB(StoreSuite):
    store_class = CouchDBSessionStore
    scale = 0.05
    largest = 5_900_000  # base64 makes four letters of three bytes, and a document may have 8,000,000

    @pytest.fixture
    def recipe(self, strict: StrictServer) -> Recipe:
        return Recipe(CouchDBSessionStore, (url_of(strict),))


def at(clock: Clock, date: str) -> float:
    """Set a clock to a date and return the time."""
    clock.now = datetime.fromisoformat(f"{date}+00:00").timestamp()
    return clock.now


class TestMonths:
    """A database for each month: what is new goes there, and stays."""

    @pytest.fixture
    def clock(self) -> Clock:
        clock = Clock()
        at(clock, "2026-11-30T23:59:50")
        return clock

    @pytest.fixture
    def url(self, strict: StrictServer) -> Iterator[str]:
        """Where nothing is, not even a store."""
        url = url_of(strict)
        yield url
        for name in names(strict, url):
            del strict.databases[name]

    @pytest.fixture
    def make(self, url: str) -> Iterator[Callable[..., CouchDBSessionStore]]:
        """A function that makes a store with a clock of its own."""
        stores = []

        def make(clock: Clock, url: str = url) -> CouchDBSessionStore:
            stores.append(CouchDBSessionStore(url, clock=clock))
            return stores[-1]

        yield make
        for store in stores:
            store.close()

    @pytest.fixture
    def store(self, make: Any, clock: Clock) -> CouchDBSessionStore:
        store = make(clock)
        store.setup()
        return store

    @pytest.fixture
    def ahead(self, make: Any, store: CouchDBSessionStore) -> CouchDBSessionStore:
        """The store of a host where it is next month already."""
        clock = Clock()
        at(clock, "2026-12-01T00:00:05")
        return make(clock)

    def test_a_session_stays_where_it_began(self, store: Any, make: Any, clock: Clock, strict: StrictServer,
                                            url: str) -> None:
        old = saved(store, n=1)
        at(clock, "2026-12-15")
        new = saved(store, n=2)
        assert months(strict, url) == {"2026-11": 1, "2026-12": 1}
        fresh = make(clock)
        loaded = again(fresh, old)
        loaded["n"] = 3
        fresh.sessions.save(loaded)
        assert [again(store, each)["n"] for each in (old, new)] == [3, 2]
        assert months(strict, url) == {"2026-11": 1, "2026-12": 1}
        assert sorted(each["n"] for each in store.sessions.each(DictSession)) == [2, 3]

    def test_who_did_not_know_of_a_month_finds_what_is_in_it(self, store: Any, ahead: Any) -> None:
        assert store.read(KEY) is None
        session = saved(ahead, n=1)
        assert again(store, session).data == {"n": 1}

    def test_one_request_for_what_is_known(self, store: Any, ahead: Any, strict: StrictServer) -> None:
        """And two for a session that begins, for it may have begun in another month too."""
        sessions = [saved(store, n=0), saved(ahead, n=0)]
        for session in sessions:
            for act in (lambda: again(ahead, session), lambda: ahead.sessions.save(session)):  # noqa: B023
                session["n"] += 1
                again(ahead, session)
                before = len(strict.asked)
                act()
                assert len(strict.asked) - before == 1
        at(store.clock, "2026-11-30")
        with contextlib.suppress(Conflict):
            saved(store)
        before = len(strict.asked)
        saved(store)
        assert [method for method, path in strict.asked[before:] if "/s:" in path] == ["GET", "PUT", "GET"]

    def insert(self, by: CouchDBSessionStore, name: str) -> list[str]:
        """Insert a record; return the name if it is there now."""
        with contextlib.suppress(Conflict):
            by.write(KEY, record_at(by.clock(), name.encode()), None)
            return [name]
        return []

    @pytest.mark.parametrize(("method", "path"), [
        ("GET", "2026-12/s:"), ("PUT", "2026-11/s:"), ("GET", "/session2")], ids=["looked", "wrote", "looked again"])
    def test_one_insert_wins_around_midnight(self, store: Any, ahead: Any, strict: StrictServer, method: str,
                                             path: str) -> None:
        """Two hosts insert one key, each into the month of its clock; one of them at some moment of the other's."""
        saved(ahead)  # so the month is known
        store._databases.all(store.clock())
        won: list[str] = []
        strict.fail(method, path, "after", lambda: won.extend(self.insert(ahead, "ahead")))
        won += self.insert(store, "behind")
        assert len(won) == 1
        assert [data for key, data in contents(store).items() if key == KEY] == [won[0].encode()]

    def test_two_inserts_at_the_same_moment_around_midnight(self, store: Any, ahead: Any, strict: StrictServer) -> None:
        """Both looked before either wrote, and both wrote before either looked again: one or both give way."""
        saved(ahead)
        store._databases.all(store.clock())
        writing, looking = (threading.Barrier(2, timeout=10) for _ in range(2))
        for month in ("2026-11", "2026-12"):
            strict.fail("PUT", f"{month}/s:", "slow", writing.wait)
            strict.fail("GET", "/session2", "slow", looking.wait)
        with ThreadPoolExecutor(2) as threads:
            both = threads.map(self.insert, (store, ahead), ("behind", "ahead"))
            won = [name for names in both for name in names]
        assert len(won) <= 1
        assert [data.decode() for key, data in contents(store).items() if key == KEY] == won
        assert self.insert(store, "again") == ([] if won else ["again"])

    def test_a_lock_excludes_across_midnight(self, store: Any, ahead: Any) -> None:
        with store.lock(KEY), pytest.raises(LockTimeout):
            ahead.lock(KEY, timeout=0.05)
        with ahead.lock(KEY), pytest.raises(LockTimeout):
            store.lock(KEY, timeout=0.05)

    def test_what_expired_in_another_month_is_replaced(self, store: Any, ahead: Any, strict: StrictServer,
                                                       url: str) -> None:
        version = store.write(KEY, record_at(store.clock(), b"old", expires=store.clock() + 5), None)
        ahead.write(KEY, record_at(ahead.clock(), b"new"), None)
        assert months(strict, url) == {"2026-11": 0, "2026-12": 1}
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock(), b"zombie"), version)
        assert contents(store) == {KEY: b"new"}
        store.remove(KEY)
        assert contents(ahead) == {}

    def test_months_that_are_over_and_empty_are_deleted(self, store: Any, clock: Clock, strict: StrictServer,
                                                        url: str) -> None:
        brief = saved(store, n=1)
        at(clock, "2026-12-10")
        long = saved(store, n=2)
        ties(long).expires = at(clock, "2027-12-01")
        at(clock, "2026-12-10")
        long["n"] = 3
        store.sessions.save(long)
        at(clock, "2027-01-10")
        saved(store, n=4)
        store.remove(str(brief.key))
        store.purge()
        assert months(strict, url) == {"2026-12": 1, "2027-01": 1}
        at(clock, "2027-06-10")
        assert store.purge() == 0
        assert months(strict, url) == {"2026-12": 1, "2027-01": 1}
        assert again(store, long)["n"] == 3
        at(clock, "2028-03-01")
        assert store.purge() == 1
        assert months(strict, url) == {"2027-01": 1}

    def test_the_month_before_is_spared(self, store: Any, clock: Clock, strict: StrictServer, url: str) -> None:
        """Somebody's clock may still be there."""
        for date in ("2026-12-31", "2027-01-01"):
            at(clock, date)
            store.purge()
            store.remove(str(saved(store).key))
        store.purge()
        assert months(strict, url) == {"2026-12": 0, "2027-01": 0}

    def test_a_month_that_somebody_deleted_is_made_again(self, store: Any, strict: StrictServer, url: str) -> None:
        version = store.write(KEY, record_at(store.clock()), None)
        for name in names(strict, url):
            if name.endswith("2026-11"):
                del strict.databases[name]
        assert store.read(KEY) is None
        with pytest.raises(Conflict):
            store.write(KEY, record_at(store.clock(), b"zombie"), version)
        store.write(KEY, record_at(store.clock(), b"new"), None)
        assert contents(store) == {KEY: b"new"}

    def test_nothing_but_setup_makes_a_store(self, make: Any, clock: Clock, strict: StrictServer, url: str) -> None:
        store = make(clock)
        for call in (lambda: store.read(KEY), lambda: store.write(KEY, record_at(clock.now), None), store.purge,
                     lambda: store.touch(KEY, clock.now, None), lambda: store.remove(KEY), lambda: store.lock(KEY),
                     lambda: list(store.scan()), lambda: list(store.records_of("anna"))):
            with pytest.raises(StoreMissing, match="session2 setup"):
                call()
        assert names(strict, url) == []
        store.setup()
        store.setup()
        assert len(names(strict, url)) == 2

    def test_a_database_of_others_is_not_touched(self, make: Any, clock: Clock, strict: StrictServer,
                                                 url: str) -> None:
        strict.databases[url.rpartition("/")[2]] = theirs = Database()
        theirs.put("theirs", {"n": 1}, None)
        for drop in (False, True):
            with pytest.raises(ConfigurationError, match="a name of its own"):
                make(clock).setup(drop)
        assert list(theirs.live()) == ["theirs"]
        assert len(names(strict, url)) == 1

    def test_user_who_may_make_no_databases(self, make: Any, store: Any, clock: Clock, strict: StrictServer, url: str,
                                            caplog: pytest.LogCaptureFixture) -> None:
        """It is a member of those there are, and of those that an administrator makes later."""
        prefix = url.rpartition("/")[2]
        for name in names(strict, url):
            strict.databases[name].security = {"members": {"names": [MEMBER[0]]}, "admins": {}}
        member = make(clock, strict.url_for(MEMBER, prefix))
        at(clock, "2026-12-10")
        member.write(KEY, record_at(clock.now), None)
        member.write(key_of(1), record_at(clock.now), None)
        assert months(strict, url) == {"2026-11": 2}
        assert [text for text in caplog.messages if "earlier month" in text] == caplog.messages[:1]
        store.setup()
        for number in (2, 3):  # with the first it notices
            member.write(key_of(number), record_at(clock.now), None)
        assert months(strict, url) == {"2026-11": 3, "2026-12": 1}
        assert len(contents(member)) == 4
        at(clock, "2027-06-10")
        assert member.purge() == 4
        assert months(strict, url) == {"2026-11": 0, "2026-12": 0}
        assert member.read(KEY) is None
        with pytest.raises(StoreUnavailable, match=r"making.*401"):
            make(clock, strict.url_for(MEMBER, prefix)).setup()

    def test_names_of_months_are_not_believed(self, store: Any, strict: StrictServer, url: str) -> None:
        """Not even in the list, which whoever can write to the store could change."""
        catalogue = strict.databases[url.rpartition("/")[2]].documents["session2"][2]
        catalogue["months"] += ["_users", "../other", url.rpartition("/")[2], None, 5, {}]
        assert len(store._databases.all(store.clock())) == 1


def names(strict: StrictServer, url: str) -> list[str]:
    """Return the names of the databases under a URL."""
    prefix = url.rpartition("/")[2]
    return [name for name in strict.databases if name == prefix or name.startswith(f"{prefix}-")]


def months(strict: StrictServer, url: str) -> dict[str, int]:
    """Return how many records there are in each month."""
    prefix = url.rpartition("/")[2]
    return {name.removeprefix(f"{prefix}-"): sum(id.startswith("s:") for id in strict.databases[name].live())
            for name in names(strict, url) if name != prefix}


class TestURL:
    @pytest.mark.parametrize(("url", "place"), [
        ("couchdb://localhost/sessions", ("localhost", 5984, "", "sessions")),
        ("couchdbs://localhost/sessions", ("localhost", 6984, "", "sessions")),
        ("couchdb://u:p@[::1]:99/a/b/shop_1-x", ("::1", 99, "/a/b", "shop_1-x"))])
    def test_parts(self, url: str, place: tuple[Any, ...]) -> None:
        assert place_of(url)[:4] == place

    @pytest.mark.parametrize("what", ["timeout=nan", "timeout=0", "connect_timeout=-1", "pool_size=0"])
    def test_numbers_that_cannot_work(self, what: str) -> None:
        with pytest.raises(ConfigurationError, match=what.partition("=")[0]):
            from_url(f"couchdb://localhost/p?{what}")

    @pytest.mark.parametrize("host", ["no..where", "n" * 64])
    def test_a_host_without_a_name_is_unavailable(self, host: str) -> None:
        with pytest.raises(StoreUnavailable, match=f"no connection to CouchDB at {host}:5984"):
            CouchDBSessionStore(f"couchdb://{host}/p").read(KEY)

    @pytest.mark.parametrize("url", ["couchdb://u:s3cret\u2100@h/p", "couchdb://u:s3c[ret@h/p", "couchdb://u:1/s3cret@h/p",
                                     "couchdb://u:s3@cret@h/p"])
    def test_a_password_that_takes_the_url_apart_is_not_told(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match="%40") as caught:
            CouchDBSessionStore(url)
        assert "s3c" not in str(caught.value)
        assert "cret" not in str(caught.value)

    def test_login(self) -> None:
        header = place_of("couchdb://jo%40:p%3A%20ü@h/p").authorization["Authorization"]
        assert b64decode(header.removeprefix("Basic ")).decode() == "jo@:p: ü"

    @pytest.mark.parametrize("url", [
        "couchdb:", "couchdb://", "couchdb://h", "couchdb://h/", "couchdb:///p", "couchdb:p", "couchdb://h/P", "couchdb://h/1",
        "couchdb://h/_users", "couchdb://h/a%2Fb", "couchdb://h/a b/p", "couchdb://h/p#x", "couchdb://h:x/p",
        "couchdb://h h/p"])
    def test_incomplete(self, url: str) -> None:
        with pytest.raises(ConfigurationError, match=r"CouchDB|port"):
            from_url(url)
