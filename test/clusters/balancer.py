"""HAProxy before the servers of a cluster, with a check of health that asks the servers themselves."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from servers_sql import Server, program

_CONFIG = """
global
    stats socket {folder}/socket
    maxconn 400
defaults
    mode tcp
    timeout connect 2s
    timeout check 2s
    timeout client 60s
    timeout server 60s
listen cluster
    bind 127.0.0.1:{port}
    option httpchk GET /
    default-server inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions
"""


class Health:
    """Answers HAProxy's question whether a server may be used, on a port for each.

    :param checks: by the port of each server, what tells whether it may be used; an exception means no.
    """

    def __init__(self, checks: Mapping[int, Callable[[], bool]]) -> None:
        self.ports: dict[int, int] = {}
        self._servers: list[ThreadingHTTPServer] = []
        for port, check in checks.items():
            server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(check))
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self._servers.append(server)
            self.ports[port] = server.server_port

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _handler(check: Callable[[], bool]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                healthy = check()
            except Exception:
                healthy = False
            self.send_response(200 if healthy else 503)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


class Balancer(Server):
    """Sends every connection to the first of the servers that is healthy.

    :param checks: see `Health`.
    """

    account = "nobody"
    stop_signal = crash_signal = signal.SIGTERM
    fast = durable = {}

    def __init__(self, checks: Mapping[int, Callable[[], bool]]) -> None:
        self.health = Health(checks)
        super().__init__()

    def prepare(self) -> None:
        lines = [_CONFIG.format(folder=self.folder, port=self.port)]
        for number, (port, asked_at) in enumerate(self.health.ports.items()):
            spare = " backup" if number else ""
            lines.append(f"    server node{number} 127.0.0.1:{port} check port {asked_at}{spare}\n")
        (self.folder / "config").write_text("".join(lines))
        (self.folder / "config").chmod(0o644)

    def command(self) -> list[str]:
        return [program("haproxy"), "-db", "-f", str(self.folder / "config")]

    def socket(self) -> str:
        return str(self.folder / "socket")

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def close(self) -> None:
        super().close()
        self.health.close()

