"""What the scripts beside have in common: writing down what a real package made.  It runs under Python 2.7 too.

A capture is a JSON file: what was stored, byte for byte, the cookies of the visitors, and what they were told.
"""

import base64
import json
import os


def text(data):
    """Return bytes as text."""
    return base64.b64encode(data).decode("ascii")


def files_of(folder):
    """Return the files below a folder: path to [bytes, time of the last change]."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = [text(file.read()), int(os.stat(path).st_mtime)]
    return found


def keys_of(client):
    """Return what a Redis server has: key to [bytes, seconds it still has]; locks are left out."""
    return {key.decode(): [text(client.get(key)), client.ttl(key)] for key in client.keys("*")
            if not key.startswith(b"beaker_lock")}


def items_of(connection, keys):
    """Return what a memcached has, over a socket: key to [bytes, flags]."""
    found = {}
    for key in keys:
        connection.sendall(b"get " + key.encode() + b"\r\n")
        answer = b""
        while not answer.endswith(b"END\r\n"):
            answer += connection.recv(65536)
        head, _, rest = answer.partition(b"\r\n")
        _, _, flags, size = head.split()
        found[key] = [text(rest[:int(size)]), int(flags)]
    return found


def write(path, captured):
    """Write a capture."""
    with open(path, "w") as file:
        json.dump(captured, file, indent=1, sort_keys=True)
        file.write("\n")
