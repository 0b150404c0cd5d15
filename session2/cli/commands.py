"""The commands of `session2`; needs the extra ``session2[cli]``."""

from __future__ import annotations

import contextlib
import datetime
import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from .. import __version__, traces
from ..errors import ConfigurationError, SerializationError
from ..record import Record
from ..serializers import get_secret
from ..store.base import SessionStore
from .copy import Fate, check, copy, verify
from .places import VARIABLE, is_original, made_from, open_original, opened, reporting, shown

_T = TypeVar("_T")

_KEY = re.compile(r"(lock-)?[A-Za-z0-9_-]{43,64}", re.ASCII)
_PREFIX = re.compile(r"[A-Za-z0-9_-]{8,69}", re.ASCII)

_HELP = (
    "Set up, clean, inspect and copy session stores.\n\n"
    "URL is a store, for example directory:/var/lib/sessions, sqlite:FILE, durus://HOST:PORT, "
    "postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE?table=sessions.  A password that is missing in it "
    f"is taken from the environment variable {VARIABLE}.\n\n"
    "Exit codes: 0 done; 1 nothing was found, or not everything succeeded; 2 the arguments, a URL or the configuration "
    "cannot work; 3 the store is unavailable; 130 interrupted.")

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False,
                  help=_HELP)

URL = Annotated[str, typer.Argument(metavar="URL", help="The store.")]
AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Ask = Annotated[bool, typer.Option("--password-prompt", "-W", help="Ask for a password that the URL lacks.")]
User = Annotated[str | None, typer.Option(metavar="U", help="Only the sessions of this user.")]


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
          yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether --drop is meant.")] = False,
          ask: Ask = False, as_json: AsJSON = False) -> None:
    """Create what the store needs and is not there yet.  Nothing is ever dropped unasked."""
    if len(arguments) != 1 and not is_original(arguments):
        raise typer.BadParameter("give a URL, or mysql|psycopg HOST USER PASSWORD DATABASE [TABLE]")
    if drop and not yes:
        _confirm("This ends all sessions in the store.  Go on?")
    with reporting():
        if len(arguments) == 1:
            store, said = made_from(arguments[0], ask, create=True), f"Setting up {shown(arguments[0])}"
        else:
            store, said = open_original(arguments)
        if not as_json:
            print(said, flush=True)
        with contextlib.closing(store):
            store.setup(drop)
    if as_json:
        _print_json({"done": said, "dropped": drop})


@app.command("purge")
def purge(url: URL,
          older_than: Annotated[float | None, typer.Option(metavar="MINUTES", min=0, help=(
              "Also the sessions that nobody used for so long."))] = None,
          batch: Annotated[int, typer.Option(metavar="N", min=1, help="How many to delete at a time.")] = 1000,
          ask: Ask = False, as_json: AsJSON = False) -> None:
    """Delete expired sessions.  Safe to run while sessions are served, and on several hosts at once."""
    with opened(url, ask) as store, _bar() as bar:
        bar.add_task("Purging", total=None)
        deleted, remaining = store.purge(batch=batch), None
        if older_than is not None:
            more, remaining = store.delete_old_sessions(older_than)
            deleted += more
    if as_json:
        _print_json({"deleted": deleted, "remaining": remaining})
    else:
        print(f"{deleted} deleted" + ("" if remaining is None else f", {remaining} remaining"))


@app.command("list")
def list_(url: URL, user: User = None,
          limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Not more than so many.")] = None,
          ask: Ask = False, as_json: AsJSON = False) -> None:
    """List sessions: a table on a terminal, tab-separated elsewhere, with --json an object on each line."""
    with opened(url, ask) as store:
        found = islice(_sessions(store, user), limit)
        if as_json:
            for key, record in found:
                _print_json(_facts(key, record))
        elif sys.stdout.isatty():
            _print_table(found)
        else:
            for key, record in found:
                print(*_columns(key, record), sep="\t")
        sys.stdout.flush()


@app.command("show")
def show(url: URL,
         key: Annotated[str, typer.Argument(metavar="KEY", help="The session's key, or how it begins (8 or more).")],
         values: Annotated[bool, typer.Option("--values", help="Show the values too, not just their types.")] = False,
         ask: Ask = False, as_json: AsJSON = False) -> None:
    """Show one session.  Its values may be anybody's secrets and are not shown unless asked for."""
    with opened(url, ask) as store:
        key, record = _find(store, key)
        state, problem = _state_of(store, key, record)
    facts = _facts(key, record)
    if as_json:
        _print_json({**facts, "state": _masked(state, values), "problem": problem})
    else:
        for name, value in facts.items():
            print(f"{name}: {_readable(name, value)}")
        for line in _lines(_masked(state, values)):
            print(line)
    if problem:
        _warn(f"the values cannot be read here: {problem}")
        raise typer.Exit(1)


