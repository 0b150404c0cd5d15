"""A store that cannot list passes the suite: plain values under keys, as memcached keeps them."""

from __future__ import annotations

import itertools
import pickle
import secrets
import threading

from session2.errors import Conflict
from session2.store.base import SessionStore
from session2.store.records import checked_key
from session2.testing import StoreSuite


class Flat:
    """Values under keys, each with a token that changes when the value does."""

    def __init__(self):
        self.values, self.tokens, self.mutex = {}, itertools.count(1), threading.Lock()

    def gets(self, key):
        with self.mutex:
            return self.values.get(key, (None, None))

    def cas(self, key, value, token):
        """Set the value unless somebody else did since the token was given; tell whether it is set."""
        with self.mutex:
            if self.values.get(key, (None, None))[1] != token:
                return False
            self.values[key] = value, next(self.tokens)
            return True


class FlatStore(SessionStore):
    is_thread_safe = True
    can_list = False

    def __init__(self, **options):
        super().__init__(**options)
        self.flat = Flat()

    def read(self, key):
        return self._gets(key)[0]

    def write(self, key, record, expected):
        version = secrets.token_hex(16)
        self._change(key, lambda found: self._compare(found, expected) or record._replace(version=version))
        return version

    def touch(self, key, accessed, expires):
        return self._change(key, lambda found: found._replace(accessed=accessed, expires=expires)
                            if found and accessed > found.accessed else found)

    def remove(self, key, expected=None):
        self._change(key, lambda found: self._compare(found, expected) if found and expected else None)

    def purge(self, now=None, batch=1000, unused_since=None):
        return 0

    def _gets(self, key):
        value, token = self.flat.gets(checked_key(key))
        record = pickle.loads(value) if value else None
        return (record if record and record.is_live(self.clock()) else None), token

    def _change(self, key, make):
        """Put what `make` makes of the record in its place, in one step; None: nothing.  Tell whether one is there."""
        while True:
            found, token = self._gets(key)
            new = make(found)
            if new is found or self.flat.cas(key, new and pickle.dumps(new), token):
                return new is not None

    def _compare(self, found, expected):
        if (found.version if found else None) != expected:
            raise Conflict("the record changed")


class TestFlat(StoreSuite):
    store_class = FlatStore
