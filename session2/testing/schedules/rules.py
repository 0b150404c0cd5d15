"""The rules that every schedule must keep, whatever overlaps and whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Final, NamedTuple

from ... import tokens, traces
from ...found import Absence
from ...record import Record
from ...sessions import PROVISIONAL
from .course import Course
from .programs import LOOK, MINUTE, Deed, Request
from .world import NOON, is_provisional


class Kept(NamedTuple):
    """A session that lives at the end."""

    key: str
    record: Record
    began: float
    state: dict[str, Any]

    @property
    def items(self) -> dict[str, Any]:
        data: dict[str, Any] = self.state["data"]
        return data


class End:
    """How a run came out."""

    def __init__(self, course: Course) -> None:
        self.course, self.world, self.browser = course, course.world, course.browser
        self.requests = course.requests
        self.fault = next((point.chosen.fault for point in course.points if point.chosen.fault), "")
        self.first = NOON - (course.scenario.age or 0)
        """When the session began that was there at the beginning."""
        self.cookie = self.browser.cookie
        self.was_rotated = self._leads_to_a_login()
        """Whether a login has taken the place of the session that a cookie of the browser stood for."""
        self.locks: list[str] = []
        self.before = self._sessions()
        """As all were over."""
        self.reached = self.world.reach(self.cookie)
        self.reachable = {key for id, _ in self.browser.given if (key := self.world.reach(id)) is not None}
        """What any cookie leads to that the browser was ever given."""
        self.claims = {key for id in self.browser.claims
                       if (key := self.world.reach(id)) is not None and not self._was_cut_off(key)}
        """What the newest of them leads to that lived when it was given."""
        self.untold = {request.number for request in self.requests if self._is_untold(request)}
        """Those whose new session stands, and who could not say so: nothing can be done for them."""
        if not course.world.complaints:
            self._settle_down()
        self.sessions = self._sessions()
        """When a while has passed too."""

    def _settle_down(self) -> None:
        """Let the processes that live serve another request, and what is provisional go."""
        for request in self.requests:
            if request.status != "crashed":
                request.manager.sessions.release_left()
        self.course.alone(LOOK)
        self.locks = [key for key, _ in self.world.back.scan() if traces.is_lock(key)]
        if self.fault:
            self.world.now += PROVISIONAL + 1
            self.course.alone(LOOK)

    def _sessions(self) -> list[Kept]:
        serializer = self.requests[0].store.serializer
        return [Kept(key, record, record.created, serializer.loads(serializer.open(record.data, key)))
                for key, record in self.world.back.scan() if traces.is_session(key, record)]

    def _was_cut_off(self, key: str) -> bool:
        """Tell whether who made a session's id, or went on from an emptied one, could not tell the browser."""
        untold = [request for request in self.requests
                  if request.is_uncertain or (request.status != "answered" and request.stores_midway)]
        was_emptied = any(deed.kind == "empty" for _, deed in self.certain)
        return any(self.world.makers[key] == request.number
                   or (was_emptied and self.world.reach(request.came_with) == key) for request in untold)

    def _is_untold(self, request: Request) -> bool:
        if request.status in ("crashed", "interrupted"):
            stands = self.world.reach(request.came_with)
            return request.stores_midway or stands is None or self.world.makers[stands] == request.number
        return request.status != "answered" and request.stores_midway

    def _leads_to_a_login(self) -> bool:
        records = [self.world.follow(id)[1] for id, _ in self.browser.given]
        return any(record is not None and traces.absence_of(record)[0] is Absence.ROTATED for record in records)

    def of(self, session: float) -> list[Kept]:
        """Return what lives of a session."""
        return [kept for kept in self.sessions if kept.began == session]

    @cached_property
    def uncertain(self) -> list[Deed]:
        """What may be done or not, nobody was told."""
        return [deed for request in self.requests if request.is_uncertain for deed in request.done]

    @cached_property
    def certain(self) -> list[tuple[Request, Deed]]:
        return [(request, deed) for request in self.requests for deed in request.acknowledged]

    @cached_property
    def possible(self) -> list[tuple[Request, Deed]]:
        """What was done, and what may be; what is called from outside may be half done."""
        return [*self.certain, *((request, deed) for request in self.requests
                                 if request.is_uncertain or request.program.outside for deed in request.done)]

    def may_have_ended(self, session: float) -> bool:
        """Tell whether somebody may have ended a session."""
        for _, deed in self.possible:
            if deed.kind in ("log out", "end") and deed.session == session:
                return True
            if deed.kind == "revoke":
                return True
            if deed.kind == "log in" and dict(self.course.scenario.options).get("max_sessions"):
                return True
        return False

    def is_emptied(self, deed: Deed) -> bool:
        """Tell whether somebody emptied a session who may have loaded it after something was stored in it."""
        return deed.is_stored and self.emptied_after(deed.session, deed.moment)

    def emptied_after(self, session: float, moment: int) -> bool:
        """Tell whether somebody emptied a session who may have loaded it after a moment."""
        return any(deed.kind == "empty" and deed.session == session and request.loaded > moment
                   for request, deed in self.possible)


