"""What the server is told: its own commands, and scripts of one key each, so that a cluster runs them too."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from .layout import HEAD, MAGIC
from .wire import Words

_LIVE: Final = f"""
local head = redis.call('GETRANGE', KEYS[1], 0, {HEAD - 1})
local live = #head == {HEAD} and string.sub(head, 1, 4) == '{MAGIC.decode()}'
    and struct.unpack('>d', head, 41) > struct.unpack('>d', ARGV[1])
"""
"""What every script begins with; ``ARGV[1]`` is the time."""


class Script(NamedTuple):
    """A script, and the name by which the server knows it once it has run."""

    text: bytes
    digest: bytes


class Command(NamedTuple):
    """A command about one key."""

    name: bytes
    """The key."""
    words: Words
    script: Script | None = None
    """What it runs."""

    def in_full(self) -> Words:
        """Return what is sent to a server that does not know the script."""
        return self.words if self.script is None else (b"EVAL", self.script.text, *self.words[2:])


def plain(verb: bytes, name: bytes, *arguments: bytes) -> Command:
    """Return a command that the server has."""
    return Command(name, (verb, name, *arguments))


def scripted(script: Script, name: bytes, *arguments: bytes) -> Command:
    """Return a command that is a script."""
    return Command(name, (b"EVALSHA", script.digest, b"1", name, *arguments), script)


def _script(text: str) -> Script:
    source = text.encode()
    return Script(source, hashlib.sha1(source, usedforsecurity=False).hexdigest().encode())


WRITE: Final = _script(_LIVE + f"""
local expected, recent = ARGV[2], nil
if live then
    if string.sub(head, 49, 56) ~= expected then return 0 end
    recent = string.sub(head, 49, {HEAD - 8})
elseif expected ~= '' then
    return 0
else
    recent = string.rep('\\0', {HEAD - 56})
end
local value = ARGV[3] .. recent .. ARGV[4]
if ARGV[5] == '' then
    redis.call('SET', KEYS[1], value)
else
    redis.call('SET', KEYS[1], value, 'PX', ARGV[5])
end
return 1
""")
"""Arguments: time, expected version or nothing, head, body, milliseconds to keep it or nothing.  Tells whether it
wrote."""

TOUCH: Final = _script(_LIVE + """
if not live then return 0 end
if struct.unpack('>d', ARGV[2]) > struct.unpack('>d', head, 33) then
    redis.call('SETRANGE', KEYS[1], 32, ARGV[2])
    if ARGV[3] == '' then
        redis.call('PERSIST', KEYS[1])
    else
        redis.call('PEXPIRE', KEYS[1], ARGV[3])
    end
end
return 1
""")
"""Arguments: time, times, milliseconds to keep it or nothing.  Tells whether a live record stands there."""

REMOVE: Final = _script(_LIVE + """
if not live then return 1 end
if string.sub(head, 49, 56) ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
return 1
""")
"""Arguments: time, version.  Tells whether it is not there any more."""

PURGE: Final = _script(f"""
if redis.call('GETRANGE', KEYS[1], 0, {HEAD - 1}) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
""")
"""Removes a record whose head is still the one that was looked at."""

SWEEP: Final = _script("""
local swept = 0
for number = 2, #ARGV do
    local added = redis.call('ZSCORE', KEYS[1], ARGV[number])
    if added and tonumber(added) <= tonumber(ARGV[1]) then
        swept = swept + redis.call('ZREM', KEYS[1], ARGV[number])
    end
end
return swept
""")
"""Takes entries out of an index, unless they were added after a time."""
