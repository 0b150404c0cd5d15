"""One answer on its way from the application to the server."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import Any

from session2 import SessionError, StoreUnavailable

from .session import WSGISession

log = logging.getLogger("session2")

Headers = list[tuple[str, str]]
Write = Callable[[bytes], Any]
Held = tuple[str, Headers, Any]


class Answer:
    """Holds the headers back until the session is stored: when a body is returned, or written, or begins to come."""

    def __init__(self, session: WSGISession, environ: dict[str, Any], send: Callable[..., Write]) -> None:
        self.session = session
        self._send = send
        self._held: Held | None = None
        self._write: Write
        self.is_out = False
        """Whether the server has the headers."""
        self._is_head = environ.get("REQUEST_METHOD") == "HEAD"
        self._is_upgrade = "HTTP_UPGRADE" in environ

    def start(self, status: str, headers: Headers, exc_info: Any = None) -> Write:
        """Take the headers of the application: its ``start_response``."""
        if self.is_out:
            return self._send(status, headers, exc_info)  # raises, as the server does it
        if self._held is not None and exc_info is None:
            raise AssertionError("start_response was called a second time, without exc_info")
        self._held = status, headers, exc_info
        return self._write_through

    def _write_through(self, data: bytes) -> None:
        self.release()
        self._write(data)

    def release(self, final: bool = False) -> None:
        """Store the session and let the headers go; harmless when repeated.

        :param final: whether nobody can change the session any more.
        """
        if self._held is None:
            return
        status, headers, exc_info = self._held
        if status.startswith("5"):  # the application crashed, and answers that itself
            self.session.give_up()
            status, headers = self._explained(status, headers, exc_info)
        else:
            self.session.finish(final)
        self._let_go(status, headers, exc_info)

    def _let_go(self, status: str, headers: Headers, *exc_info: Any) -> None:
        self._held = None
        self._write = self._send(status, self.session._exchange.added_to(headers), *filter(None, exc_info))
        self.is_out = True

    def _explained(self, status: str, headers: Headers, exc_info: Any) -> tuple[str, Headers]:
        """Say what a crash means, if it was an error of the session that crashed the application."""
        for error in (exc_info[1] if exc_info else None, self.session.failure):
            if isinstance(error, SessionError) and error.is_refusal and status.startswith("500"):
                return _status(error), [*headers, *_retry_after(error)]
        return status, headers

    def end(self) -> None:
        """Let go of the session, and store what was changed behind the headers; harmless when repeated."""
        if self.is_out or self._is_upgrade:
            self.session.finish_late()
        else:
            self.session.give_up()

    def refuse(self, error: SessionError) -> list[bytes]:
        """Answer what an error of the session stands for; raise it if that is a crash, or the headers are out."""
        self.session.give_up()
        if self.is_out or not error.is_refusal:
            raise error
        if isinstance(error, StoreUnavailable):
            log.error("the session store is not available", exc_info=error)
        text = error.public.encode()
        headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text))),
                   *_retry_after(error)]
        self._let_go(_status(error), headers)
        return [] if self._is_head else [text]


class Stream:
    """A body that may still change the session."""

    def __init__(self, answer: Answer, chunks: Iterable[bytes]) -> None:
        self._answer = answer
        self._chunks = chunks
        self._steps: Iterator[bytes] | None = None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = self._next_chunk()
            self._answer.release()
        except SessionError as error:
            self._steps = iter(self._answer.refuse(error))
            chunk = next(self._steps, None)
        except BaseException:
            self._answer.session.give_up()
            raise
        if chunk is None:
            self._answer.end()
            raise StopIteration
        return chunk

    def _next_chunk(self) -> bytes | None:
        """Return what comes next, None behind the last; empty bytes are of no use before the headers are out."""
        if self._steps is None:
            self._steps = iter(self._chunks)
        return next((chunk for chunk in self._steps if chunk or self._answer.is_out), None)

    def close(self) -> None:
        """Close what the application returned, and let go of the session."""
        try:
            close(self._chunks)
        finally:
            self._answer.end()


def delivered(answer: Answer, chunks: Any, final: bool) -> Any:
    """Return the body for the server, behind the headers if they are there.

    :param final: whether nothing in it changes the session any more.
    """
    try:
        answer.release(final)
        if final:
            answer.end()
    except BaseException as error:
        answer.session.give_up()
        with contextlib.suppress(Exception):
            close(chunks)
        if isinstance(error, SessionError):
            return answer.refuse(error)
        raise
    return chunks if final else Stream(answer, chunks)


def close(chunks: Any) -> None:
    """Call the ``close()`` of a body, if it has one."""
    method = getattr(chunks, "close", None)
    if method is not None:
        method()


def _status(error: SessionError) -> str:
    return f"{error.status} {HTTPStatus(error.status).phrase}"


def _retry_after(error: SessionError) -> Headers:
    return [] if error.retry_after is None else [("Retry-After", str(error.retry_after))]