# -- the rules -----------------------------------------------------------------------------------------------------


def nothing_acknowledged_is_lost(end: End) -> Iterator[str]:
    for request, deed in end.certain:
        if deed.kind not in ("set", "add") or end.is_emptied(deed):
            continue
        lives = end.of(deed.session)
        if not lives and (end.may_have_ended(deed.session) or _comes_late(request, deed)):
            continue
        if not lives and (_lost_in_a_crash(end) or _was_left_behind(end, deed.session)):
            continue
        if not any(deed.name in kept.items for kept in lives) and not _was_replaced(end, request, deed):
            yield f"nothing acknowledged is lost: {request.program.name!r} was told that {deed.name!r} is stored"


def _comes_late(request: Request, deed: Deed) -> bool:
    """Tell whether a session would have begun for a browser that has another one since a moment ago."""
    return request.absence is Absence.ROTATED and maker_of(deed.session) == request.number


def _was_replaced(end: End, request: Request, deed: Deed) -> bool:
    """Tell whether another request logged in before this one could store anything: the id it knew was dead by then."""
    return not deed.is_stored and any(other is not request and login.kind == "log in" and login.session == deed.session
                                      for other, login in end.possible)


def maker_of(session: float) -> int:
    """Return which program began a session; 0: it was there from the beginning."""
    return round(session * 1000) % 1000


def nothing_is_counted_twice(end: End) -> Iterator[str]:
    for name in ("n", "locked"):
        for session in {deed.session for _, deed in end.possible if deed.kind == "add" and deed.name == name}:
            yield from _counted(end, session, name)


def _counted(end: End, session: float, name: str) -> Iterator[str]:
    adds = [(request, deed) for request, deed in end.possible
            if (deed.kind, deed.name, deed.session) == ("add", name, session)]
    sure = sum(1 for request, deed in adds if deed in request.acknowledged
               and not end.is_emptied(deed) and not _was_replaced(end, request, deed))
    base = {"n": 5, "locked": 0}[name] if session == end.first else 0
    emptied = any(deed.kind == "empty" and deed.session == session for _, deed in end.possible)
    for kept in end.of(session):
        least, most = base * (not emptied) + sure, base + len(adds)
        if not least <= kept.items.get(name, 0) <= most:
            yield (f"all that is added is counted once: {name!r} is {kept.items.get(name, 0)} and should be "
                   f"{least}" + (f" to {most}" if most > least else ""))


def nothing_ended_comes_back(end: End) -> Iterator[str]:
    for request, deed in end.certain:
        if deed.kind in ("log out", "end"):
            logged_in = any(other.kind == "log in" and other.session == deed.session for _, other in end.possible)
            if end.of(deed.session) and not logged_in:
                yield f"nothing ended comes back: {request.program.name!r} was told that the session is over"
        if deed.kind == "revoke" and any(kept.state.get("user") == deed.name for kept in end.sessions):
            yield "nothing ended comes back: the sessions of the user were revoked"
        changed = any(other.kind in ("set", "add", "log in", "renew") for _, other in end.possible)
        if deed.kind == "empty" and not changed and end.of(deed.session) and not _was_replaced(end, request, deed):
            yield "nothing ended comes back: nothing was left in the session"


def what_nobody_ended_lives(end: End) -> Iterator[str]:
    if end.course.scenario.age is None or end.may_have_ended(end.first) or _lost_in_a_crash(end):
        return
    lives, emptied = end.of(end.first), end.emptied_after(end.first, -1)
    if _was_left_behind(end, end.first):
        return
    if not lives and not emptied:
        yield "what nobody ended lives: the session of the beginning is gone"
    if lives and not emptied and not all(kept.items.get("colour") == "blue" for kept in lives):
        yield "nothing acknowledged is lost: what the session held from the beginning"


def _lost_in_a_crash(end: End) -> bool:
    """Tell whether a login or logout was cut off when the old id was dead already and nobody was told the new one."""
    cut_off = any(request.status in ("crashed", "interrupted")
                  and any(deed.kind in ("log in", "empty") for deed in request.done) for request in end.requests)
    return cut_off and (end.was_rotated or end.world.is_late)  # the trace does not last


def _was_left_behind(end: End, session: float) -> bool:
    """Tell whether the browser has another session by now: what is provisional of this one, after a fault, may go."""
    return bool(end.fault) and any(kept.key == end.reached and kept.began != session for kept in end.before)


