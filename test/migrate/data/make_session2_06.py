# -*- coding: utf-8 -*-
"""Makes session2_06/: what the real session2 0.6.1 wrote, under Python 2.7.

    pip install 'Quixote<3' 'Durus<4'; git clone github.com/rojalator/session3, whose commit 6aab30b is session2 0.6.1
    cd test/migrate/data; PYTHONPATH=<that checkout>:. python2.7 make_session2_06.py

`shop.py` beside this is the application.  The rows of the databases are what the store's own code sends: the id, and a
pickle of protocol 2 for MySQL and of protocol 0 for PostgreSQL.
"""

import json
import os
import shutil
from datetime import datetime
from decimal import Decimal

import durus.connection
import durus.file_storage
import shop
from quixote.directory import Directory
from quixote.http_request import HTTPRequest
from quixote.publish import Publisher
from session2.DictSession import DictSession
from session2.Session import Session
from session2.SessionManager import SessionManager
from session2.store.DirectorySessionStore import DirectorySessionStore
from session2.store.DurusSessionStore import DurusSessionStore
from session2.store.MySQLSessionStore import MySQLSessionStore
from session2.store.PostgresSessionStore import PostgresSessionStore
from session2.store.ShelveSessionStore import ShelveSessionStore
from session2.store.VolatileSessionStore import VolatileSessionStore

HERE = "session2_06"
BEGAN = 1795000000.0  # a day in November 2026


class Connection(object):
    """Takes what a store sends to its database."""

    def __init__(self):
        self.rows, self.rowcount = {}, 0

    def cursor(self):
        return self

    def execute(self, sql, values=None):
        if "p" in (values or {}):
            self.rows[values["id"]] = values["p"].encode("hex")

    def fetchall(self):
        return [["sessions"]]

    def commit(self):
        pass

    rollback = commit


def make_sessions():
    ids = SessionManager(VolatileSessionStore())
    made = [Session(ids._make_session_id()), DictSession(ids._make_session_id()),
            shop.ShopSession(ids._make_session_id()), shop.ShopSession(ids._make_session_id()),
            DictSession(ids._make_session_id())]
    for session in made:
        session._creation_time, session._access_time = BEGAN, BEGAN + 60
    anna, bert, carla, dora, nobody = made
    anna.user = "anna"
    anna.basket, anna.since, anna.cheese = ["apples", u"pears"], datetime(2026, 11, 28, 20, 15), "K\xc3\xa4se"
    bert.user = u"bert"
    bert["count"], bert["\xc3\xbc"] = 3, set([1, 2])
    carla.user, carla.money, carla.digest, carla.big = 42, Decimal("9.90"), "\x80\xff", 2L ** 70
    dora.user, dora.cart = "dora", shop.Cart(["bread"])
    nobody["colour"] = u"gr\xfcn"  # in a pickle of protocol 0, bytes that no PostgreSQL with UTF-8 takes
    return made


def main():
    shutil.rmtree(HERE, True)
    os.mkdir(HERE)
    publisher = Publisher(Directory())
    publisher._set_request(HTTPRequest(None, {"REMOTE_ADDR": "192.0.2.7", "SCRIPT_NAME": ""}))
    sessions = make_sessions()
    database = durus.connection.Connection(durus.file_storage.FileStorage(HERE + "/sessions.durus"))
    mysql, postgres = Connection(), Connection()
    stores = [DirectorySessionStore(HERE + "/directory", create=True), ShelveSessionStore(HERE + "/sessions.shelf"),
              DurusSessionStore(database), MySQLSessionStore(mysql), PostgresSessionStore(postgres)]
    for session in sessions:
        for store in stores:
            store.save_session(session)
    names = ["anna", "bert", "carla", "dora", "nobody"]
    with open(HERE + "/rows.json", "w") as file:
        json.dump({"ids": dict(zip(names, [session.id for session in sessions])), "mysql": mysql.rows,
                   "postgresql": postgres.rows}, file, indent=1, sort_keys=True)


if __name__ == "__main__":
    main()
