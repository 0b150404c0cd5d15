import pytest

from session2.store.shelve import ShelveSessionStore
from session2.testing.store import StoreSuite


class TestShelve(StoreSuite):
    store_class = ShelveSessionStore
    flavour = None

    def arguments(self, tmp_path):
        return (tmp_path / "sessions.shelf",), {"flavour": self.flavour}


class TestSQLiteFlavour(TestShelve):
    flavour = "sqlite3"
