"""A fork that no hook of Python hears of, as uWSGI's."""

import ctypes
import os
import select
import signal
import time

_fork = ctypes.PyDLL(None).fork  # with the interpreter's lock held, as those who embed Python do it


def fork_in_c() -> int:
    """Fork, and return the child's number; 0 in the child.

    Where other threads wait for the interpreter's lock at that moment, the child believes that they still do, and hangs
    when it lets go of it the first time or some times later: `drop_gil` signals a condition, and the C library waits
    for those who were woken by that.  CPython's hooks would have begun anew.  Such a child is given up, and another one
    made.
    """
    for _ in range(20):
        alive, tell = os.pipe()
        child = _fork()
        if not child:
            for _ in range(64):
                time.sleep(0)
            os.write(tell, b".")
        os.close(tell)
        is_alive = not child or select.select([alive], [], [], 5)[0]
        os.close(alive)
        if is_alive:
            return int(child)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    raise AssertionError("no fork in C worked in this process")


def importing() -> dict[str, str]:
    """Return the environment of a program that is to import this module too."""
    path = [os.path.dirname(os.path.abspath(__file__)), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))}
