"""An adapter for the standard library's HTTP server, and copies of it with one fault each, for `AdapterSuite` to catch.

Each function here serves; `sound` is as it should be.
"""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
from collections.abc import Callable
from http.cookies import SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

from session2 import Exchange, Session, SessionManager, StoreUnavailable, tokens
from session2.cookies import values_of
from session2.session import ties
from session2.testing.adapter import pages

Ready = Callable[[int], None]


class PlainExchange(Exchange):
    script_name = ""
    is_secure = False

    def __init__(self, request: BaseHTTPRequestHandler, https: bool) -> None:
        self.request = request
        self.is_secure = https
        self.cookies: dict[str, str] = {}
        self.headers: dict[str, list[str]] = {}

    @property
    def remote_address(self) -> str | None:
        return str(self.request.client_address[0])

    def get_cookie(self, name: str) -> str | None:
        return next(iter(self.get_cookies(name)), None)

    def get_cookies(self, name: str) -> list[str]:
        return values_of(self.request.headers.get("Cookie"), name)

    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        texts = (key.replace("_", "-") + ("" if text is True else f"={text}") for key, text in attributes.items())
        self.cookies[name] = "; ".join([f"{name}={value}", *texts])

    def add_header(self, name: str, value: str) -> None:
        values = self.headers.setdefault(name, [])
        if value not in values:
            values.append(value)


class Handler(BaseHTTPRequestHandler):
    exchange_class: type[PlainExchange] = PlainExchange

    def __init__(self, manager: SessionManager[Any], https: bool, *arguments: Any) -> None:
        self.manager = manager
        self.https = https
        super().__init__(*arguments)

    def do_GET(self) -> None:
        exchange = self.exchange_class(self, self.https)
        try:
            self.begin(exchange)
            status, text = self.page(exchange)
            self.end(exchange, status)
        except Exception:
            self.fail(exchange)
            self.answer(500, "failed", {})
        else:
            headers = {name: ", ".join(values) for name, values in exchange.headers.items()}
            self.answer(status, text, headers, list(exchange.cookies.values()))

    def begin(self, exchange: PlainExchange) -> None:
        self.manager.start_request(exchange)

    def end(self, exchange: PlainExchange, status: int) -> None:
        self.manager.finish_successful_request(exchange)

    def fail(self, exchange: PlainExchange) -> None:
        self.manager.finish_failed_request(exchange)

    def page(self, exchange: PlainExchange) -> tuple[int, str]:
        url = urlsplit(self.path)
        call = pages.Call(dict(parse_qsl(url.query)), session=lambda: exchange.session,
                          login=lambda user: exchange.session.set_user(user), user=lambda: exchange.session.user,
                          logout=lambda **options: self.manager.expire_session(exchange, **options))
        try:
            return 200, pages.answer(url.path, call)
        except pages.Redirect:
            return 302, "elsewhere"
        except pages.NotFound:
            return 404, "not found"

    def answer(self, status: int, text: str, headers: dict[str, str], cookies: list[str] | None = None) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        for cookie in cookies or []:
            self.send_header("Set-Cookie", cookie)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


