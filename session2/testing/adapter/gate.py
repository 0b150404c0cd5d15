"""A gate at which pages wait."""

from __future__ import annotations

import socket

PATIENCE = 60
"""Seconds after which a request, a start or a wait counts as hanging."""


class Gate:
    """Where pages wait: a test sees that requests have arrived there, and lets them go on when it likes.

    A gate is a port.  A page that is asked with its number connects, and goes on when the connection ends; so nobody
    polls, and nobody waits for a test that is gone.
    """

    def __init__(self) -> None:
        self._door = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._door.settimeout(PATIENCE)
        self.port: int = self._door.getsockname()[1]
        self._inside: list[socket.socket] = []

    def __enter__(self) -> Gate:
        return self

    def __exit__(self, *_: object) -> None:
        self._door.close()
        self.open()

    def wait_for(self, count: int = 1) -> None:
        """Wait until `count` more requests have arrived."""
        for _ in range(count):
            self._inside.append(self._door.accept()[0])

    def open(self) -> None:
        """Let all that have arrived go on."""
        while self._inside:
            self._inside.pop().close()

    def pass_in_groups(self, total: int, together: int) -> None:
        """Let requests go on as soon as `together` of them have arrived, until `total` have passed."""
        for start in range(0, total, together):
            self.wait_for(min(together, total - start))
            self.open()
