"""Three memcacheds, of which one is killed and comes back empty."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from scenario import Cluster, Scenario
from servers_memcached import MemcachedServer


@contextlib.contextmanager
def _three(folder: Path) -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(MemcachedServer()) for _ in range(3)]
        yield Cluster("memcached://" + ",".join(server.place for server in servers),
                      [servers[0].stop, servers[0].start])


SCENARIOS = [Scenario("memcached, three: one killed, back again", _three, "all on that server")]
