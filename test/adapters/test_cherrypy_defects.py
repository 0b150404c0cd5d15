"""What goes wrong with the session classes that CherryPy brings, one test each; the numbers order them, no more."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cherrypy
import pytest
from c_fork import fork_in_c

import session2_cherrypy
from session2 import DictSession, LockTimeout, SessionManager
from session2.errors import SerializationError
from session2.store.directory import DirectorySessionStore
from session2.store.turns import STAMP
from session2.store.volatile import VolatileSessionStore
from session2.testing.adapter.gate import Gate
from session2.testing.adapter.website import Site, in_parallel
from session2.testing.fakes import Clock
from session2_cherrypy import cleaning
from session2_cherrypy import settings as tool

Serve = Callable[..., Any]


def visit() -> str:
    cherrypy.session["n"] = cherrypy.session.get("n", 0) + 1
    return str(cherrypy.session["n"])


def look() -> str:
    return str(cherrypy.session.get("n"))


PAGES = {"visit": visit, "look": look}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> Iterator[VolatileSessionStore]:
    store = VolatileSessionStore(clock=clock)
    yield store
    cleaning.stop_cleaning(store)


@pytest.fixture
def manager(store: VolatileSessionStore) -> SessionManager[DictSession]:
    return SessionManager(store, DictSession)


def records(folder: Path) -> list[Path]:
    """Return the files of a directory store that hold records."""
    return [path for path in folder.glob("*/*") if path.name != STAMP]


def wait(event: threading.Event) -> None:
    assert event.wait(60)


def test_01_every_application_gets_its_store_set_up(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    set_up = []
    monkeypatch.setattr(VolatileSessionStore, "setup", lambda store: set_up.append(store))
    for name in ("one", "two"):
        url = f"volatile:?hash_ids={name == 'one'}"  # two stores by two URLs
        site = serve(PAGES, store_url=url)
        assert site.get("/visit", site.cookie("/visit")).text == "2"
        assert set_up[-1] is tool._by_url[url].store
    assert len(set_up) == 2


def test_01_stores_do_not_mix(serve: Serve, tmp_path: Path) -> None:
    one, two = (serve(PAGES, store_url=f"directory:{tmp_path}/{name}?create=true") for name in ("one", "two"))
    cookie = one.cookie("/visit")
    assert (one.get("/look", cookie).text, two.get("/look", cookie).text) == ("1", "None")


def test_02_every_store_is_cleaned(serve: Serve, tmp_path: Path) -> None:
    """By a thread of its own: also where the class is derived from one that cleans already."""
    class Derived(session2_cherrypy.StoreSession):
        pass

    stores = []
    for name, storage_class in (("one", session2_cherrypy.StoreSession), ("two", Derived)):
        url = f"directory:{tmp_path}/{name}?create=true"
        serve(PAGES, store_url=url, clean_freq=0.001, storage_class=storage_class, timeout=0.00001).get("/visit")
        stores.append(tool._by_url[url].store)
    try:
        monitors = [cleaning._monitors()[store] for store in stores]
        assert len({monitor.thread.name for monitor in monitors}) == 1
        assert len({monitor.thread.ident for monitor in monitors}) == 2
        for name in ("one", "two"):
            end = time.monotonic() + 60
            while records(tmp_path / name):
                assert time.monotonic() < end
                time.sleep(0.01)
    finally:
        for store in stores:
            cleaning.stop_cleaning(store)


@pytest.mark.parametrize("fork", [os.fork, fork_in_c], ids=["python", "c"])
def test_02_a_forked_worker_cleans_too(store: Any, fork: Callable[[], int]) -> None:
    """Threads do not outlive a fork, and what another one held stays locked."""
    cleaning.keep_clean(store, 5)
    inside, leave = threading.Event(), threading.Event()
    busy = threading.Thread(target=cleaning._starting.run, args=(lambda: (inside.set(), leave.wait(60)), 60, ""))
    busy.start()
    inside.wait(60)
    child = fork()
    if not child:
        signal.alarm(30)
        cleaning.keep_clean(store, 5)
        os._exit(0 if cleaning._monitors()[store].thread.is_alive() else 1)
    status = os.waitpid(child, 0)[1]
    leave.set()
    busy.join()
    assert status == 0


@pytest.mark.parametrize("never", [0, None, False, -1])
def test_02_no_thread_where_none_is_wanted(serve: Serve, manager: Any, store: Any, never: Any) -> None:
    serve(PAGES, manager=manager, clean_freq=never).get("/visit")
    assert store not in cleaning._monitors()
    serve(PAGES, manager=manager, clean_freq=5).get("/visit")
    assert cleaning._monitors()[store].frequency == 300


def test_03_cleaning_leaves_locks_alone(serve: Serve, manager: Any, clock: Clock) -> None:
    def page() -> str:
        visit()
        cherrypy.session.clean_up()
        assert cherrypy.session.locked
        with pytest.raises(LockTimeout):
            manager.store.lock(cherrypy.session.session.key, timeout=0)
        return "still locked"

    site = serve({**PAGES, "page": page}, manager=manager)
    cookie = site.cookie("/visit")
    site.get("/visit")
    clock.advance(14 * 86400 - 5400)
    site.get("/look", cookie)  # who comes vouches for the clock
    clock.advance(5401)
    assert site.get("/page", cookie).text == "still locked"
    assert site.get("/look", cookie).text == "2"
    assert len(list(manager.store._records)) == 1, "the expired one is gone"


def test_04_value_that_cannot_be_stored_costs_nothing_else(serve: Serve, tmp_path: Path) -> None:
    def page() -> str:
        cherrypy.session["key"] = lambda: None
        return "never sent"

    site = serve({**PAGES, "page": page}, store_url=f"directory:{tmp_path}/sessions?create=true")
    cookie = site.cookie("/visit")
    assert "key" in site.get("/page", cookie, status=500).text
    assert site.get("/look", cookie).text == "1"


def test_04_value_that_cannot_be_stored_may_be_put_right(serve: Serve, manager: Any) -> None:
    def page() -> str:
        cherrypy.session["n"] = lambda: None
        with pytest.raises(SerializationError):
            cherrypy.session.save()
        cherrypy.session["n"] = 50
        return "right"

    site = serve({**PAGES, "page": page}, manager=manager)
    cookie = site.cookie("/visit")
    assert site.get("/page", cookie).text == "right"
    assert site.get("/look", cookie).text == "50"


def test_04_damaged_record_is_a_missing_session(serve: Serve, tmp_path: Path) -> None:
    url = f"directory:{tmp_path}/sessions?create=true"
    site = serve(PAGES, store_url=url)
    cookie = site.cookie("/visit")
    (file,) = records(tmp_path / "sessions")
    file.write_bytes(file.read_bytes()[:50])
    assert site.get("/look", cookie).text == "None"
    cleaning.clean(tool._by_url[url].store)
    assert site.get("/visit", site.cookie("/visit", cookie)).text == "2"


def test_04_cleaning_survives_errors(store: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) \
        -> None:
    cleaned = threading.Event()
    attempts: list[int] = []

    def purge(*_: Any) -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("the disk is on fire")
        cleaned.set()
        return 0

    monkeypatch.setattr(store, "purge", purge)
    cleaning.keep_clean(store, 0.0001)
    wait(cleaned)
    assert "the disk is on fire" in caplog.text


def test_04_no_live_session_is_cleaned_by_a_clock_that_is_ahead(serve: Serve, manager: Any, clock: Clock,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("session2.store.cleaning.elapsed", lambda: 60.0)  # seconds since the machine was started
    site = serve(PAGES, manager=manager)
    cookie = site.cookie("/visit")
    clock.advance(30 * 86400)
    site.cookie("/visit")
    cleaning.clean(manager.store)
    clock.advance(-30 * 86400)
    assert site.get("/look", cookie).text == "1"


def test_05_locks_leave_nothing_behind(serve: Serve, tmp_path: Path) -> None:
    site = serve(PAGES, store_url=f"directory:{tmp_path}/sessions?create=true")
    cookie = site.cookie("/visit")
    site.get("/visit", cookie)
    site.get("/look", "session_id=" + "x" * 43)
    assert len(records(tmp_path / "sessions")) == 1
    answer = site.get("/look", cookie + ".lock")
    assert (answer.text, answer.all("Set-Cookie")) == ("None", [])


def test_06_wait_for_a_lock_has_an_end(serve: Serve, store: Any) -> None:
    manager = SessionManager(store, DictSession, lock_timeout=0.01)
    site = serve(PAGES, manager=manager)
    cookie = site.cookie("/visit")
    with manager.lock(cookie.partition("=")[2]):
        assert site.get("/visit", cookie, status=503).all("Retry-After") == ["1"]
        assert site.get("/visit").text == "1"


def test_06_lock_of_a_dead_request_is_taken_over(serve: Serve, store: Any, clock: Clock) -> None:
    manager = SessionManager(store, DictSession, lock_timeout=60, lock_lease=60)
    site = serve(PAGES, manager=manager)
    cookie = site.cookie("/visit")
    manager.lock(cookie.partition("=")[2])  # never released
    clock.advance(61)
    assert site.get("/visit", cookie).text == "2"


@pytest.mark.parametrize(("renewed", "status"), [(True, 200), (False, 409)])
@pytest.mark.parametrize("locking", ["implicit", "explicit"])
def test_06_request_that_outlives_its_lease(serve: Serve, store: Any, clock: Clock, locking: str, renewed: bool,
                                            status: int) -> None:
    """It may renew the lease; else another request takes the lock over, and this one can no longer write."""
    manager = SessionManager(store, DictSession, lock_timeout=0, lock_lease=60)

    def count() -> str:
        if locking == "explicit":
            look()
            cherrypy.session.acquire_lock()
        return visit()

    def page() -> str:
        count()
        clock.advance(59)
        if renewed:
            cherrypy.session.renew_lock()
        clock.advance(2)
        site.get("/count", cookie, status=503 if renewed else 200)
        return "done"

    site = serve({**PAGES, "page": page, "count": count}, manager=manager, locking=locking)
    cookie = site.cookie("/visit")
    site.get("/page", cookie, status=status)
    assert site.get("/look", cookie).text == "2"


def test_07_two_processes_lose_nothing(tmp_path: Path) -> None:
    """Default settings: the requests of one session take turns, in whatever process."""
    server = f"{Path(__file__).with_name('test_cherrypy.py')}:serve_by_default"
    with Site(server, tmp_path, 2) as site, Gate() as gate:
        browser = site.browser()
        browser.get("/increment")
        with ThreadPoolExecutor(1) as pool:
            passing = pool.submit(gate.pass_in_groups, 40, 1)
            in_parallel(browser, [("/increment", {"gate": gate.port})] * 40, 8)
            passing.result()
        assert browser.get("/items").json() == {"count": 41}


def test_08_length_is_known_and_nothing_grows(serve: Serve, manager: Any, store: Any) -> None:
    site = serve({**PAGES, "count": lambda: str(len(cherrypy.session))}, manager=manager)
    cookies = [site.cookie("/visit") for _ in range(3)]
    for cookie in cookies:
        site.get("/visit", cookie)
    assert site.get("/count").text == "3"
    assert len(store._records) == 3


def test_08_cookie_is_never_a_key(serve: Serve, manager: Any, store: Any) -> None:
    site = serve(PAGES, manager=manager)
    cookie = site.cookie("/visit")
    (key,) = store._records
    assert key not in cookie
    for value in (key, key[:43], "lock-" + key, "a key\tof memcached"):
        assert site.get("/look", f"session_id={value}").text == "None"


def test_09_lock_is_released_from_any_thread(serve: Serve, manager: Any) -> None:
    def page() -> str:
        visit()
        session = cherrypy.serving.session
        thread = threading.Thread(target=session.release_lock)
        thread.start()
        thread.join()
        manager.lock(session.id).release()
        return str(session.locked)

    site = serve({**PAGES, "page": page}, manager=manager)
    cookie = site.cookie("/visit")
    assert site.get("/page", cookie).text == "False"
    assert site.get("/look", cookie).text == "2"


def test_10_regenerate_before_the_first_look_keeps_the_data(serve: Serve, manager: Any, store: Any) -> None:
    def page() -> str:
        cherrypy.tools.sessions.regenerate()
        return str(cherrypy.session.id)

    site = serve({**PAGES, "page": page}, manager=manager)
    old = site.cookie("/visit")
    answer = site.get("/page", old)
    (header,) = answer.all("Set-Cookie")
    assert header.startswith(f"session_id={answer.text};")
    assert site.get("/look", header.partition(";")[0]).text == "1"
    assert site.get("/look", old).text == "None"
    assert len(list(manager)) == 1


def test_10_requests_under_way_are_not_logged_out(serve: Serve, manager: Any) -> None:
    loaded, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        visit()
        loaded.set()
        wait(go_on)
        return "slow"

    site = serve({**PAGES, "slow": slow, "page": lambda: str(cherrypy.session.regenerate())}, manager=manager,
                 locking="merge")
    old = site.cookie("/visit")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(site.get, "/slow", old)
        wait(loaded)
        new = site.cookie("/page", old)
        go_on.set()
        assert (answer.result().text, answer.result().all("Set-Cookie")) == ("slow", [])
    assert site.get("/look", new).text == "1"


def test_10_regenerate_and_lock(serve: Serve, manager: Any) -> None:
    def page() -> str:
        cherrypy.session.regenerate()
        id = cherrypy.session.id
        cherrypy.session.acquire_lock()
        assert cherrypy.session.id == id
        visit()
        return str(id)

    site = serve({**PAGES, "page": page}, manager=manager, locking="explicit")
    answer = site.get("/page", site.cookie("/visit"))
    assert site.get("/look", f"session_id={answer.text}").text == "2"


def test_11_regenerated_cookie_keeps_its_attributes(serve: Serve, manager: Any) -> None:
    site = serve({**PAGES, "page": lambda: str(cherrypy.tools.sessions.regenerate())}, manager=manager,
                 persistent=False, httponly=True, domain="shop.example", path="/")
    (first,) = (answer := site.get("/visit")).all("Set-Cookie")
    (second,) = site.get("/page", first.partition(";")[0]).all("Set-Cookie")
    assert first.partition(";")[2] == second.partition(";")[2]
    assert "expires" not in second
    assert "Max-Age" not in second
    assert answer.text == "1"


def test_12_delete_is_not_undone(serve: Serve, manager: Any, store: Any) -> None:
    def page() -> str:
        visit()
        cherrypy.session.delete()
        return "deleted"

    site = serve({**PAGES, "page": page}, manager=manager)
    cookie = site.cookie("/visit")
    assert "Max-Age=0" in site.get("/page", cookie).all("Set-Cookie")[0]
    assert site.get("/look", cookie).text == "None"
    assert list(store.iter_sessions()) == []


def test_12_data_after_delete_is_of_a_new_session(serve: Serve, manager: Any) -> None:
    def page() -> str:
        cherrypy.session.delete()
        cherrypy.session.delete()
        return visit()

    site = serve({**PAGES, "page": page}, manager=manager)
    old = site.cookie("/visit")
    new = site.cookie("/page", old)
    assert (site.get("/look", old).text, site.get("/look", new).text) == ("None", "1")


def test_13_expire_ends_the_session_in_the_store(serve: Serve, manager: Any, store: Any) -> None:
    site = serve({**PAGES, "page": lambda: str(cherrypy.lib.sessions.expire())}, manager=manager)
    cookie = site.cookie("/visit")
    (header,) = site.get("/page", cookie).all("Set-Cookie")
    assert header.startswith("session_id=;")
    assert "expires=Thu, 01 Jan 1970 00:00:00 GMT" in header
    assert list(store.iter_sessions()) == []
    assert site.get("/page").all("Set-Cookie") == []


def test_13_save_and_release_at_will(serve: Serve, manager: Any) -> None:
    def page() -> str:
        for _ in range(3):
            visit()
            cherrypy.session.save()
            cherrypy.session.release_lock()
            cherrypy.session.release_lock()
        (session,) = manager.values()
        assert session["n"] == 3
        return visit()

    site = serve({**PAGES, "page": page}, manager=manager)
    assert site.get("/look", site.cookie("/page")).text == "4"


def test_13_emptied_saved_and_filled_again(serve: Serve, manager: Any) -> None:
    def page() -> str:
        cherrypy.session.clear()
        cherrypy.session.save()
        return visit()

    site = serve({**PAGES, "page": page}, manager=manager)
    old = site.cookie("/visit")
    new = site.cookie("/page", old)
    assert (site.get("/look", old).text, site.get("/look", new).text) == ("None", "1")


def test_13_lock_that_is_released_early(serve: Serve, manager: Any) -> None:
    """What is changed without the lock is merged; nothing newer is overwritten, and nobody has to wait."""
    released, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        cherrypy.session["slow"] = look()
        cherrypy.session.release_lock()
        released.set()
        wait(go_on)
        return "slow"

    def both() -> str:
        return f"{cherrypy.session.get('n')} {cherrypy.session.get('slow')}"

    site = serve({**PAGES, "slow": slow, "both": both}, manager=manager)
    cookie = site.cookie("/visit")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(site.get, "/slow", cookie)
        wait(released)
        assert site.get("/visit", cookie).text == "2"
        go_on.set()
        assert answer.result().text == "slow"
    assert site.get("/both", cookie).text == "2 1"


def test_13_release_before_the_first_look_needs_no_lock(serve: Serve, store: Any) -> None:
    def page() -> str:
        cherrypy.session.release_lock()
        return look()

    manager = SessionManager(store, DictSession, lock_timeout=0)
    site = serve({**PAGES, "page": page}, manager=manager)
    cookie = site.cookie("/visit")
    with manager.lock(cookie.partition("=")[2]):
        assert site.get("/page", cookie).text == "1"


def test_13_explicit_lock_sees_what_others_stored(serve: Serve, manager: Any) -> None:
    def page() -> str:
        look()
        (other,) = manager.values()
        other["n"] = 10
        manager.save(other)
        cherrypy.session["mine"] = 1
        cherrypy.session.acquire_lock()
        cherrypy.session.acquire_lock()
        with pytest.raises(LockTimeout):
            manager.store.lock(cherrypy.session.session.key, timeout=0)
        visit()
        cherrypy.session.release_lock()
        manager.lock(cherrypy.session.id).release()
        return f"{cherrypy.session['n']} {cherrypy.session['mine']}"

    site = serve({**PAGES, "page": page}, manager=manager, locking="explicit")
    cookie = site.cookie("/visit")
    assert site.get("/page", cookie).text == "11 1"
    assert site.get("/look", cookie).text == "11"


def test_13_acquire_again_after_release(serve: Serve, manager: Any) -> None:
    def page() -> str:
        session = cherrypy.session
        look()
        first = session.locked
        session.release_lock()
        second = session.locked
        session.acquire_lock()
        return f"{first} {second} {session.locked}"

    site = serve({**PAGES, "page": page}, manager=manager)
    assert site.get("/page", site.cookie("/visit")).text == "True False True"


def test_14_no_cookie_before_there_is_something_to_keep(serve: Serve, manager: Any, store: Any) -> None:
    site = serve({**PAGES, "load": lambda: str(cherrypy.session.load())}, manager=manager)
    for path in ("/look", "/load"):
        assert site.get(path).all("Set-Cookie") == []
    assert list(store.iter_sessions()) == []


def test_14_login_leaves_a_planted_id_behind(serve: Serve, manager: Any) -> None:
    site = serve({**PAGES, "login": lambda: str(cherrypy.session.set_user("ada")),
                  "who": lambda: str(cherrypy.session.user)}, manager=manager)
    planted = site.cookie("/visit")  # the attacker's own, alive, and put into the victim's browser
    victim = site.cookie("/login", planted)
    assert victim != planted
    assert (site.get("/who", planted).text, site.get("/who", victim).text) == ("None", "ada")


def test_15_reading_writes_nothing(serve: Serve, manager: Any, store: Any) -> None:
    site = serve(PAGES, manager=manager, locking="merge")
    cookie = site.cookie("/visit")
    before = dict(store._records)
    answer = site.get("/look", cookie)
    assert (answer.text, answer.all("Set-Cookie")) == ("1", [])
    assert store._records == before


def test_15_clock_and_cookie_move_together(serve: Serve, store: Any, clock: Clock) -> None:
    site = serve(PAGES, manager=SessionManager(store, DictSession, idle_timeout=1000, touch_interval=100))
    cookie = site.cookie("/visit")
    clock.advance(101)
    assert "Max-Age=1000" in site.get("/look", cookie).all("Set-Cookie")[0]
    ((_, record),) = store.scan()
    assert record.expires == clock.now + 1000


@pytest.fixture
def time_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    before = os.environ.get("TZ")

    def move(zone: str) -> None:
        os.environ["TZ"] = zone
        time.tzset()

    yield move
    os.environ.pop("TZ")
    if before is not None:
        os.environ["TZ"] = before
    time.tzset()


def test_16_time_zone_is_of_no_importance(serve: Serve, manager: Any, time_zone: Callable[[str], None]) -> None:
    site = serve(PAGES, manager=manager, timeout=60)
    time_zone("UTC+12")
    cookie = site.cookie("/visit")
    time_zone("UTC-12")
    assert site.get("/look", cookie).text == "1"


def test_16_lifetime_has_an_end(serve: Serve, store: Any, clock: Clock) -> None:
    site = serve(PAGES, manager=SessionManager(store, DictSession, idle_timeout=600, lifetime=1000, touch_interval=0))
    cookie = site.cookie("/visit")
    clock.advance(599)
    assert site.get("/look", cookie).text == "1"
    clock.advance(402)
    assert site.get("/look", cookie).text == "None"


class Canary:
    sung = False

    def __reduce__(self) -> Any:
        return Canary.sing, ()

    @staticmethod
    def sing() -> str:
        Canary.sung = True
        return "sung"


def test_17_pickle_is_not_the_only_way(serve: Serve, tmp_path: Path) -> None:
    url = f"directory:{tmp_path}/sessions?create=true&serializer=json"
    site = serve(PAGES, store_url=url)
    cookie = site.cookie("/visit")
    store = tool._by_url[url].store
    assert isinstance(store, DirectorySessionStore)
    ((key, record),) = store.scan()
    assert b'"n":1' in record.data.replace(b" ", b"")
    store.write(key, record._replace(data=pickle.dumps({"data": Canary()})), record.version)
    assert site.get("/look", cookie).text == "None"
    assert not Canary.sung
