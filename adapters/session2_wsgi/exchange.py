"""One request of a WSGI server, and the headers of its answer."""

from __future__ import annotations

from session2.environ import EnvironExchange


class WSGIExchange(EnvironExchange):
    """Takes from the environ what it needs at once: who dispatches to another application changes it in place."""

    def add_header(self, name: str, value: str) -> None:
        if (name, value) not in self.headers:
            super().add_header(name, value)

    def added_to(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Return the headers of an application with those of its session, which go out now."""
        self.headers_sent = True
        if not self.headers:
            return headers
        own, self.headers = self.headers, list(headers)
        for name, value in own:
            if name == "Set-Cookie":
                self.headers.append((name, value))
            else:
                self.add_header(name, value)
        return self.headers
