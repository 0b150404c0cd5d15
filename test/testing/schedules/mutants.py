"""Deliberate faults of the core, each put in place of what is right; `test_mutants.py` has schedules find them."""


from session2 import locking as locking_module
from session2 import merge as merging
from session2 import sessions as sessions_module
from session2 import traces
from session2 import visit as visit_module
from session2.codec import Codec
from session2.errors import Conflict, SessionConflict, StoreUnavailable
from session2.filing import Filing
from session2.manager import SessionManager
from session2.record import Outcome
from session2.saving import Saving
from session2.sessions import Sessions
from session2.visit import Visit


def sends_the_cookie_without_asking(patch):
    """Fault 2: a request that only looks sends the cookie again whatever became of its session."""
    patch.setattr(Sessions, "stands", lambda self, session: True)


def emptying_is_a_logout(patch):
    """Fault 7: what overlapping requests add to a session that is emptied is lost."""
    patch.setattr(traces, "emptied", lambda *_: traces.ended("nothing was left in it"))


def lock_is_of_the_key(patch):
    """Fault 8: a renewal leaves the lock on the old key."""
    patch.setattr(locking_module, "lock_name", lambda session: session._ties.key)
    patch.setattr(visit_module, "lock_name", lambda session: session._ties.key)
    patch.setattr(visit_module.Visit, "lock_ahead", lambda *_: None)


def lock_is_not_handed_on(patch):
    """A session that is renewed has another lock from then on, which nobody has."""
    patch.setattr(visit_module.Visit, "hand_on", lambda self, session, ahead: ahead.release())


def old_before_new(patch):
    """Fault 10: the old session is retired before the new one is stored."""
    def move(self, session, new_id, grace, instead_of):
        before, key = session._ties.origin, self.codec.key(new_id)
        self._retire_old(before, new_id, grace, instead_of)
        self.filing.write(session, new_id, key, self.codec.payload(session), None)
        return Outcome.SAVED
    patch.setattr(Sessions, "_move", move)


def leftovers_live(patch):
    """Fault 10: a login that is cut off leaves a record of full life that nobody can reach."""
    patch.setattr(sessions_module, "PROVISIONAL", 1e9)


def nothing_is_taken_back(patch):
    """Fault 10: a login that fails leaves its record, and it is not even provisional."""
    leftovers_live(patch)
    patch.setattr(Saving, "take_back", lambda self, key, payload: None)


def late_answer_drops_the_cookie(patch):
    """Fault 17: a request whose session was ended by another one has the browser forget its cookie."""
    keep = Visit._keep

    def keep_and_drop(self, session, *arguments, **options):
        keep(self, session, *arguments, **options)
        if session._ties.origin is not None and not self.sessions.stands(session):
            self._send_cookie(None)
    patch.setattr(Visit, "_keep", keep_and_drop)


def late_request_begins_anew(patch):
    """A request that comes with the id of before a login begins a session, whose cookie replaces that of the login."""
    patch.setattr(Visit, "_comes_late", lambda self, session: False)


def overwrites(patch):
    """A save does not compare."""
    def write(self, session, origin, payload):
        for _ in range(9):
            found = self.filing.records.read(origin.key)
            if found is None or traces.is_trace(found):
                return Outcome.GONE
            try:
                self.filing.write(session, origin.id, origin.key, payload, found.version)
            except Conflict:
                continue
            return Outcome.SAVED
        raise SessionConflict("never")
    patch.setattr(Saving, "_written", write)


def revives_what_ended(patch):
    """A save stores a session that was ended meanwhile."""
    catch_up = Saving.catch_up

    def catch_up_or_write(self, session, origin):
        outcome = catch_up(self, session, origin)
        found = self.filing.records.read(origin.key)
        if outcome is Outcome.GONE and found is not None:
            self.filing.write(session, origin.id, origin.key, self.codec.payload(session), found.version)
        return outcome
    patch.setattr(Saving, "catch_up", catch_up_or_write)


def takes_all_for_changed(patch):
    """Fault 4: what a merge takes for the state of before is that of the first load, also after a save."""
    write = Filing.write

    def write_and_forget(self, session, *arguments, **options):
        before = session._ties.origin
        write(self, session, *arguments, **options)
        if before is not None:
            session._ties.origin = session._ties.origin._replace(payload=before.payload)
    patch.setattr(Filing, "write", write_and_forget)


def merges_by_the_later(patch):
    """A rule of merging is not asked."""
    patch.setattr(merging, "add", lambda base, mine, theirs: mine)
    patch.setattr("session2.testing.schedules.programs.Shop.merge_rules", {})


def lock_is_not_taken(patch):
    """A lock is held by whoever asks."""
    patch.setattr(Visit, "lock", lambda self: None)
    patch.setattr(Visit, "_lock", lambda self, session, find: find())


def lock_is_not_released(patch):
    """A request that fails keeps its lock."""
    patch.setattr(Visit, "unlock", lambda self: None)


def ends_only_what_it_knows(patch):
    """A logout ends the record it loaded, not the session that was renewed meanwhile."""
    def end(self, session, reason="logged out", replaced=False, event="ended"):
        origin = session._ties.origin
        if origin is None:
            return None
        self.filing.records.remove(origin.key)
        return origin.key
    patch.setattr(Sessions, "end", end)


def revokes_once(patch):
    """Revoking ends what it finds first, and looks for nothing that was renewed meanwhile."""
    patch.setattr(sessions_module, "_PASSES", 1)


def failed_request_stores(patch):
    """A request that failed stores its changes all the same."""
    def fail(self, exchange=None):
        if exchange.visit:
            exchange.visit.finish()
    patch.setattr(SessionManager, "finish_failed_request", fail)


def logout_is_forgotten(patch):
    """A logout ends nothing where another request changed the session meanwhile."""
    def end(self, locate, reason, replaced, event):
        found = locate()
        if found.record is None:
            return None
        try:
            self.filing.retire(found.key, found.record, traces.ended(reason), 60.0)
        except (Conflict, SessionConflict, StoreUnavailable):
            return None
        return found.key
    patch.setattr(Sessions, "_end", end)


def renewal_answers_blindly(patch):
    """A renewal sends its cookie though the session went on from there under another id."""
    def let_live(self, session, payload, **_):
        self.touch(session)
        return Outcome.SAVED
    move = Sessions._move

    def move_earlier(self, session, new_id, grace, instead_of):
        session._ties.accessed -= 1.0
        try:
            return move(self, session, new_id, grace, instead_of)
        finally:
            session._ties.accessed += 1.0
    patch.setattr(Sessions, "_move", move_earlier)
    patch.setattr(Sessions, "_let_live", let_live)


def untouched_counts_as_changed(patch):
    """A merge takes what the request left alone for its own."""
    def merge(self, session, origin, theirs):
        session.set_state({**theirs.get_state(), **session.get_state()})
    patch.setattr(Codec, "merge", merge)