def serve(handler: type[Handler], manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    with Server(("127.0.0.1", 0), functools.partial(handler, manager, https)) as server:
        ready(server.server_port)
        server.serve_forever()


sound = functools.partial(serve, Handler)


def beside_a_process(manager: SessionManager[Any], ready: Ready, https: bool) -> None:
    other = multiprocessing.get_context("fork").Process(target=int)
    other.start()
    other.join()
    sound(manager, ready, https)


# -- faults --------------------------------------------------------------------------------------------------------


def with_fault(handler: type[Handler]) -> functools.partial[None]:
    return functools.partial(serve, handler)


def with_exchange(exchange: type[PlainExchange]) -> functools.partial[None]:
    return functools.partial(serve, type("Faulty", (Handler,), {"exchange_class": exchange}))


@with_fault
class saves_on_crash(Handler):
    def fail(self, exchange: PlainExchange) -> None:
        self.manager.finish_successful_request(exchange)


@with_fault
class forgets_to_end_a_crash(Handler):
    shown: ClassVar[list[PlainExchange]] = []
    """Where a page for developers keeps what crashed: the lock of a request that nobody has any more is free."""

    def fail(self, exchange: PlainExchange) -> None:
        self.shown.append(exchange)


@with_fault
class takes_404_for_a_crash(Handler):
    def end(self, exchange: PlainExchange, status: int) -> None:
        if status == 404:
            self.manager.finish_failed_request(exchange)
        else:
            super().end(exchange, status)


@with_fault
class takes_redirections_for_a_crash(Handler):
    def end(self, exchange: PlainExchange, status: int) -> None:
        if status == 302:
            self.manager.finish_failed_request(exchange)
        else:
            super().end(exchange, status)


@with_fault
class sends_the_cookie_always(Handler):
    def end(self, exchange: PlainExchange, status: int) -> None:
        super().end(exchange, status)
        if exchange.session is not None and exchange.session.id is not None:
            self.manager.set_session_cookie(exchange.session.id, exchange)


@with_fault
class revokes_what_it_does_not_know(Handler):
    def begin(self, exchange: PlainExchange) -> None:
        super().begin(exchange)
        if exchange.session is not None and exchange.session.id is None:
            self.manager.revoke_session_cookie(exchange)


@with_fault
class fails_open(Handler):
    def begin(self, exchange: PlainExchange) -> None:
        try:
            super().begin(exchange)
        except StoreUnavailable:
            exchange.session = self.manager.new_session()

    def end(self, exchange: PlainExchange, status: int) -> None:
        if exchange.visit is not None:
            super().end(exchange, status)


@with_fault
class ignores_a_save_that_failed(Handler):
    def end(self, exchange: PlainExchange, status: int) -> None:
        with contextlib.suppress(StoreUnavailable):
            super().end(exchange, status)


@with_fault
class adopts_ids(Handler):
    def end(self, exchange: PlainExchange, status: int) -> None:
        sent, session = exchange.get_cookie("session2"), exchange.session
        if session is not None and session.origin is None and session.has_info() and tokens.is_id(sent):
            session.id = sent
            self.manager.store.sessions.save(session)
        super().end(exchange, status)


@with_fault
class keeps_the_id_at_login(Handler):
    def end(self, exchange: PlainExchange, status: int) -> None:
        session = exchange.session
        if session is not None and session.origin is not None and session.has_info():
            self.manager.store.sessions.save(session)
        super().end(exchange, status)


@with_fault
class lets_the_last_writer_win(Handler):
    def end(self, exchange: PlainExchange, status: int) -> None:
        session = exchange.session
        stored = self.manager.load(session.id) if session is not None else None
        if session is not None and stored is not None and exchange.visit is not None and not exchange.visit.ended:
            ties(session).origin = stored.origin
        super().end(exchange, status)


@with_fault
class restores_what_was_logged_out(Handler):
    def end(self, exchange: PlainExchange, status: int) -> None:
        session = exchange.session
        if session is not None and session.origin is not None and self.manager.load(session.id) is None:
            ties(session).origin = session.id = None
        super().end(exchange, status)


@with_fault
class locks_nothing(Handler):
    def begin(self, exchange: PlainExchange) -> None:
        self.manager.start_request(exchange, concurrency="merge")


_SHARED: list[Session] = []


@with_fault
class shares_one_session(Handler):
    def begin(self, exchange: PlainExchange) -> None:
        super().begin(exchange)
        assert exchange.session is not None
        _SHARED.append(exchange.session)
        exchange.session = _SHARED[0]


@with_exchange
class trusts_cookies_to_be_ascii(PlainExchange):
    def get_cookies(self, name: str) -> list[str]:
        return [value.encode("ascii").decode() for value in super().get_cookies(name)]


@with_exchange
class writes_what_a_cookie_says(PlainExchange):
    def get_cookies(self, name: str) -> list[str]:
        for value in super().get_cookies(name):
            if value.startswith(".."):
                with open("store/" + value, "w"):
                    pass
        return super().get_cookies(name)


@with_exchange
class drops_httponly(PlainExchange):
    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        attributes.pop("httponly", None)
        super().set_cookie(name, value, **attributes)


@with_exchange
class deletes_without_attributes(PlainExchange):
    def set_cookie(self, name: str, value: str, **attributes: Any) -> None:
        super().set_cookie(name, value, **(attributes if value else {"max_age": 0, "path": "/"}))


@with_exchange
class does_not_know_of_https(PlainExchange):
    is_secure = property(lambda self: False, lambda self, https: None)  # type: ignore[assignment]


@with_exchange
class knows_no_address(PlainExchange):
    remote_address = None


@with_exchange
class sends_no_vary(PlainExchange):
    def add_header(self, name: str, value: str) -> None:
        if name != "Vary":
            super().add_header(name, value)


@with_exchange
class may_be_cached(PlainExchange):
    def add_header(self, name: str, value: str) -> None:
        if name != "Cache-Control":
            super().add_header(name, value)


@with_exchange
class knows_one_cookie_name(PlainExchange):
    def get_cookies(self, name: str) -> list[str]:
        pairs = (part.strip().partition("=") for part in self.request.headers.get("Cookie", "").split(";"))
        return [value for _, _, value in pairs][:1]


@with_exchange
class trusts_the_last_cookie(PlainExchange):
    def get_cookies(self, name: str) -> list[str]:
        return super().get_cookies(name)[-1:]


@with_exchange
class trusts_the_first_cookie(PlainExchange):
    def get_cookies(self, name: str) -> list[str]:
        return super().get_cookies(name)[:1]


@with_exchange
class takes_any_space_for_blanks(PlainExchange):
    def get_cookies(self, name: str) -> list[str]:
        pairs = [pair.partition("=") for pair in self.request.headers.get("Cookie", "").split(";")]
        return [value.strip() for key, _, value in pairs if key.strip() == name]


@with_exchange
class takes_the_order_of_cookies_for_chance(PlainExchange):
    def get_cookies(self, name: str) -> list[str]:
        return super().get_cookies(name)[::-1]


@with_exchange
class expects_only_good_cookies(PlainExchange):
    def get_cookies(self, name: str) -> list[str]:
        found = SimpleCookie(self.request.headers.get("Cookie", ""))
        return [found[name].value] if name in found else []
