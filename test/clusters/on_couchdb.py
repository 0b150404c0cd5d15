"""Two CouchDB servers that replicate each other, of which one is cut off, killed, and comes back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

from balancer import Balancer
from scenario import Cluster, Scenario
from servers_couchdb import PouchServer


def _ask(server: PouchServer, path: str, body: object = None) -> object:
    data = None if body is None else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{server.port}/{path}", data, {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)


def _replicate(source: PouchServer, target: PouchServer) -> None:
    """Copy all databases for good, as they change."""
    names = _ask(source, "_all_dbs")
    assert isinstance(names, list)
    for name in names:
        if name.startswith("sessions"):
            places = [f"http://127.0.0.1:{server.port}/{name}" for server in (source, target)]
            _ask(source, "_replicate", {"source": places[0], "target": places[1], "continuous": True,
                                        "create_target": True})


@contextlib.contextmanager
def _two(folder: Path) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        first, second = servers = [PouchServer(on_disk=True) for _ in range(2)]
        for server in servers:
            stack.callback(server.close)
        balancer = Balancer({server.port: server.answers for server in servers})
        stack.callback(balancer.close)

        def replicate() -> None:
            _replicate(first, second)
            _replicate(second, first)

        def back_again() -> None:
            first.start()
            replicate()

        yield Cluster(f"couchdb://127.0.0.1:{balancer.port}/sessions", [replicate, first.stop, back_again])


SCENARIOS = [Scenario("CouchDB, two that replicate: one killed, back again", _two, "what was not replicated yet")]
