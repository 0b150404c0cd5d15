"""Greenlets of a worker that gunicorn forked from a program that was loaded before: `--preload` with gevent.

The locks of `threading` are replaced in the child, after the fork; one that was made before is the thread's, and so all
greenlets' at once.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WRITERS = """
import os, sqlite3, sys
from session2 import from_url
from session2.testing.store.samples import key_of, record_at

store = from_url("sqlite:" + sys.argv[1])
store.setup()
store.read(key_of(0))
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
from gevent import monkey
monkey.patch_all()
import gevent
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
lets = [gevent.spawn(store.write, key_of(number), record_at(store.clock()), None) for number in range(3)]
gevent.sleep(0.02)
other.execute("COMMIT")
gevent.joinall(lets, timeout=10, raise_error=True)
assert all(store.read(key_of(number)) for number in range(3))
"""


def test_writers_to_sqlite_wait_for_each_other(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITERS, str(tmp_path / "sessions.db")], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
