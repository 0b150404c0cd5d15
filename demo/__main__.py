"""``python -m demo [STORE] [--framework FRAMEWORK] [--host HOST] [--port PORT] [--idle SECONDS]``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from session2 import SessionError

from .choices import FRAMEWORKS, STORES, check, opened, unusable
from .servers import SERVERS, serving
from .start import NotInstalled, site_of, start


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
        servers.callback(store.close)
        start(site_of(store, options.store, options.host, options.idle), options)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # whoever read it may have gone first
            print("\nThe demo ends.", flush=True)
    except NotInstalled as error:
        return _refuse(error)
    except SessionError as error:
        return _refuse(error)
    except (OSError, OverflowError) as error:
        return _refuse(unusable(options.host, options.port, error))
    return 0


def _refuse(reason: object) -> int:
    print(f"demo: {reason}", file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Try session2 by hand.")
    parser.add_argument("store", nargs="?", default="directory", metavar="STORE",
                        help=f"{', '.join([*STORES, *SERVERS])}, or the URL of a store; default: directory")
    parser.add_argument("--framework", default="quixote", metavar="FRAMEWORK",
                        help=f"the one at PORT: {' or '.join(FRAMEWORKS)}; the others that are installed follow it")
    parser.add_argument("--alone", action="store_true", help="serve no other framework")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: reachable from elsewhere")
    parser.add_argument("--port", type=int, default=8080, help="0: any that are free; default: 8080")
    parser.add_argument("--idle", type=float, metavar="SECONDS",
                        help="after how long an unused session ends; default: 14 days")
    parser.add_argument("--check", action="store_true", help="only tell whether there is such a store and framework")
    return parser


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
