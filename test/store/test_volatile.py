from session2.store.volatile import VolatileSessionStore
from session2.testing import StoreSuite


class TestVolatile(StoreSuite):
    store_class = VolatileSessionStore
