# -*- coding: utf-8 -*-
"""Has a real Django, whichever is on the path, store sessions in its engines: ``make.py NAME REDIS MEMCACHED``.

NAME.json is written beside; REDIS is the path of a server's socket, MEMCACHED the port of one.  See ../make.sh.
"""

from __future__ import print_function

import datetime
import decimal
import importlib
import os
import shutil
import socket
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.remove(HERE)  # which is called django
sys.path.insert(0, os.path.join(HERE, os.pardir))

from capture import files_of, items_of, keys_of, write  # noqa: E402

SECRET = "django's secret"
PLAIN = {"basket": ["tea", "milk"], "name": u"K\xe4the", "long": "x" * 300}
RICH = dict(PLAIN, since=datetime.datetime(2011, 2, 3, 4, 5, 6), price=decimal.Decimal("1.20"), pair=(1, None))
AGE = 315360000


def configured(folder, redis, memcached):
    import django
    from django.conf import settings
    from django.core.management import call_command

    backends = "django.core.cache.backends."
    caches = {"default": {"BACKEND": backends + "locmem.LocMemCache"},
              "files": {"BACKEND": backends + "filebased.FileBasedCache", "LOCATION": folder + "/cache"},
              "table": {"BACKEND": backends + "db.DatabaseCache", "LOCATION": "shop_cache"}}
    if django.VERSION < (2,):
        caches["memcached"] = {"BACKEND": backends + "memcached.MemcachedCache", "LOCATION": "127.0.0.1:" + memcached}
        caches["redis"] = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "unix://" + redis + "?db=0"}
    if django.VERSION >= (5,):
        caches["memcached"] = {"BACKEND": backends + "memcached.PyMemcacheCache", "LOCATION": "127.0.0.1:" + memcached}
        caches["redis"] = {"BACKEND": backends + "redis.RedisCache", "LOCATION": "unix://" + redis}
    os.mkdir(folder + "/files")
    settings.configure(
        SECRET_KEY=SECRET, SESSION_COOKIE_AGE=AGE, SESSION_FILE_PATH=folder + "/files", CACHES=caches, USE_TZ=True,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder + "/shop.sqlite"}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"])
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("createcachetable", "shop_cache", verbosity=0)
    return caches


def session_of(engine, items, user=None, expiry=None):
    from django.contrib.auth import login
    from django.http import HttpRequest

    request = HttpRequest()
    request.session = importlib.import_module("django.contrib.sessions.backends." + engine).SessionStore()
    if user is not None:
        login(request, user)
    for name in items:
        request.session[name] = items[name]
    if expiry is not None:
        request.session.set_expiry(expiry)
    request.session.save()
    key = request.session.session_key
    return {"id": key, "cookie": "sessionid=" + key, "items": sorted(items), "user": user and str(user.pk),
            "expiry": expiry}


def visitors(engine, user, items, expires=True):
    found = [session_of(engine, items, user), session_of(engine, {"basket": ["jam"]})]
    if expires:
        found.append(session_of(engine, {"basket": ["bread"]}, expiry=AGE // 2))
    return found


def rows(table, columns):
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT " + columns + " FROM " + table)
        return [[str(value) for value in row] for row in cursor.fetchall()]


def engines(user, items):
    from django.contrib.sessions.models import Session

    found = {}
    Session.objects.all().delete()
    found["db"] = {"visitors": visitors("db", user, items)}
    found["db"]["over"] = session_of("db", {"basket": ["stale"]}, expiry=-60)
    found["db"]["rows"] = rows("django_session", "session_key, session_data, expire_date")
    found["file"] = {"visitors": visitors("file", user, items)}
    found["signed_cookies"] = {"visitors": visitors("signed_cookies", user, items)}
    return found


def cache(alias, folder, user, redis, memcached):
    from django.conf import settings

    settings.SESSION_CACHE_ALIAS = alias
    found = {"visitors": visitors("cache", user, RICH)}
    if alias == "files":
        found["files"] = files_of(folder + "/cache")
    elif alias == "table":
        found["rows"] = rows("shop_cache", "cache_key, value, expires")
    elif alias == "redis":
        import redis as driver
        client = driver.StrictRedis(unix_socket_path=redis)
        found["redis"] = keys_of(client)
        client.flushall()
    else:
        connection = socket.create_connection(("127.0.0.1", int(memcached)))
        keys = [":1:django.contrib.sessions.cache" + visitor["id"] for visitor in found["visitors"]]
        found["memcached"] = items_of(connection, keys)
        connection.close()
    return found


def main(name, redis, memcached):
    import django

    folder = tempfile.mkdtemp()
    caches = configured(folder, redis, memcached)
    from django.conf import settings
    from django.contrib.auth.models import User

    user = User.objects.create_user("ada", password="sesame")
    found = {"json": engines(user, PLAIN)}
    found["json"]["file"]["files"] = files_of(folder + "/files")
    for path in os.listdir(folder + "/files"):
        os.unlink(os.path.join(folder, "files", path))
    if django.VERSION < (5,):
        settings.SESSION_SERIALIZER = "django.contrib.sessions.serializers.PickleSerializer"
        found["pickle"] = engines(user, RICH)
        found["pickle"]["file"]["files"] = files_of(folder + "/files")
    for alias in sorted(set(caches) - {"default"}):
        found["cache-" + alias] = cache(alias, folder, user, redis, memcached)
    shutil.rmtree(folder)
    found["python"] = sys.version.split()[0]
    write(os.path.join(HERE, name + ".json"), found)
    print(name, django.VERSION, sorted(found))


main(*sys.argv[1:])
