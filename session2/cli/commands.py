"""The commands of `session2`; needs the extra ``session2[cli]``."""

from __future__ import annotations

import contextlib
import math
import sys
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Annotated

import typer

from .. import __version__
from ..errors import ConfigurationError, StoreMissing
from ..record import Record
from ..serializers import get_secret
from ..store.base import SessionStore
from ..store.cleaning import clean
from .copy import PLANNED, Fate, check, copy, plan, verify
from .finding import counted, find, is_there, sessions, state_of
from .moving import move, opened_source, opened_target, print_moved, warn_of_nobody
from .places import VARIABLE, is_original, made_from, open_original, opened, reporting, shown
from .printing import (
    bar,
    columns,
    complain,
    confirm,
    facts,
    lines,
    masked,
    print_json,
    print_table,
    progress,
    readable,
    warn,
)

_HELP = (
    "Set up, clean, inspect and copy session stores.  URL is one, for example directory:/var/lib/sessions; "
    f"{VARIABLE} is for the password it lacks.\n\n"
    "Exit codes: 0 done, 1 not all, 2 wrong use, 3 no store, 130 interrupted.")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
                  help=_HELP)

URL = Annotated[str, typer.Argument(metavar="URL", help="The store.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Ask = Annotated[bool, typer.Option("--password-prompt", "-W", help="Ask for a password that the URL lacks.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask whether it is meant.")]
User = Annotated[str | None, typer.Option(metavar="U", help="Only the sessions of this user.")]


_OF_TARGET = (VARIABLE + "_TARGET", VARIABLE)

_ALL = "This ends all sessions in the store.  Go on?"


def _version(wanted: bool) -> None:
    if wanted:
        print(f"session2 {__version__}")
        raise typer.Exit


@app.callback()
def session2(version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True,
                                                   help="Show the version and exit.")] = False) -> None:
    pass


@app.command("setup")
def setup(arguments: Annotated[list[str], typer.Argument(metavar="URL", help=(
              "The store; or, as in session2 0.6: mysql|psycopg HOST USER PASSWORD DATABASE [TABLE], where PASSWORD - "
              f"stands for {VARIABLE} or a prompt."))],
          drop: Annotated[bool, typer.Option("--drop", help="Delete all sessions first.")] = False,
          yes: Yes = False, ask: Ask = False, as_json: AsJSON = False) -> None:
    """Create what the store needs and is not there yet.  Nothing is ever dropped unasked."""
    if len(arguments) != 1 and not is_original(arguments):
        raise typer.BadParameter("give a URL, or mysql|psycopg HOST USER PASSWORD DATABASE [TABLE]")
    with reporting():
        if drop:
            confirm(_ALL, "--drop", yes)
        if len(arguments) == 1:
            store, said = made_from(arguments[0], ask, create=True), f"Setting up {shown(arguments[0])}"
        else:
            store, said = open_original(arguments)
        if not as_json:
            print(said, flush=True)
        with contextlib.closing(store):
            store.setup(drop)
    if as_json:
        print_json({"done": said, "dropped": drop})


@app.command("purge")
def purge(url: URL,
          older_than: Annotated[float | None, typer.Option(metavar="MINUTES", min=0, help=(
              "Also the sessions that nobody used for so long."))] = None,
          batch: Annotated[int, typer.Option(metavar="N", min=1, help="How many to delete at a time.")] = 1000,
          trust_clock: Annotated[bool, typer.Option("--trust-clock", help=(
              "Go by this machine's clock even if nothing in the store was used lately."))] = False,
          yes: Yes = False, ask: Ask = False, as_json: AsJSON = False) -> None:
    """Delete expired sessions.  Safe to run while sessions are served, and on several hosts at once."""
    if older_than is not None and not math.isfinite(older_than):
        raise typer.BadParameter("--older-than is a number of minutes")
    in_use = older_than is not None and older_than < 1
    with opened(url, ask) as store:
        if in_use:
            confirm("This ends sessions that are in use.  Go on?", "--older-than less than a minute", yes)
        with bar() as shown_bar:
            shown_bar.add_task("Purging", total=None)
            deleted, until = clean(store, batch, None if older_than is None else older_than * 60, trust_clock or in_use)
            remaining = None if older_than is None else counted(sessions(store, None)).sessions
    if as_json:
        print_json({"deleted": deleted, "remaining": remaining})
    else:
        print(f"{deleted} deleted" + ("" if remaining is None else f", {remaining} remaining"))
    if until is not None:
        warn(f"what expired after {readable('', until)} is kept for now: nothing in the store was used since, so the "
             "clock of this machine may be wrong.  Purge again in an hour, or with --trust-clock")


