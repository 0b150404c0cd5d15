import os
import threading

from session2.store.volatile import VolatileSessionStore
from session2.testing import StoreSuite


class TestVolatile(StoreSuite):
    store_class = VolatileSessionStore


def test_a_fork_while_another_thread_joins_a_queue_leaves_the_child_able_to_lock() -> None:
    store = VolatileSessionStore()
    store.queues._own().mutex.acquire()
    child = os.fork()
    if child == 0:
        thread = threading.Thread(target=lambda: store.lock("a" * 64).release(), daemon=True)
        thread.start()
        thread.join(10)
        os._exit(thread.is_alive())
    store.queues._own().mutex.release()
    assert os.waitpid(child, 0)[1] == 0
