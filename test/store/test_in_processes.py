"""Stores of servers whose connections are the store's own: interrupted, killed and forked, in processes of their own.

The stores in SQL databases, which applications lend connections, have such tests in test/sql_cases.py.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Final

import pytest
from servers_couchdb import url_of

from session2.tokens import new_id

POOLS: Final = {"memcached": "store._servers.all[0]._pool", "redis_server": "store._servers._server._pool",
                "strict": "store._server._pool"}
ADDRESSES: Final = {"memcached": "it._socket.getsockname()", "redis_server": "it._socket.getsockname()",
                    "strict": "it._http.sock._socket.getsockname()"}
"""What the server calls a connection."""

BEGIN = """
import contextlib, ctypes, os, random, signal, sys, threading, time
from session2.errors import Conflict
from session2.testing.store.samples import key_of, record_at
from session2.urls import from_url

store = STORE
store.setup()
for number in range(20):
    store.write(key_of(number), record_at(store.clock(), str(number).encode()), None)

def ask():
    number = random.randrange(20)
    found = store.read(key_of(number))
    assert found.data == str(number).encode(), ("a stranger's session", number, found.data)
    return found, number
"""

INTERRUPTED = BEGIN + """
class Interruption(BaseException):
    pass

def interrupt(*_):
    raise Interruption

def ask_and_write():
    found, number = ask()
    with contextlib.suppress(Conflict):  # what was sent before may be carried out at any moment
        store.write(key_of(number), found, found.version)

signal.signal(signal.SIGALRM, interrupt)
interrupted = 0
while interrupted < 200:
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00005, 0.003))
        waited = time.monotonic() + 1  # a destructor may swallow the interruption
        while time.monotonic() < waited:
            ask_and_write()
    except Interruption:
        interrupted += 1

# All places are free.
met = threading.Barrier(2, timeout=10)
both = [threading.Thread(target=POOL.use, args=(lambda _: met.wait(),)) for _ in range(2)]
for thread in both:
    thread.start()
for thread in both:
    thread.join()
assert not met.broken
"""

KILLED = """
from gevent import monkey
monkey.patch_all()
import gevent
""" + BEGIN + """
answers = []

def work():
    while True:
        answers.append(ask())

rounds = 0
while rounds < 40 or len(answers) < 100:
    rounds += 1
    lets = [gevent.spawn(work) for _ in range(6)]
    gevent.sleep(random.uniform(0, 0.01 + rounds / 1000))
    gevent.killall(lets, block=True, timeout=10)
    for let in lets:
        assert isinstance(let.value, gevent.GreenletExit) and let.exception is None, let.exception
"""

FORKING = BEGIN + """
def connection():
    return POOL.use(lambda it: ADDRESS)

seen, mine = store.read(key_of(1)), connection()
child = eval(sys.argv[2])
if not child:
    assert connection() != mine
    store.write(key_of(1), seen, seen.version)
    store.write(key_of(21), record_at(store.clock()), None)
    sys.stdout.flush()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert store.read(key_of(21))
assert store.read(key_of(1)).version != seen.version
assert connection() == mine, "the child ended a connection of its parent"
store.close()
"""

BY_URL = "from_url(sys.argv[1])"
BY_CLIENT = "RedisSessionStore(redis.Redis.from_url(sys.argv[1]), prefix=sys.argv[3])"


@pytest.fixture(params=["memcached", "redis_server", "strict"])
def url(request: pytest.FixtureRequest) -> str:
    server = request.getfixturevalue(request.param)
    return f"{url_of(server)}?pool_size=2" if request.param == "strict" else \
        f"{server.url}?pool_size=2&prefix={new_id()}:"


def run(request: pytest.FixtureRequest, program: str, *arguments: str, store: str = BY_URL,
        warn: str = "error") -> None:
    """Run a program about a store; it must have nothing to complain of."""
    server = request.node.callspec.params.get("url", "redis_server")
    for name, text in (("STORE", store), ("POOL", POOLS[server]), ("ADDRESS", ADDRESSES[server])):
        program = program.replace(name, text)
    command = [sys.executable, "-W", warn, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_signal_at_any_moment_mixes_no_answers_up(request: pytest.FixtureRequest, url: str) -> None:
    run(request, INTERRUPTED, url, warn="ignore")  # what is interrupted half made, or destroyed, says so


def test_a_killed_greenlet_mixes_no_answers_up(request: pytest.FixtureRequest, url: str) -> None:
    run(request, KILLED, url, warn="ignore")


FORKS = pytest.mark.parametrize("fork", ["os.fork()", "ctypes.PyDLL(None).fork()"], ids=["python", "c"])
"""The second runs none of Python's hooks."""


@FORKS
def test_a_forked_child_has_connections_of_its_own(request: pytest.FixtureRequest, url: str, fork: str) -> None:
    run(request, FORKING, url, fork)


@FORKS
def test_so_has_one_whose_parent_lends_a_client_of_redis(request: pytest.FixtureRequest, redis_server: Any,
                                                         fork: str) -> None:
    imports = "import redis\nfrom session2.store.redis import RedisSessionStore\n"
    run(request, imports + FORKING, redis_server.url, fork, f"{new_id()}:", store=BY_CLIENT)
