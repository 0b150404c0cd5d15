"""A disk that is full, or cannot be written: what was acknowledged stays, and once there is room all goes on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from servers_durus import marked

STORES = {"directory": "directory:{}/sessions?create=true", "shelve": "shelve:{}/sessions?create=true",
          "sqlite": "sqlite:{}/sessions.db", "durus": "durus:{}/sessions.durus?create=true"}
URLS = pytest.mark.parametrize("url", marked(STORES.values()), ids=STORES)

FILL = """
import sys
from session2 import DictSession, SessionManager, StoreUnavailable, from_url

url = sys.argv[1]
manager = SessionManager(from_url(url), DictSession)
manager.store.setup()
kept, refused = {}, 0
while refused < 20:
    session = manager.new_session()
    session["text"] = "x" * 5000
    try:
        manager.save(session)
        kept[session.id] = 0
    except StoreUnavailable:
        refused += 1
assert len(kept) > 20, len(kept)
for id in list(kept)[:20]:
    session = manager.load(id)
    session["n"] = 1
    session["text"] = "y" * 20000
    try:
        manager.save(session)
        kept[id] = 1
    except StoreUnavailable:
        refused += 1
assert refused > 20, "the disk is not full"

manager.store.close()
manager = SessionManager(from_url(url), DictSession)
for id, n in kept.items():
    session = manager.load(id)
    assert session is not None, "an acknowledged session is lost"
    assert (session.get("n", 0), session["text"][0]) == (n, "xy"[n]), "neither the old state nor the new one"
assert len(manager.keys()) >= len(kept)
"""

GO_ON = """
import os
os.unlink(sys.argv[2])  # room again
session = manager.new_session()
session["text"] = "z" * 5000
manager.save(session)
assert manager.load(session.id)["text"][0] == "z"
for id in list(kept)[:10]:
    manager.delete(id)
    assert manager.load(id) is None
manager.store.close()
"""


def run_apart(script: str, *arguments: str) -> None:
    """Run a shell script with mounts of its own, so that it can have a small disk."""
    namespaces = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    folder = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(folder / "adapters")])}
    done = subprocess.run(["unshare", *namespaces, "sh", "-ec", script, "sh", sys.executable, *arguments],
                          capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


@URLS
def test_full_disk(url: str, tmp_path: Path) -> None:
    program = tmp_path / "fill.py"
    program.write_text(FILL + GO_ON)
    disk = tmp_path / "disk"
    disk.mkdir()
    run_apart('mount -t tmpfs -o size=2m none "$3"; head -c 500000 /dev/zero > "$3/ballast";'
              '"$1" -W error "$2" "$4" "$3/ballast"', str(program), str(disk), url.format(disk))


READ_ONLY = """
import sys
from session2 import DictSession, SessionManager, StoreUnavailable, from_url

manager = SessionManager(from_url(sys.argv[1]), DictSession)
for what in (lambda: manager.save(manager.new_session()), lambda: manager.load(sys.argv[2])):
    try:
        found = what()
    except StoreUnavailable as error:
        print(error)
    else:
        assert found is not None and found["n"] == 1, "neither the session nor an error"
"""


@URLS
def test_read_only_disk(url: str, tmp_path: Path) -> None:
    """A session can be read where the format allows that, and nothing is ever lost or made up."""
    from session2 import DictSession, SessionManager, from_url

    disk = tmp_path / "disk"
    disk.mkdir()
    manager: SessionManager[DictSession] = SessionManager(from_url(url.format(disk)), DictSession)
    manager.store.setup()
    session = manager.new_session()
    session["n"] = 1
    manager.save(session)
    manager.store.close()
    program = tmp_path / "look.py"
    program.write_text(READ_ONLY)
    run_apart('mount --bind "$3" "$3"; mount -o remount,ro,bind "$3"; "$1" -W error "$2" "$4" "$5"',
              str(program), str(disk), url.format(disk), str(session.id))
    assert manager.load(session.id) is not None
    manager.store.close()
