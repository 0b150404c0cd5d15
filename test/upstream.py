"""The source distributions of what is installed, for their own test cases: wheels leave those out."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

CACHE = Path(__file__).parents[1] / "build" / "upstream"


def sources_of(name: str) -> Path:
    """Return the folder with the sources of the version of a distribution that is installed; fetched once."""
    folder = CACHE / f"{name}-{version(name)}"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--no-binary", name, "--dest", str(CACHE), f"{name}=={version(name)}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stdout + done.stderr
        (archive,) = (path for path in CACHE.glob("*.tar.gz") if path.name.lower() == f"{folder.name}.tar.gz")
        _unpack(archive, folder)
    return folder


def _unpack(archive: Path, folder: Path) -> None:
    begun = folder.with_suffix(".begun")
    with tarfile.open(archive) as sdist:
        for member in sdist:
            file = sdist.extractfile(member) if member.isfile() else None
            path = begun / member.name.partition("/")[2]
            if file is not None and path.resolve().is_relative_to(begun.resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())
    begun.rename(folder)
