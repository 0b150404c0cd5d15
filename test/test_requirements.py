"""What setup.py requires, and the lowest versions of it that `make test-lowest` installs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import requirements

ROOT = Path(__file__).parents[1]


def test_every_extra_of_users_says_which_version_is_the_lowest() -> None:
    extras = requirements.extras()
    users = {requirement for name in extras.keys() - {"dev"} for requirement in extras[name]}
    assert [requirement for requirement in users if not requirements.FLOOR.fullmatch(requirement)] == []


def test_the_lowest_versions_are_those_of_setup_py() -> None:
    told = subprocess.run([sys.executable, "-S", ROOT / "test/requirements.py", "--lowest", "all,dev"], text=True,
                          capture_output=True, check=True).stdout.splitlines()
    text = (ROOT / "setup.py").read_text("utf-8")
    assert {"rich==14.3", "msgspec==0.22", "psycopg==3.2.11"} <= set(told)
    assert "CherryPy==18.2; python_version < '3.11'" in told
    for line in told:
        name, version = re.match(r"([\w.-]+)==([\w.]+)", line).groups()  # type: ignore[union-attr]
        assert re.search(rf"\b{name}(\[\w+\])?>={version}\b", text)


def test_a_line_for_people() -> None:
    told = subprocess.run([sys.executable, "-S", ROOT / "test/requirements.py", "quixote,cherrypy", "cli"], text=True,
                          capture_output=True, check=True).stdout
    assert told == "CherryPy, Quixote, rich, typer\n"


def test_the_pythons_that_are_supported_are_named() -> None:
    text = (ROOT / "setup.py").read_text("utf-8")
    assert 'python_requires=">=3.10"' in text
    assert "range(10, 15)" in text
