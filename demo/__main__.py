"""``python -m demo [STORE] [--framework quixote|cherrypy] [--host HOST] [--port PORT]``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Final

from session2 import SessionError, from_url, urls
from session2.store.base import SessionStore

from .pages import make_manager

DATA: Final = Path("demo-data")

# Those that need no server, by the names of their schemes.
STORES: Final = {scheme: store.example.format(DATA) for scheme, store in urls.STORES.items()
                 if "{}" in store.example or scheme == "volatile"}

FRAMEWORKS: Final = {"quixote": "Quixote", "cherrypy": "CherryPy"}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        store = _open(options.store)
        serve = import_module(f"demo.on_{options.framework}").serve
    except (SessionError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except ImportError as error:
        name = FRAMEWORKS[options.framework]
        print(f"demo: {name} is not installed; pip install session2[{options.framework}]  ({error})", file=sys.stderr)
        return 2
    try:
        serve(make_manager(store), options.host, options.port, _announce(options))
    except KeyboardInterrupt:
        print("\nThe demo ends.", flush=True)
    except (OSError, OverflowError) as error:
        print(f"demo: {options.host}:{options.port} cannot be listened to: {error}", file=sys.stderr)
        return 2
    finally:
        store.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Try session2 by hand.")
    parser.add_argument("store", nargs="?", default="directory", metavar="STORE",
                        help=f"{', '.join(STORES)}, or the URL of a store; default: directory")
    parser.add_argument("--framework", choices=FRAMEWORKS, default="quixote")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: reachable from elsewhere")
    parser.add_argument("--port", type=int, default=8080, help="0: any that is free; default: 8080")
    return parser


def _open(name: str) -> SessionStore:
    if name in STORES:
        DATA.mkdir(exist_ok=True)
    store = from_url(STORES.get(name, name))
    store.setup()
    return store


def _announce(options: argparse.Namespace) -> Callable[[int], None]:
    """Return what tells, once the server listens, where."""
    host = "localhost" if options.host in ("127.0.0.1", "0.0.0.0") else options.host  # noqa: S104 (not a default)
    what = f"{FRAMEWORKS[options.framework]}, {options.store.partition(':')[0]} store"
    return lambda port: print(f"The demo ({what}) is at http://{host}:{port}/ and ends with Ctrl-C.", flush=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
