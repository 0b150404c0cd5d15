# -*- coding: utf-8 -*-
"""Makes quixote2/ or quixote3/: what Quixote's own manager wrote into a shelf, with Quixote 2.9.2 under Python 2.7, or
with Quixote 3.8 under Python 3.11.

    cd test/migrate/data; PYTHONPATH=. python make_quixote.py
"""

import json
import os
import shelve
import shutil
import sys
from datetime import datetime

from quixote.directory import Directory
from quixote.http_request import HTTPRequest
from quixote.publish import Publisher
from quixote.session import Session, SessionManager

HERE = "quixote%d" % sys.version_info[0]
BEGAN = 1795000000.0  # a day in November 2026

if sys.version_info[0] == 2:
    import anydbm
    import dumbdbm

    anydbm._defaultmod = dumbdbm  # what Python 3 reads everywhere
else:
    import dbm
    import dbm.dumb

    dbm._defaultmod = dbm.dumb


def main():
    shutil.rmtree(HERE, True)
    os.mkdir(HERE)
    shelf = shelve.open(HERE + "/sessions.shelf")
    manager = SessionManager(session_mapping=shelf)
    publisher = Publisher(Directory(), session_manager=manager)
    publisher._set_request(HTTPRequest(None, {"REMOTE_ADDR": "192.0.2.7", "SCRIPT_NAME": ""}))
    ids = {}
    for name in ("anna", "bert"):
        session = Session(manager._make_session_id())
        session._creation_time, session._access_time = BEGAN, BEGAN + 60
        session.user, session.since, session.note = name, datetime(2026, 11, 28, 20, 15), u"Käse"
        token = session.create_form_token()
        manager[session.id] = session
        ids[name] = [session.id, token]
    shelf.close()
    with open(HERE + "/ids.json", "w") as file:
        json.dump(ids, file, indent=1)


if __name__ == "__main__":
    main()