def the_browser_has_the_newest_cookie_that_lives(end: End) -> Iterator[str]:
    if end.reached is None and any(not _crossed_an_end(end, key) for key in end.claims):
        yield "the browser is left with the newest cookie that lives: it was given one that does, and has another"
    for number in end.browser.forgot:
        deeds = end.requests[number - 1].acknowledged if number <= len(end.requests) else []
        if not any(deed.kind in ("log out", "empty") for deed in deeds):
            yield "a cookie is deleted only by the request that itself ended the session"
    yield from _the_one_of_the_login(end)


def _crossed_an_end(end: End, key: str) -> bool:
    """Tell whether the browser was given a session while another one of it was being ended: both answers are right."""
    if not end.browser.forgot or end.browser.forgot[-1] > len(end.requests):
        return False
    began = end.world.back.read(key)
    last = end.requests[end.browser.forgot[-1] - 1]
    return began is not None and any(
        deed.kind in ("log out", "empty") and (deed.session != began.created or end.world.is_late)
        for deed in last.acknowledged)


def _the_one_of_the_login(end: End) -> Iterator[str]:
    has = next((kept for kept in end.before if kept.key == end.reached), None)
    if has is None or has.state.get("user") is not None:
        return
    begun_by = maker_of(has.began)
    if 0 < begun_by <= len(end.requests) and _began_rightly(end.requests[begun_by - 1]):
        return
    if any(kept.key in end.reachable and kept.state.get("user") is not None and not _came_without(end, kept)
           for kept in end.before):
        yield "the browser is left with the newest cookie that lives: it has an anonymous one in place of a login's"


def _came_without(end: End, kept: Kept) -> bool:
    """Tell whether a session began in a request that had no cookie: nothing links it to another one."""
    maker = maker_of(kept.began)
    return 0 < maker <= len(end.requests) and end.requests[maker - 1].came_with is None


def _began_rightly(request: Request) -> bool:
    """Tell whether a request may begin a session: it could know of no other, or the other was ended or is forgotten."""
    return request.came_with is None or request.absence in (Absence.ENDED, Absence.UNKNOWN) \
        or any(deed.kind == "log out" for deed in request.acknowledged)


def a_failed_request_leaves_all_as_it_was(end: End) -> Iterator[str]:
    for request in end.requests:
        if request.status == "answered" or request.is_uncertain:
            continue
        for deed in request.done:
            if deed.kind == "set" and any(deed.name in kept.items for kept in end.sessions):
                yield f"a failed request leaves all as it was: {deed.name!r} of {request.program.name!r} is stored"
            others = any(other.kind == "log in" for _, other in end.possible)
            if deed.kind == "log in" and not others and any(kept.state.get("user") == deed.name
                                                            for kept in end.sessions):
                yield f"a failed request leaves all as it was: the login of {request.program.name!r} is stored"


def nothing_is_out_of_reach(end: End) -> Iterator[str]:
    given = {tokens.hash_id(id) for id, _ in end.browser.given}
    excused = {0, *end.untold}
    for kept in end.sessions:
        if kept.key not in given and kept.key not in end.reachable and end.world.makers[kept.key] not in excused:
            yield f"no record that nobody can reach: {end.world.name_of(kept.key)}"


def what_lives_is_not_provisional(end: End) -> Iterator[str]:
    if end.fault:
        return
    for kept in end.before:
        if is_provisional(kept.record, end.world.now):
            yield f"what was stored lives on: {end.world.name_of(kept.key)} is provisional"


def no_lock_is_left(end: End) -> Iterator[str]:
    if end.fault != "crash" and end.locks:
        yield f"a lock that nobody holds is free: {end.world.name_of(end.locks[0])}"


def all_goes_well(end: End) -> Iterator[str]:
    if end.fault:
        return
    for request in end.requests:
        if request.status == "unavailable" or (request.status == "refused" and not _may_refuse(end)):
            yield f"what can be done is done: {request.program.name!r} ended with {request.error!r}"


def _may_refuse(end: End) -> bool:
    return MINUTE in end.course.scenario.programs or dict(end.course.scenario.options).get("concurrency") == "strict"


RULES: Final[tuple[Callable[[End], Iterator[str]], ...]] = (
    nothing_acknowledged_is_lost, nothing_is_counted_twice, nothing_ended_comes_back, what_nobody_ended_lives,
    the_browser_has_the_newest_cookie_that_lives, a_failed_request_leaves_all_as_it_was, nothing_is_out_of_reach,
    what_lives_is_not_provisional, no_lock_is_left, all_goes_well)


def complaints(course: Course) -> tuple[str, ...]:
    """Return which rules a run broke, and how."""
    end = End(course)
    return tuple(course.world.complaints) or tuple(found for rule in RULES for found in rule(end))
