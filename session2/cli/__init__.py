"""The `session2` command, and what `setup-store.py` does.

Exit codes: 0 done; 1 the session or user named is not there, or not everything succeeded; 2 the arguments, a URL or the
configuration cannot work; 3 the store is missing or unavailable; 130 interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .places import is_original, made_from, open_original, reporting, shown, streams

_USAGE = """\
Usage:
    setup-store.py mysql     HOST USER PASSWORD DATABASE [TABLE]
    setup-store.py psycopg   HOST USER PASSWORD DATABASE [TABLE]
    setup-store.py URL
Hints:
    HOST '' or localhost is this machine; for psycopg, USER '' and PASSWORD '' are the defaults of PostgreSQL.
    PASSWORD - (or '', or a URL without one) takes it from the environment variable SESSION2_PASSWORD;
    PASSWORD - asks for it if there is none.
    What is there already is never dropped; for that, and for more, see: session2 --help
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the `session2` command and exit."""
    try:
        from .commands import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("typer", "rich"):
            raise
        print(f"session2: {error.name} is missing; the command needs: pip install 'session2[cli]'", file=sys.stderr)
        raise SystemExit(2) from None
    with streams():
        app(args=None if arguments is None else list(arguments), prog_name="session2")


def setup_store(arguments: Sequence[str]) -> None:
    """Do what the arguments of ``setup-store.py`` say and exit; needs no command-line library."""
    with streams():
        _setup_store(arguments)


def _setup_store(arguments: Sequence[str]) -> None:
    if list(arguments) in (["help"], ["--help"], ["-h"]):
        print(_USAGE, end="")
        return
    if not arguments:
        _refuse("no storage type specified")
    if len(arguments) == 1 and ":" in arguments[0]:
        with reporting():
            store = made_from(arguments[0], create=True)
            print(f"Setting up {shown(arguments[0])}", flush=True)
            store.setup()
            store.close()
    elif arguments[0] in ("mysql", "psycopg"):
        if not is_original(arguments):
            _refuse("incorrect number of command-line arguments", arguments[0])
        with reporting():
            setup_original(arguments)
    else:
        _refuse("unrecognised storage type")


def setup_original(arguments: Sequence[str], drop: bool = False) -> None:
    """Set up the store that the arguments of session2 0.6 describe."""
    store, announcement = open_original(arguments)
    print(announcement, flush=True)
    try:
        store.setup(drop)
    finally:
        store.close()


def _refuse(message: str, store: str = "") -> None:
    print(f"{store.upper()} ERROR: {message}".strip(), file=sys.stderr)
    print(_USAGE, end="", file=sys.stderr)
    raise SystemExit(2)
