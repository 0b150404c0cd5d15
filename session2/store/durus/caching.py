"""A Durus connection that keeps in memory what was used last, at a price that does not depend on how much that is.

Durus counts also the objects that it knows by name only, and a node of a B-tree names up to 31 sessions.  Once there
are too many it goes through its cache in every transaction, and finds hardly any to drop.
"""

from __future__ import annotations

import functools
from operator import attrgetter
from typing import Any, Final

from .driver import driver

_SLACK: Final = 1.05
"""How many times the wanted number there may be, so that not every transaction has to drop some."""


@functools.cache
def caching_connection() -> Any:
    """Return the class of connections."""

    class CachingConnection(driver().connection):  # type: ignore[misc]
        def shrink_cache(self) -> None:
            cache = self.get_cache()
            used, wanted = cache.recent_objects, cache.get_size()
            if len(used) > _SLACK * wanted:
                for entry in sorted(used.map.values(), key=attrgetter("_p_serial"))[:len(used) - wanted]:
                    if entry._p_is_saved():
                        entry._p_set_status_ghost()
                    used.discard(entry)
            cache.objects.clear_dead()

    return CachingConnection