@app.command("list")
def list_(url: URL, user: User = None,
          limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Not more than so many.")] = None,
          ask: Ask = False, as_json: AsJSON = False) -> None:
    """List sessions.  A table on a terminal, tab-separated elsewhere, with --json an object on each line."""
    with opened(url, ask) as store:
        found: Iterable[tuple[str, Record]] = islice(sessions(store, user), limit)
        found = found if user is None else list(found)
        if as_json:
            for key, record in found:
                print_json(facts(key, record))
        elif sys.stdout.isatty():
            print_table(found, store.clock())
        else:
            for key, record in found:
                print(*columns(key, record), sep="\t")
        sys.stdout.flush()
    if user is not None and not found:
        warn("this user has no session")
        raise typer.Exit(1)


@app.command("stats")
def stats(url: URL, user: User = None, ask: Ask = False, as_json: AsJSON = False) -> None:
    """Count sessions, users and bytes.  Also the oldest, and the next to expire."""
    with opened(url, ask) as store:
        found = counted(progress("Counting", sessions(store, user)))
    if as_json:
        print_json(found._asdict())
    else:
        for name, value in found._asdict().items():
            print(f"{name.replace('_', ' ')}: {readable(name, value)}")
    if user is not None and not found.sessions:
        raise typer.Exit(1)


@app.command("show")
def show(url: URL,
         key: Annotated[str, typer.Argument(metavar="KEY", help="The session's key, or how it begins (8 or more).")],
         values: Annotated[bool, typer.Option("--values", help="Show the values too, not just their types.")] = False,
         ask: Ask = False, as_json: AsJSON = False) -> None:
    """Show one session.  Its values may be anybody's secrets and are not shown unless asked for."""
    with opened(url, ask) as store:
        key, record = find(store, key)
        state, problem = state_of(store, key, record)
    if as_json:
        print_json({**facts(key, record), "state": masked(state, values), "problem": problem})
    else:
        for name, value in facts(key, record).items():
            print(f"{name}: {readable(name, value)}")
        for line in lines(masked(state, values)):
            print(line)
    if problem:
        warn(f"the values cannot be read here: {problem}")
        raise typer.Exit(1)


@app.command("revoke")
def revoke(url: URL,
           key: Annotated[str | None, typer.Option(metavar="K", help=(
               "The session with this key, or whose key begins so (8 or more)."))] = None,
           user: Annotated[str | None, typer.Option(metavar="U", help="All sessions of this user.")] = None,
           everything: Annotated[bool, typer.Option("--all", help="All sessions.")] = False,
           yes: Yes = False, ask: Ask = False, as_json: AsJSON = False) -> None:
    """End sessions: whoever had one is logged out at the next request."""
    if [key is not None, user is not None, everything].count(True) != 1:
        raise typer.BadParameter("give one of --key, --user and --all")
    with opened(url, ask) as store:
        if everything:
            confirm(_ALL, "--all", yes)
        if key is not None:
            count = int(store.sessions.end_key(find(store, key)[0]))
        else:
            count = sum(1 for _ in progress("Revoking", store.sessions.revoke(user)))
    if as_json:
        print_json({"revoked": count})
    else:
        print(f"{count} revoked")
    if not count and not everything:
        raise typer.Exit(1)


