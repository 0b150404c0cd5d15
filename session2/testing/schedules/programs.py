"""Programs: what one request does to its session, one act after another; and others than requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, NamedTuple

from ... import merge
from ...concurrency import Concurrency
from ...errors import SessionError, StoreUnavailable
from ...found import Absence
from ...manager import SessionManager
from ...session import DictSession
from ..fakes import FakeExchange
from .baton import Op, Stopped
from .world import Crash, Interrupt, SteppedStore, World

Kind = Literal["set", "add", "empty", "log in", "log out", "revoke", "end", "renew"]

Status = Literal["begun", "answered", "failed", "refused", "unavailable", "interrupted", "crashed"]
"""What became of a request: *failed* in the application, *refused* by us, *unavailable* where the store was."""


class Shop(DictSession):
    """What visitors have here."""

    merge_rules: ClassVar[dict[str, Any]] = {"n": merge.add}


class Fail(Exception):
    """The application fails."""


class Deed(NamedTuple):
    """What a request did to a session."""

    kind: Kind
    session: float
    """Which session, by the time at which it began."""
    name: str = ""
    moment: int = 0
    """When it was done, and once acknowledged, when it was stored: how long the story was."""
    is_stored: bool = False
    """Whether the request stored anything after it was done."""


@dataclass
class Browser:
    """The cookie of a visitor, as its answers left it."""

    cookie: str | None = None
    given: list[tuple[str, int]] = field(default_factory=list)
    """Each id it was ever given, and by which program."""
    claims: list[str] = field(default_factory=list)
    """The newest id that lived when it was given."""
    forgot: list[int] = field(default_factory=list)
    """The programs that made it forget its cookie."""


class Request:
    """A program under way: one request of a browser to a process of its own."""

    def __init__(self, program: Program, number: int, world: World, store: SteppedStore,
                 manager: SessionManager[Any], browser: Browser) -> None:
        self.program, self.number = program, number
        self.world, self.store, self.manager, self.browser = world, store, manager, browser
        self.exchange = FakeExchange()
        self.came_with: str | None = None
        self.loaded = 0
        """When it had its session: how long the story was."""
        self.status: Status = "begun"
        self.error: Exception | None = None
        self.done: list[Deed] = []
        """What it did and was not yet told to be stored."""
        self.acknowledged: list[Deed] = []
        self.absence: Absence | None = None
        self.stores_midway = False

    @property
    def session(self) -> Any:
        return self.exchange.session

    @property
    def is_uncertain(self) -> bool:
        """Whether nobody can know how far it came."""
        return self.status in ("crashed", "interrupted") or (
            self.status == "unavailable" and self.store.fault == "lost answer")

    def did(self, kind: Kind, name: str = "") -> None:
        """Note what was done to the session that the request has now."""
        self.done.append(Deed(kind, self.session.creation_time, name, len(self.world.story)))

    def run(self) -> None:
        """Serve the request to its end."""
        try:
            self.program.run(self)
            self.status = "answered"
        except (Crash, Stopped):
            self.status = "crashed"
        except Interrupt:
            self.status = "interrupted"
        except Fail:
            self.status = "failed"
        except StoreUnavailable as error:
            self.status, self.error = "unavailable", error
        except SessionError as error:
            self.status, self.error = "refused", error
        except Exception as error:
            self.status, self.error = "refused", error
            self.world.complaints.append(f"no request stumbles: {error!r}")
        if self.store.crashed:  # after its last step; nobody hears of it
            self.status = "crashed"
        self.world.inside.pop(self.number, None)
        self._answer()

    def serve(self, acts: tuple[Act, ...]) -> None:
        """Do what an adapter does for a request."""
        self.came_with = self.browser.cookie
        if self.came_with is not None:
            self.exchange.cookies["session2"] = self.came_with
        self.world.tell(self.number, "begins", after=self.with_cookie(self.came_with))
        try:
            self.manager.start_request(self.exchange, self.program.concurrency)
            self.absence, self.loaded = self.exchange.visit.absence, len(self.world.story)
            for act in acts:
                act(self)
            self.manager.finish_successful_request(self.exchange)
        except BaseException:
            self.manager.finish_failed_request(self.exchange)
            raise

    def acknowledge(self) -> None:
        """Note that the request was told that all it did is stored."""
        self.stores_midway |= self.status == "begun"
        for deed in self.done:
            wrote = next((moment for moment in self.store.wrote if moment >= deed.moment), None)
            self.acknowledged.append(deed._replace(moment=deed.moment if wrote is None else wrote,
                                                   is_stored=wrote is not None))
        self.done = []

    def deliver(self) -> None:
        """Let the browser have the cookies that were set."""
        for value, attributes in self.exchange.sent.values():
            if attributes.get("max_age") == 0:
                self.browser.cookie = None
                self.browser.forgot.append(self.number)
            else:
                self.browser.cookie = value
                self.browser.given.append((value, self.number))
                if self.world.reach(value) is not None:
                    self.browser.claims = [value]
        self.world.beside.append(Op("answer", "browser", True))
        told = self.exchange.cookie_sent
        self.exchange.sent.clear()
        self.world.tell(self.number, f"is {self.status}", after=self.with_cookie(told, "without a word on the cookie"))

    def with_cookie(self, id: str | None, none: str = "without a cookie") -> str:
        """Return the words for a cookie."""
        if id is None:
            return none
        return f"with the cookie {id.split('-A')[0]}" if id else "and the cookie is to be forgotten"

    def _answer(self) -> None:
        if self.status in ("crashed", "interrupted"):
            self.world.tell(self.number, f"is {self.status}")
            return
        if self.status == "answered":
            self.acknowledge()
        if self.error is not None:
            self.world.tell(self.number, f"ends with {self.error!r}")
        self.deliver()


Act = Callable[[Request], object]


@dataclass(frozen=True)
class Program:
    """What one request does, or one call outside of requests.

    :param outside: it is no request; the one act has the manager.
    """

    name: str
    acts: tuple[Act, ...] = ()
    concurrency: Concurrency | None = None
    outside: bool = False

    def run(self, request: Request) -> None:
        """Run to the end, or raise."""
        if not self.outside:
            request.serve(self.acts)
            return
        request.world.tell(request.number, "begins")
        for act in self.acts:
            act(request)


# -- acts ----------------------------------------------------------------------------------------------------------


def sets(request: Request) -> None:
    """Set an item of its own."""
    request.session[f"of {request.number}"] = True
    request.did("set", f"of {request.number}")


def sets_more(request: Request) -> None:
    """Set another item of its own."""
    request.session[f"more of {request.number}"] = True
    request.did("set", f"more of {request.number}")


def adds(request: Request) -> None:
    """Count, by a rule of merging."""
    request.session["n"] = request.session.get("n", 0) + 1
    request.did("add", "n")


def counts(request: Request) -> None:
    """Count without a rule: in a lock only."""
    request.session["locked"] = request.session.get("locked", 0) + 1
    request.did("add", "locked")


def empties(request: Request) -> None:
    """Take everything out."""
    request.session.clear()
    request.session.set_user(None)
    request.did("empty")


def logs_in(request: Request) -> None:
    """Log in as somebody else than anybody before."""
    request.session.set_user("bob")
    request.did("log in", "bob")


def logs_out(request: Request) -> None:
    """End the session."""
    if request.session.origin is not None:
        request.did("log out")
    request.manager.expire_session(request.exchange)


def settles(request: Request) -> None:
    """Store in mid-request, and let the headers go."""
    request.manager.settle_request(request.exchange)
    request.acknowledge()
    request.deliver()


def maintains(request: Request) -> None:
    """Store in mid-request for the sake of the id; the cookie goes with the answer."""
    request.manager.maintain_session(request.session, request.exchange)
    request.acknowledge()


def saves(request: Request) -> None:
    """Save by the manager in mid-request."""
    request.manager.save(request.session)
    request.acknowledge()


def renews(request: Request) -> None:
    """Give the session another id in mid-request, whose cookie goes with the answer."""
    request.did("renew")
    request.manager.rotate(request.session, grace=60.0)
    request.acknowledge()


def locks(request: Request) -> None:
    """Lock the session in mid-request."""
    request.manager.lock_request(request.exchange)


def works(request: Request) -> None:
    """Work for a while with the session locked: nobody else may."""
    session = request.session.creation_time
    request.world.beside.append(Op("work", "work", True))
    others = [other for number, other in request.world.inside.items() if number != request.number]
    if session in others and not request.world.is_late:
        request.world.complaints.append("a lock excludes: two requests work on one session at the same time")
    if request.session.origin is not None:
        request.world.inside[request.number] = session
    request.store.read("work")


def fails(request: Request) -> None:
    """Fail in the application."""
    raise Fail


def revokes(request: Request) -> None:
    """End all sessions of a user, from outside."""
    request.done.append(Deed("revoke", 0.0, "ann"))
    request.manager.revoke_user("ann")


def deletes(request: Request) -> None:
    """End the session that the browser has, from outside."""
    id = request.browser.cookie
    if id is not None:
        found = request.manager.load(id)
        if found is not None:
            request.done.append(Deed("end", found.creation_time))
            request.manager.delete(found)


def a_minute_passes(request: Request) -> None:
    """Let time pass."""
    request.world.now += 61.0
    request.world.is_late = True
    request.world.beside.append(Op("time", "*", True))
    request.world.tell(request.number, "lets a minute pass")


LOOK: Final = Program("look")
SET: Final = Program("set", (sets,))
ADD: Final = Program("add", (adds,))
EMPTY: Final = Program("empty", (empties,))
LOG_IN: Final = Program("log in", (logs_in,))
LOG_IN_SET: Final = Program("set and log in", (sets, logs_in))
LOG_OUT: Final = Program("log out", (logs_out,))
LOG_OUT_IN: Final = Program("log out and in", (logs_out, logs_in))
LOG_OUT_SET: Final = Program("log out and set", (logs_out, sets))
SETTLE: Final = Program("set, settle, set more", (sets, settles, sets_more))
SETTLE_ADD: Final = Program("add, settle", (adds, settles))
MAINTAIN: Final = Program("set, maintain, add", (sets, maintains, adds))
SAVE: Final = Program("add, save, set", (adds, saves, sets))
RENEW: Final = Program("renew by hand, set", (renews, sets))
FAIL: Final = Program("set and fail", (sets, adds, fails))
FAIL_LOG_IN: Final = Program("log in and fail", (logs_in, fails))
FAIL_LOG_OUT: Final = Program("log out and fail", (logs_out, fails))
REVOKE: Final = Program("revoke", (revokes,), outside=True)
DELETE: Final = Program("delete", (deletes,), outside=True)
MINUTE: Final = Program("time", (a_minute_passes,), outside=True)

COUNT: Final = Program("count in the lock", (works, counts), "lock")
LOCK_LATE: Final = Program("lock later and count", (locks, works, counts))
LOCK_LOOK: Final = Program("look in the lock", (works,), "lock")
LOCK_LOG_IN: Final = Program("log in in the lock", (works, counts, logs_in), "lock")
LOCK_LOG_OUT: Final = Program("log out in the lock", (works, logs_out), "lock")
LOCK_RENEW: Final = Program("renew in the lock", (works, renews, works, counts), "lock")
LOCK_NEW_ID: Final = Program("renew in the lock and tell at once", (renews, settles, works, counts), "lock")
LOCK_SETTLE: Final = Program("count, settle, count in the lock", (works, counts, settles, works, counts), "lock")
LOCK_EMPTY: Final = Program("empty in the lock", (works, empties), "lock")
