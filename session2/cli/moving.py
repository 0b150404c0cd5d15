"""Moving sessions of other systems here, for `session2 migrate`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Final, NamedTuple

from ..errors import ConfigurationError, StoreMissing
from ..migrate.bringing import Fate, bring_or_skip
from ..migrate.source import Former, Skipped, Source
from ..migrate.systems import open_source
from ..store.base import SessionStore
from ..store.records import demand_merging
from ..store.volatile import VolatileSessionStore
from .finding import is_there
from .places import made_from, with_password
from .printing import print_json, progress, readable, warn

_SHOWN: Final = 3
"""How many of what is skipped for one reason are named."""


def opened_source(url: str, allow: Sequence[str], user_key: str | None, ask: bool) -> Source:
    """Open a source that can list its sessions."""
    source = open_source(with_password(url, ask), allow, user_key)
    if not source.can_list:
        raise ConfigurationError("this system cannot list its sessions: have each of them moved when its visitor "
                                 "comes, with former=[...] of the SessionManager")
    return source


@contextmanager
def opened_target(url: str, ask: bool, dry_run: bool, variables: Sequence[str]) -> Iterator[SessionStore]:
    """Open and set up the store to move to; with `dry_run` nothing is made, and an empty store is one in memory."""
    with closing(_planned(url, ask, variables) if dry_run else made_from(url, ask, True, variables)) as store:
        demand_merging(store, "session2 migrate")
        if not dry_run:
            store.setup()
        yield store


def _planned(url: str, ask: bool, variables: Sequence[str]) -> SessionStore:
    try:
        store = made_from(url, ask, variables=variables)
    except StoreMissing:
        return VolatileSessionStore()
    if is_there(store):
        return store
    store.close()
    return VolatileSessionStore(serializer=store.serializer, hash_ids=store.hash_ids)


class Moved(NamedTuple):
    """What became of all sessions."""

    fates: Counter[Fate]
    skipped: dict[str, list[str]]
    """Where, by why."""
    with_user: Counter[bool]
    """Of how many it is known who is logged in."""

    @property
    def is_all(self) -> bool:
        """Whether nothing was skipped."""
        return not self.skipped


def move(source: Source, store: SessionStore, dry_run: bool) -> Moved:
    """Move all sessions, or only tell what would become of them."""
    moved = Moved(Counter(), {}, Counter())
    for found in progress("Comparing" if dry_run else "Moving", source.scan()):
        outcome = bring_or_skip(store, found, dry_run)
        if isinstance(outcome, Skipped):
            moved.skipped.setdefault(outcome.why, []).append(outcome.where)
        else:
            moved.fates[outcome] += 1
        if isinstance(found, Former):
            moved.with_user["user" in found.state] += 1
    return moved


def print_moved(moved: Moved, dry_run: bool, as_json: bool) -> None:
    """Tell what became of the sessions; of those that were skipped, why."""
    counts = {fate.value: moved.fates[fate] for fate in Fate}
    reasons = {why: len(places) for why, places in moved.skipped.items()}
    counts["skipped"] = sum(reasons.values())
    if as_json:
        print_json({**counts, "reasons": reasons})
    else:
        print("would be: " * dry_run + ", ".join(f"{count} {name}" for name, count in counts.items()))
    for why, places in moved.skipped.items():
        more = ", ..." if len(places) > _SHOWN else ""
        warn(readable("", f"{len(places)} skipped: {why} ({', '.join(places[:_SHOWN])}{more})"))


def warn_of_nobody(moved: Moved, user_key: str) -> None:
    """Warn where no session has the item that tells who is logged in: its name may be mistyped."""
    if moved.with_user[False] and not moved.with_user[True]:
        warn(f"no session has the item {user_key!r}, so nobody is known to be logged in; if another item tells it, run "
             "this again with that --user-key")
