"""What setup.py requires for some extras, one line a package with ``--lowest``: its lowest version, for pip's ``-c``.

Runs on any Python, with nothing installed.
"""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

SETUP = Path(__file__).parents[1] / "setup.py"

FLOOR = re.compile(r"(?P<name>[\w.-]+)(?:\[[\w,-]+\])? *>= *(?P<version>[\w.]+)[^;]*(?P<marker>;.*)?")


def extras() -> dict[str, list[str]]:
    """Return what setup.py hands to setuptools."""
    given: dict[str, Any] = {}
    stand_in = ModuleType("setuptools")
    stand_in.find_packages = lambda *_, **__: []  # type: ignore[attr-defined]
    stand_in.setup = given.update  # type: ignore[attr-defined]
    real, sys.modules["setuptools"] = sys.modules.get("setuptools"), stand_in
    try:
        runpy.run_path(str(SETUP))
    finally:
        sys.modules.pop("setuptools")
        if real is not None:
            sys.modules["setuptools"] = real
    return dict(given["extras_require"])


def required(names: list[str]) -> list[str]:
    """Return the requirements of these extras, each once."""
    known = extras()
    return sorted({requirement for name in names for requirement in known[name]})


def lowest(requirements: list[str]) -> Iterator[str]:
    """Yield a constraint for each requirement that has a lowest version."""
    for requirement in requirements:
        floor = FLOOR.fullmatch(requirement)
        if floor:
            yield f"{floor['name']}=={floor['version']}{floor['marker'] or ''}"


if __name__ == "__main__":
    names = [name for argument in sys.argv[1:] if argument != "--lowest" for name in argument.split(",")]
    found = required(names)
    if "--lowest" in sys.argv:
        print(*lowest(found), sep="\n")
    else:
        print(*dict.fromkeys(re.split(r"[^\w.-]", requirement)[0] for requirement in found), sep=", ")