@app.command("revoke")
def revoke(url: URL,
           key: Annotated[str | None, typer.Option(metavar="K", help=(
               "The session with this key, or whose key begins so (8 or more)."))] = None,
           user: Annotated[str | None, typer.Option(metavar="U", help="All sessions of this user.")] = None,
           everything: Annotated[bool, typer.Option("--all", help="All sessions.")] = False,
           ask: Ask = False, as_json: AsJSON = False) -> None:
    """End sessions: whoever had one is logged out at the next request."""
    if [key is not None, user is not None, everything].count(True) != 1:
        raise typer.BadParameter("give one of --key, --user and --all")
    with opened(url, ask) as store:
        if key is not None:
            count = int(store.sessions.end_key(_find(store, key)[0]))
        else:
            count = sum(1 for _ in _progress("Revoking", store.sessions.revoke(user)))
    if as_json:
        _print_json({"revoked": count})
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
          ask: Ask = False, as_json: AsJSON = False) -> None:
    """Copy all sessions with their times, then read both stores again and compare.

    What is equal already is skipped, so a copy that was interrupted is simply started again; and one made while
    sessions were served is repeated, after the switch, for what changed meanwhile.
    """
    with reporting(), contextlib.ExitStack() as stack:
        origin = stack.enter_context(contextlib.closing(made_from(source, ask)))
        destination = stack.enter_context(contextlib.closing(
            made_from(target, ask, create=True, variables=(VARIABLE + "_TARGET", VARIABLE))))
        if source == target:
            raise ConfigurationError("source and target are the same store")
        check(origin, destination)
        destination.setup()
        fates = Counter(_progress("Copying", copy(origin, destination, overwrite, _complain)))
        fates.update(_progress("Verifying", verify(origin, destination, _complain), sum(fates.values())))
    counts = {fate.value: fates[fate] for fate in Fate}
    if as_json:
        _print_json(counts)
    else:
        print(", ".join(f"{count} {name}" for name, count in counts.items()))
    if fates[Fate.FAILED] or fates[Fate.DIFFERENT]:
        _warn("not everything was copied; what changed meanwhile is copied by running this again")
        raise typer.Exit(1)


# -- finding ----------------------------------------------------------------------------------------------------------


def _sessions(store: SessionStore, user: str | None) -> Iterator[tuple[str, Record]]:
    records = store.scan() if user is None else store.records_of(user)
    return ((key, record) for key, record in records if traces.is_session(key, record))


def _find(store: SessionStore, text: str) -> tuple[str, Record]:
    """Return the one session whose key is, or begins with, `text`; exits if there is none or more than one."""
    if not _PREFIX.fullmatch(text):
        raise typer.BadParameter("a key is given by 8 or more of its characters")
    record = store.read(text) if _KEY.fullmatch(text) else None
    if record is not None:
        return text, record
    found = [(key, record) for key, record in _sessions(store, None) if key.startswith(text)]
    if len(found) == 1:
        return found[0]
    _warn(f"{len(found)} sessions have a key that begins with {text}; give more of it" if found
          else f"there is no session with the key {text}")
    raise typer.Exit(1)


def _state_of(store: SessionStore, key: str, record: Record) -> tuple[dict[str, Any], str | None]:
    """Return what the session holds, or why that cannot be told: its classes or secrets may be the application's."""
    serializer = store.serializer
    try:
        return serializer.loads(serializer.open(record.data, key)), None
    except SerializationError as error:
        return {}, str(error)


# -- printing ---------------------------------------------------------------------------------------------------------


def _facts(key: str, record: Record) -> dict[str, Any]:
    return {"key": key, "user": record.user, "created": record.created, "modified": record.modified,
            "accessed": record.accessed, "expires": record.expires, "bytes": len(record.data)}


def _columns(key: str, record: Record) -> list[str]:
    return [_readable(name, value) for name, value in _facts(key, record).items() if name != "modified"]


def _readable(name: str, value: Any) -> str:
    if isinstance(value, float):
        return datetime.datetime.fromtimestamp(value, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    if value is None:
        return "never" if name == "expires" else "-"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(value))


def _print_table(found: Iterable[tuple[str, Record]]) -> None:
    table = Table("key", "user", "created", "accessed", "expires", "bytes", box=None)
    for key, record in found:
        key, *others = _columns(key, record)
        table.add_row(key[:16], *others)
    Console(markup=False).print(table)


def _masked(value: Any, values: bool) -> Any:
    """Return what may be shown: names, and for each its value or else its type."""
    if isinstance(value, dict):
        return {str(name): _masked(item, values) for name, item in value.items()}
    if values and isinstance(value, list):
        return [_masked(item, values) for item in value]
    if values:
        return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
    return f"<{type(value).__name__}>"


def _lines(state: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    for name, value in state.items():
        if isinstance(value, dict):
            yield f"{indent}{_readable('', name)}:"
            yield from _lines(value, indent + "  ")
        else:
            yield f"{indent}{_readable('', name)}: {_readable('', value if isinstance(value, str) else repr(value))}"


def _print_json(value: Any) -> None:
    print(json.dumps(value))


def _warn(text: str) -> None:
    print(f"session2: {text}", file=sys.stderr)


def _complain(key: str, reason: str) -> None:
    _warn(f"{key:.12} {reason}")


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("--drop needs --yes where nobody can be asked")
    typer.confirm(question, abort=True)


def _progress(text: str, items: Iterable[_T], total: int | None = None) -> Iterator[_T]:
    """Pass the items on and show how it goes, on a terminal only."""
    with _bar() as bar:
        task = bar.add_task(text, total=total)
        for item in items:
            yield item
            bar.advance(task)


def _bar() -> Progress:
    terminal = Console(stderr=True)
    return Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}"),
                    TimeElapsedColumn(), console=terminal, transient=True, disable=not sys.stderr.isatty())
