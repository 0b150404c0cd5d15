"""Makes session3/: what the real session3 3.4.1 wrote, under Python 3.11.

    pip install session3==3.4.1 Quixote==3.8 Durus==4.3; cd test/migrate/data; python make_session3.py
"""

import json
import os
import shutil
from datetime import datetime

import durus.connection
import durus.file_storage
import shop
from quixote.directory import Directory
from quixote.http_request import HTTPRequest
from quixote.publish import Publisher
from quixote.util import randbytes
from session3.DictSession import DictSession
from session3.Session import Session
from session3.store.DirectorySessionStore import DirectorySessionStore
from session3.store.DurusSessionStore import DurusSessionStore
from session3.store.ShelveSessionStore import ShelveSessionStore

HERE = "session3"
BEGAN = 1795000000.0  # a day in November 2026


def main():
    shutil.rmtree(HERE, True)
    os.mkdir(HERE)
    Publisher(Directory())._set_request(HTTPRequest(None, {"REMOTE_ADDR": "192.0.2.7", "SCRIPT_NAME": ""}))
    anna, bert, carla = Session(randbytes(8)), DictSession(randbytes(8)), shop.ShopSession(randbytes(8))
    for session in (anna, bert, carla):
        session._creation_time, session._access_time = BEGAN, BEGAN + 60
    anna.user, anna.since, anna.raw = "anna", datetime(2026, 11, 28, 20, 15), b"\x80\xff"
    bert.user, bert["ü"] = "bert", {1, 2}
    carla.user = 42
    carla.basket = ["Käse"]
    tokens = [carla.create_form_token() for _ in range(20)]
    database = durus.connection.Connection(durus.file_storage.FileStorage(HERE + "/sessions.durus"))
    for store in (DirectorySessionStore(HERE + "/directory", create=True), DurusSessionStore(database),
                  ShelveSessionStore(HERE + "/sessions.shelf")):
        for session in (anna, bert, carla):
            store.save_session(session)
    with open(HERE + "/ids.json", "w") as file:
        json.dump({"anna": anna.id, "bert": bert.id, "carla": carla.id, "tokens": tokens}, file, indent=1)


if __name__ == "__main__":
    main()
