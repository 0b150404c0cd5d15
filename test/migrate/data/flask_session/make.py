# -*- coding: utf-8 -*-
"""Has a real Flask-Session, whichever is on the path, store sessions: ``make.py NAME REDIS MEMCACHED``.

NAME.json is written beside; REDIS is the path of a server's socket, MEMCACHED the port of one.  See ../make.sh.
"""

from __future__ import print_function

import datetime
import os
import shutil
import socket
import sqlite3
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.remove(HERE)
sys.path.insert(0, os.path.join(HERE, os.pardir))

from capture import files_of, items_of, keys_of, text, write  # noqa: E402

SECRET = "flask's secret"
PLAIN = {"basket": ["tea", "milk"], "name": u"K\xe4the", "_user_id": "7", "_fresh": True, "_id": "f" * 16}
RICH = dict(PLAIN, pair=(1, None), since=datetime.datetime(2011, 2, 3, 4, 5, 6))
AGE = 315360000


def visit(app, items):
    """Return the cookie of a visitor whose session has these items."""
    import flask

    app.config["ITEMS"] = items
    answer = app.test_client().get("/")
    assert answer.status_code == 200, answer.data
    return {"cookie": answer.headers["Set-Cookie"].partition(";")[0], "items": sorted(items),
            "id": flask.json.loads(answer.data)}


def put():
    import flask

    for name, value in flask.current_app.config["ITEMS"].items():
        flask.session[name] = value
    return flask.json.dumps(getattr(flask.session, "sid", None))


def application(folder, redis, memcached, **settings):
    import flask
    import redis as driver

    app = flask.Flask("shop", root_path=folder)
    app.secret_key = SECRET
    app.add_url_rule("/", view_func=put)
    app.config.update(PERMANENT_SESSION_LIFETIME=datetime.timedelta(seconds=AGE), **settings)
    if settings.get("SESSION_TYPE") == "redis":
        app.config["SESSION_REDIS"] = driver.StrictRedis(unix_socket_path=redis)
    if settings.get("SESSION_TYPE") == "memcached":
        import memcache
        app.config["SESSION_MEMCACHED"] = memcache.Client(["127.0.0.1:" + memcached])
    if "SESSION_TYPE" in settings:
        from flask_session import Session
        Session(app)
        if settings["SESSION_TYPE"] == "sqlalchemy" and sys.version_info < (3, 11):
            with app.app_context():
                app.session_interface.db.create_all()
    return app


def captured(kind, redis, memcached, items, **settings):
    folder = tempfile.mkdtemp()
    settings.update({"filesystem": {"SESSION_FILE_DIR": folder + "/files"},
                     "sqlalchemy": {"SQLALCHEMY_DATABASE_URI": "sqlite:///" + folder + "/shop.sqlite",
                                    "SQLALCHEMY_TRACK_MODIFICATIONS": False}}.get(kind, {}))
    app = application(folder, redis, memcached, SESSION_TYPE=kind, **settings)
    found = {"visitors": [visit(app, items), visit(app, {"basket": ["jam"]})]}
    if kind == "filesystem":
        found["files"] = files_of(folder + "/files")
    elif kind == "redis":
        import redis as driver
        client = driver.StrictRedis(unix_socket_path=redis)
        found["redis"] = keys_of(client)
        client.flushall()
    elif kind == "memcached":
        connection = socket.create_connection(("127.0.0.1", int(memcached)))
        found["memcached"] = items_of(connection, ["session:" + visitor["id"] for visitor in found["visitors"]])
        connection.close()
    else:
        rows = sqlite3.connect(folder + "/shop.sqlite").execute("SELECT session_id, data, expiry FROM sessions")
        found["rows"] = [[name, text(bytes(data)), expiry] for name, data, expiry in rows]
    shutil.rmtree(folder)
    return found


def main(name, redis, memcached):
    old = name < "0.7"
    items = RICH if old else PLAIN
    found = {kind: captured(kind, redis, memcached, items) for kind in ("filesystem", "redis", "memcached")}
    if name != "0.3.1":
        found["sqlalchemy"] = captured("sqlalchemy", redis, memcached, items)
    found["signed"] = captured("redis", redis, memcached, items, SESSION_USE_SIGNER=True)
    if not old:
        found["json"] = captured("redis", redis, memcached, items, SESSION_SERIALIZATION_FORMAT="json")
    folder = tempfile.mkdtemp()
    app = application(folder, redis, memcached)
    found["flask"] = {"visitors": [visit(app, RICH), visit(app, {"basket": ["jam"], "bytes": b"\0", "long": "x" * 300})]}
    found["python"] = sys.version.split()[0]
    write(os.path.join(HERE, name + ".json"), found)
    print(name, sorted(found))


main(*sys.argv[1:])
