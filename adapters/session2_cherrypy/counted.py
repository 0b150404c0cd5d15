"""The items of a session whose length is the number of sessions, as CherryPy has it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator, Iterator
from inspect import GEN_CREATED, getgeneratorstate
from typing import TYPE_CHECKING, Any

from session2 import traces
from session2.lazy import LazySession
from session2.variants import Manager


class CountedSession(LazySession):
    """A session that can count those beside it."""

    if TYPE_CHECKING:
        @property
        def manager(self) -> Manager: ...

    _begun: Callable[[], Generator[str, None, None] | None] = staticmethod(lambda: None)

    @property
    def _data(self) -> dict[str, Any]:
        return self.session.data

    def __iter__(self) -> Iterator[str]:
        steps = (key for key in self.session)
        self._begun = weakref.ref(steps)
        return steps

    def __len__(self) -> int:
        """Return the number of sessions in the store, as CherryPy has it; ``len(session.keys())`` counts the items.

        ``list(session)`` and its like ask for the length when they have begun to iterate: they get that of the session.
        """
        begun = self._begun()
        if begun is not None and getgeneratorstate(begun) == GEN_CREATED:
            return len(self.session)
        return sum(traces.is_session(key, record) for key, record in self.manager.store.scan())

    def __bool__(self) -> bool:
        return True