@app.command("secret")
def secret() -> None:
    """Print a new secret for signed or encrypted records."""
    print(get_secret())


@app.command("copy")
def copy_(source: Annotated[str, typer.Argument(metavar="SOURCE", help="The URL of the store to copy from.")],
          target: Annotated[str, typer.Argument(metavar="TARGET", help=(
              f"The URL of the store to copy to.  Its password may also be in {VARIABLE}_TARGET."))],
          overwrite: Annotated[bool, typer.Option("--overwrite", help=(
              "Also replace sessions that are newer in the target."))] = False,
          dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be copied.")] = False,
          ask: Ask = False, as_json: AsJSON = False) -> None:
    """Copy all sessions, and verify the copies.  Times are kept; both stores are read again and compared.

    What is equal already is skipped, so a copy that was interrupted is simply started again; and one made while
    sessions were served is repeated, after the switch, for what changed meanwhile.
    """
    with reporting(), contextlib.ExitStack() as stack:
        if source == target:
            raise ConfigurationError("source and target are the same store")
        origin = stack.enter_context(contextlib.closing(made_from(source, ask)))
        origin.read("0" * 64)  # nothing is made for a source that is not there
        if dry_run:
            fates = _plan(origin, target, overwrite, ask)
        else:
            destination = made_from(target, ask, create=True, variables=_OF_TARGET)
            stack.enter_context(contextlib.closing(destination))
            check(origin, destination)
            destination.setup()
            fates = Counter(progress("Copying", copy(origin, destination, overwrite, complain)))
            fates.update(progress("Verifying", verify(origin, destination, complain), sum(fates.values())))
    counts = {fate.value: fates[fate] for fate in (PLANNED if dry_run else Fate)}
    if as_json:
        print_json(counts)
    else:
        print("would be: " * dry_run + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if fates[Fate.FAILED] or fates[Fate.DIFFERENT]:
        warn("not everything was copied; what changed meanwhile is copied by running this again")
        raise typer.Exit(1)


@app.command("migrate")
def migrate(source: Annotated[str, typer.Argument(metavar="SOURCE", help=(
                "Where another system keeps its sessions, such as session2-0.6+directory:PATH or cherrypy+file:PATH; a "
                "wrong one is answered with all there are."))],
            url: Annotated[str, typer.Argument(metavar="URL", help=(
                f"The store to move to.  Its password may also be in {VARIABLE}_TARGET."))],
            dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would be moved.")] = False,
            allow: Annotated[list[str] | None, typer.Option(metavar="CLASS", help=(
                "A class of the application, module.Class, whose objects are in sessions; may be repeated."))] = None,
            user_key: Annotated[str | None, typer.Option(metavar="KEY", help=(
                "The item that tells who is logged in, where sessions are mappings."))] = None,
            ask: Ask = False, as_json: AsJSON = False) -> None:
    """Move sessions here from another system, in which nothing changes.

    What is here already is left alone, and so is whatever was logged out of since, so this may be repeated at any time.
    """
    with reporting(), contextlib.closing(opened_source(source, allow or (), user_key, ask)) as origin, \
            opened_target(url, ask, dry_run, _OF_TARGET) as store:
        moved = move(origin, store, dry_run)
    print_moved(moved, dry_run, as_json)
    if user_key:
        warn_of_nobody(moved, user_key)
    if not moved.is_all:
        raise typer.Exit(1)


def _plan(origin: SessionStore, target: str, overwrite: bool, ask: bool) -> Counter[Fate]:
    """Count what a copy would do, without making or changing anything."""
    try:
        destination = made_from(target, ask, variables=_OF_TARGET)
    except StoreMissing:
        return Counter(plan(origin, None, overwrite))
    with contextlib.closing(destination):
        check(origin, destination)
        return Counter(progress("Comparing", plan(origin, destination if is_there(destination) else None, overwrite)))
