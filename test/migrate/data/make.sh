#!/bin/bash
# Makes the captures in this folder anew: installs the real packages, old and new, each into a folder of its own, and
# runs the scripts beside under the Python that each needs.  It takes a network, redis-server, memcached, and Pythons
# in $PYTHONS (as pyenv keeps them).
set -eu

PYTHONS=${PYTHONS:-$HOME/.pyenv/versions}
HERE=$(cd "$(dirname "$0")" && pwd)
FOLDER=$(mktemp -d)
PORT=21212
export PYTHONDONTWRITEBYTECODE=1

redis-server --port 0 --unixsocket "$FOLDER/redis" --save "" --dir "$FOLDER" > /dev/null &
REDIS=$!
memcached -u root -l 127.0.0.1 -p $PORT &
MEMCACHED=$!
trap 'kill $REDIS $MEMCACHED; rm -rf "$FOLDER"' EXIT

make() {  # SYSTEM NAME PYTHON REQUIREMENT...
    local system=$1 name=$2 python=$PYTHONS/$3/bin/python
    shift 3
    "$python" -m pip install -q --disable-pip-version-check --target "$FOLDER/$system-$name" "$@"
    PYTHONPATH=$FOLDER/$system-$name "$python" "$HERE/$system/make.py" "$name" "$FOLDER/redis" $PORT
}

make beaker 1.5.4 2.7.18 Beaker==1.5.4
make beaker 1.8.1 2.7.18 Beaker==1.8.1 'SQLAlchemy<1.4' python-memcached==1.59
make beaker 1.11.0 3.8.18 Beaker==1.11.0 'SQLAlchemy<1.4' 'redis<5' python-memcached==1.59 'cryptography<40' pycryptodome
make beaker 1.14.1 3.10.13 Beaker==1.14.1 'SQLAlchemy>=2' 'redis<6' python-memcached cryptography pycryptodome

make django 1.11 2.7.18 Django==1.11.29 python-memcached==1.59 'django-redis<5' 'redis<4'
make django 2.2 3.8.18 Django==2.2.28
make django 3.2 3.10.13 Django==3.2.25
make django 6.1 3.13.0 'Django>=6.1,<6.2' redis pymemcache

make flask_session 0.3.1 2.7.18 Flask-Session==0.3.1 'Flask<1.1' 'Werkzeug<1' 'redis<4' python-memcached==1.59
make flask_session 0.5.0 3.10.13 Flask-Session==0.5.0 'Flask<2.3' 'Werkzeug<2.3' 'redis<5' cachelib==0.13.0 \
    'Flask-SQLAlchemy<3' 'SQLAlchemy<1.4' python-memcached
make flask_session 0.8.0 3.12.1 Flask-Session==0.8.0 'Flask>=3' 'redis<6' 'cachelib>=0.17' 'Flask-SQLAlchemy>=3' \
    'SQLAlchemy>=2' python-memcached
