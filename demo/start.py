"""Starting the demo: one site, and a server for each framework that is installed."""

from __future__ import annotations

import argparse
import socket
import warnings
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec

from session2.store.base import SessionStore

from .choices import FRAMEWORKS
from .pages import Site, make_manager
from .serving import Server, Serving, listen, listen_near, run


class NotInstalled(Exception):
    """The framework that was asked for is not here."""


def site_of(store: SessionStore, name: str, host: str, idle: float | None) -> Site:
    """Return the site for a store.

    :param name: of the store, or its URL, of which nothing but the scheme is shown.
    """
    address = "127.0.0.1" if host in ("", "0.0.0.0", "localhost") else host  # noqa: S104 (what is not reached so)
    return Site(make_manager(store, idle), name.partition(":")[0], address=address)


def start(site: Site, options: argparse.Namespace) -> None:
    """Serve all frameworks until interrupted; what is told first is where."""
    servings, broken = [], []
    for framework, listening in _places(options):
        name, port = FRAMEWORKS[framework].name, listening.getsockname()[1]
        try:
            servings.append(_served(site, framework, listening))
        except ImportError as error:
            listening.close()
            if framework == options.framework:
                raise NotInstalled(f"{name} cannot be imported: {error}") from error
            broken.append(f"  {name:<10} cannot be imported: {error}")
        else:
            site.names[framework], site.ports[framework] = name, port
    print("\n".join([*_announced(site, options), *broken]), flush=True)
    run(servings)


def _places(options: argparse.Namespace) -> Iterator[tuple[str, socket.socket]]:
    """Yield the frameworks with where they are served: the first at the port that was asked for, or not at all."""
    first = options.framework
    if not is_installed(first):
        raise NotInstalled(f"{FRAMEWORKS[first].name} is not installed; pip install {FRAMEWORKS[first].install}")
    listening = listen(options.host, options.port)
    yield first, listening
    port = options.port and listening.getsockname()[1]
    for framework in [] if options.alone else [name for name in FRAMEWORKS if name != first and is_installed(name)]:
        near = listen_near(options.host, port and port + 1)
        if near is None:
            print(f"demo: no port near {port} is free for {FRAMEWORKS[framework].name}", flush=True)
            return
        port = port and near.getsockname()[1]
        yield framework, near


def is_installed(framework: str) -> bool:
    """Tell whether a framework can be imported."""
    return all(find_spec(module) is not None for module in FRAMEWORKS[framework].modules)


def _served(site: Site, framework: str, listening: socket.socket) -> Serving:
    warnings.filterwarnings("ignore", "pkg_resources is deprecated")  # by setuptools; Pyramid imports it
    module = import_module(f"demo.on_{framework}")
    if hasattr(module, "serving"):
        served: Serving = module.serving(site, listening)
        return served
    return Server(listening, module.application(site))


def _announced(site: Site, options: argparse.Namespace) -> list[str]:
    """Return what the console shows when all are served."""
    host = "localhost" if options.host in ("127.0.0.1", "0.0.0.0") else options.host  # noqa: S104 (not a default)
    host = f"[{host}]" if ":" in host else host
    (first, port), *others = site.ports.items()
    lines = [f"The demo ({site.names[first]}, {site.store} store) is at http://{host}:{port}/ and ends with Ctrl-C.",
             *(f"  {site.names[framework]:<10} http://{host}:{port}/" for framework, port in others),
             f"  Admin      http://{host}:{port}/admin  password: {site.password}"]
    missing = [] if options.alone else [each for name, each in FRAMEWORKS.items() if not is_installed(name)]
    return lines + [f"  {each.name:<10} not installed: .venv/bin/pip install {each.install}" for each in missing]
