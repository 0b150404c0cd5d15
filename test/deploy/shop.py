"""The application that the servers of `test_deploy` serve: who asks is told the state of the session he names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

sys.path[:0] = os.environ["SHOP_PATH"].split(os.pathsep)

from session2 import SessionError  # noqa: E402
from session2.testing.store.samples import key_of, record_at  # noqa: E402
from session2.urls import from_url  # noqa: E402

store = from_url(os.environ["SHOP_STORE"])
NUMBERS = 40

if "SHOP_FILL" in os.environ:
    store.setup()
    for number in range(NUMBERS):
        store.write(key_of(number), record_at(store.clock(), str(number).encode()), None)
# Used before the server forks its workers: so there are connections to share.
assert store.read(key_of(0))


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    number = int(environ["PATH_INFO"].rpartition("/")[2])
    try:
        record = store.read(key_of(number))
        store.touch(key_of(number), store.clock(), None)
    except SessionError as error:
        start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
        return [f"{type(error).__name__}: {error}".encode()]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [record.data if record else b"nobody", f" {os.getpid()}".encode()]
