# -*- coding: utf-8 -*-
"""Makes cherrypy17/ or cherrypy18/: what CherryPy's own FileSession wrote in real requests, with CherryPy 17.4.2 under
Python 2.7, or with CherryPy 18.10 under Python 3.11.

    cd test/migrate/data; python make_cherrypy.py
"""

import datetime
import json
import os
import shutil
import sys

import cherrypy
from cherrypy.lib.sessions import FileSession

HERE = "cherrypy" + cherrypy.__version__.split(".")[0]
YEARS = 20 * 365 * 24 * 60  # in minutes


class Shop(object):
    @cherrypy.expose
    def index(self, name):
        cherrypy.session["username"] = name
        cherrypy.session["basket"] = [u"Käse", 3]
        cherrypy.session["since"] = datetime.datetime(2026, 11, 28, 20, 15)
        return cherrypy.session.id


def ask(timeout, name):
    config = {"/": {"tools.sessions.on": True, "tools.sessions.storage_class": FileSession,
                    "tools.sessions.storage_path": os.path.abspath(HERE), "tools.sessions.timeout": timeout}}
    application = cherrypy.Application(Shop(), "", config)
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "QUERY_STRING": "name=" + name, "SCRIPT_NAME": "",
               "HTTP_HOST": "localhost", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_NAME": "localhost", "SERVER_PORT": "80",
               "wsgi.url_scheme": "http", "wsgi.input": None, "wsgi.errors": sys.stderr, "wsgi.version": (1, 0),
               "wsgi.multithread": False, "wsgi.multiprocess": False, "wsgi.run_once": False}
    return b"".join(application(environ, lambda *given: None)).decode()


def main():
    shutil.rmtree(HERE, True)
    os.mkdir(HERE)
    ids = {"anna": ask(YEARS, "anna"), "bert": ask(YEARS, "bert"), "late": ask(-5, "late")}
    with open(HERE + ".json", "w") as file:
        json.dump(ids, file, indent=1)
    for name in os.listdir(HERE):  # a lock that is held is empty, what is left of it holds the number of its process
        if name.endswith(".lock"):
            open(os.path.join(HERE, name), "w").close()
    os._exit(0)  # CherryPy's thread that cleans up would delete what has expired


if __name__ == "__main__":
    main()
