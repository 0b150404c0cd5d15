"""``python -m demo [STORE] [--framework FRAMEWORK] [--host HOST] [--port PORT]``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import FrameType

from session2 import SessionError

from .choices import FRAMEWORKS, STORES, check, opened, unusable
from .pages import make_manager
from .servers import SERVERS, serving


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.ExitStack() as servers:
        return _run(options, servers)


def _run(options: argparse.Namespace, servers: contextlib.ExitStack) -> int:
    try:
        check(options.store, options.framework)
        if options.check:
            return 0
        store = opened(servers.enter_context(serving(options.store)))
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
        print(f"demo: {unusable(options.host, options.port, error)}", file=sys.stderr)
        return 2
    finally:
        store.close()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Try session2 by hand.")
    parser.add_argument("store", nargs="?", default="directory", metavar="STORE",
                        help=f"{', '.join([*STORES, *SERVERS])}, or the URL of a store; default: directory")
    parser.add_argument("--framework", default="quixote", metavar="FRAMEWORK", help=" or ".join(FRAMEWORKS))
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: reachable from elsewhere")
    parser.add_argument("--port", type=int, default=8080, help="0: any that is free; default: 8080")
    parser.add_argument("--check", action="store_true", help="only tell whether there is such a store and framework")
    return parser


def _announce(options: argparse.Namespace) -> Callable[[int], None]:
    """Return what tells, once the server listens, where."""
    host = "localhost" if options.host in ("127.0.0.1", "0.0.0.0") else options.host  # noqa: S104 (not a default)
    what = f"{FRAMEWORKS[options.framework]}, {options.store.partition(':')[0]} store"
    return lambda port: print(f"The demo ({what}) is at http://{host}:{port}/ and ends with Ctrl-C.", flush=True)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
