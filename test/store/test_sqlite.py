from session2.store.sqlite import SQLiteSessionStore
from session2.testing.store import StoreSuite


class TestSQLite(StoreSuite):
    store_class = SQLiteSessionStore

    def arguments(self, tmp_path):
        return (tmp_path / "sessions.db",), {}
