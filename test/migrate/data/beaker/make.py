# -*- coding: utf-8 -*-
"""Has a real Beaker, whichever is on the path, store sessions in every way it knows: ``make.py NAME REDIS MEMCACHED``.

NAME.json is written beside; REDIS is the path of a server's socket, MEMCACHED the port of one.  See ../make.sh.
"""

from __future__ import print_function

import datetime
import decimal
import os
import shutil
import socket
import sqlite3
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir))

from capture import files_of, items_of, keys_of, text, write  # noqa: E402

SECRET = "beaker's secret"
PLAIN = {"user": "ada", "basket": ["tea", "milk"], "name": u"K\xe4the"}
RICH = dict(PLAIN, since=datetime.datetime(2011, 2, 3, 4, 5, 6), price=decimal.Decimal("1.20"), pair=(1, None),
            both={1, 2})


def application(environ, start_response):
    session = environ["beaker.session"]
    wanted = environ["test.items"]
    for name in wanted:
        session[name] = wanted[name]
    session.save()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [session.id.encode()]


def visit(items, **options):
    """Return the cookie and the id of a visitor whose session has these items."""
    from beaker.middleware import SessionMiddleware

    app = SessionMiddleware(application, **{"session." + name: value for name, value in options.items()})
    told = []
    body = app({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "SCRIPT_NAME": "", "test.items": items},
               lambda status, headers, exc_info=None: told.extend(headers))
    return {"cookie": dict(told)["Set-cookie"].strip().partition(";")[0], "id": b"".join(body).decode()}


def stored(kind, folder, redis, memcached):
    return {"file": {"data_dir": folder}, "dbm": {"type": "dbm", "data_dir": folder},
            "database": {"type": "ext:database", "url": "sqlite:///" + folder + "/beaker.sqlite", "lock_dir": folder},
            "redis": {"type": "ext:redis", "url": "unix://" + redis, "timeout": 315360000},
            "memcached": {"type": "ext:memcached", "url": "127.0.0.1:" + memcached, "lock_dir": folder}}[kind]


def captured(kind, redis, memcached, items, **options):
    folder = tempfile.mkdtemp()
    options.update(stored(kind, folder, redis, memcached))
    found = {"visitors": [visit(items, **options), visit({"basket": ["jam"]}, **options)]}
    if kind == "redis":
        import redis as driver
        client = driver.StrictRedis(unix_socket_path=redis)
        found["redis"] = keys_of(client)
        client.flushall()
    elif kind == "memcached":
        with_session = [visitor["id"] + "_session" for visitor in found["visitors"]]
        connection = socket.create_connection(("127.0.0.1", int(memcached)))
        found["memcached"] = items_of(connection, with_session)
        connection.close()
    elif kind == "database":
        rows = sqlite3.connect(folder + "/beaker.sqlite").execute(
            "SELECT namespace, accessed, created, data FROM beaker_cache")
        found["rows"] = [[name, accessed, created, text(bytes(data))] for name, accessed, created, data in rows]
    else:
        found["files"] = {name: content for name, content in files_of(folder).items() if "lock" not in name}
    shutil.rmtree(folder)
    return found


def main(name, redis, memcached):
    import beaker
    kinds = {"1.5.4": ["file", "dbm"], "1.8.1": ["file", "dbm", "database", "memcached"]}.get(
        name, ["file", "dbm", "database", "redis", "memcached"])
    found = {kind: captured(kind, redis, memcached, RICH) for kind in kinds}
    found["signed"] = captured("file", redis, memcached, RICH, secret=SECRET)
    if name != "1.5.4":
        found["json"] = captured("file", redis, memcached, PLAIN, data_serializer="json")
    if name not in ("1.5.4", "1.8.1"):
        found["encrypted"] = captured("file", redis, memcached, RICH, encrypt_key="k" * 32, validate_key="v" * 32)
        found["encrypted48"] = captured("file", redis, memcached, PLAIN, encrypt_key="k" * 32, validate_key="v" * 32,
                                        encrypt_nonce_bits=48, data_serializer="json", crypto_type="pycrypto")
        cookie = {"type": "cookie", "validate_key": "v" * 32}
        found["cookie"] = {"visitors": [visit(PLAIN, data_serializer=serializer, **cookie)
                                        for serializer in ("pickle", "json")]}
        found["encrypted_cookie"] = {"visitors": [visit(PLAIN, encrypt_key="k" * 32, **cookie)]}
    found["python"] = sys.version.split()[0]
    write(os.path.join(os.path.dirname(os.path.abspath(__file__)), name + ".json"), found)
    print(name, getattr(beaker, "__version__", ""), sorted(found))


main(*sys.argv[1:])
