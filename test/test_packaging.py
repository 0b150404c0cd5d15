"""The wheel, as its users have it: in an empty folder, with the sources out of reach and nothing optional installed."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from session2.urls import STORES

ROOT = Path(__file__).parents[1]
SOURCES = ["session2", "adapters", "demo", "test", "docs"]
FILES = ["setup.py", "setup-store.py", "pyproject.toml", "MANIFEST.in", "Makefile", "README.md", "CHANGES.md",
         "CONTRIBUTING.md", "SECURITY.md", "LICENSE"]

# These are for who writes tests or types commands, and say so in their extras: "testing" and "cli".
NOT_CORE = ("session2/testing/", "session2/cli/")

# Only modules of this name import what the standard library lacks, or derive from it, when the store is made.
DRIVERS = "session2/store/*/driver.py"

# Tests that ask for nothing but the core.
ALONE = ["test_manager.py", "test_merge.py", "test_session.py", "test_tokens.py", "test_events.py", "test_clock.py",
         "test_exchange.py", "store/test_volatile.py", "store/test_sqlite.py", "c_fork.py", "store/interrupted.py"]

PROGRAM = """
from session2 import DictSession, from_url
store = from_url("directory:sessions?create=true")
session = DictSession()
session["colour"] = "blue"
store.save_session(session)
print(from_url("directory:sessions").load_session(session.id)["colour"])
"""

IMPORT_ALL = """
import importlib, pkgutil, session2
names = [module.name for module in pkgutil.walk_packages(session2.__path__, "session2.")]
core = [name for name in names
        if not name.startswith(("session2.testing", "session2.cli.")) and not name.endswith(".driver")]
for name in core:
    importlib.import_module(name)
print(len(core), session2.__file__)
"""

MAKE = """
import sys
from session2 import ConfigurationError, from_url
try:
    from_url(sys.argv[1])
except ConfigurationError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build from a copy, so that nothing is left beside the sources; the wheel is made of what the sdist holds."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    run(copy, sys.executable, "-m", "build", "--no-isolation", "--outdir", copy / "dist")
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(built):
    return next(built.glob("session2-*.whl"))


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """The Python of an environment that holds the wheel and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin/python"
    run(folder, sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel)
    return python


def run(folder: Path, *command: object) -> str:
    """Run a command with no way to find the sources; return what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run([str(part) for part in command], cwd=folder, env=environment, capture_output=True,
                          text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages() -> Iterator[Path]:
    for source_root in (ROOT / "session2", ROOT / "adapters"):
        yield from (path.parent for path in source_root.rglob("__init__.py"))


def test_the_sdist_holds_all_that_the_repository_does(built):
    with tarfile.open(next(built.glob("session2-*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert set(FILES) - names == set()
    sources = {str(path.relative_to(ROOT)) for folder in SOURCES for path in (ROOT / folder).rglob("*")
               if path.is_file() and "__pycache__" not in path.parts}
    assert sources - names == set()


def test_the_wheel_holds_the_packages_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    adapters = {path.name for path in (ROOT / "adapters").iterdir() if (path / "__init__.py").exists()}
    top = {name.split("/")[0] for name in names}
    assert {name for name in top if not name.endswith(".dist-info")} == {"session2", *adapters}
    templates = {str(path.relative_to(ROOT / "adapters")) for path in (ROOT / "adapters").rglob("*.html")}
    assert templates
    assert templates <= set(names)
    assert any(name.endswith("/LICENSE") for name in names)


def test_every_package_is_typed(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    untyped = [package for package in packages()
               if not any((folder / "py.typed").exists() for folder in (package, *package.parents))]
    assert untyped == []
    assert "session2/py.typed" in names
    assert {name.split("/")[0] for name in names if name.endswith("py.typed")} == {
        name.split("/")[0] for name in names if name.endswith("__init__.py")}


def test_the_command_says_what_it_needs_and_the_version_is_that_of_the_package(python, tmp_path):
    with pytest.raises(AssertionError, match=r"session2: typer is missing; .* pip install 'session2\[cli\]'"):
        run(tmp_path, python.parent / "session2", "--help")
    told = run(tmp_path, python, "-I", "-c", "import importlib.metadata, session2;"
               "print(importlib.metadata.version('session2'), session2.__version__)")
    assert len(set(told.split())) == 1


def test_a_program_runs_on_the_wheel_alone(python, tmp_path):
    assert run(tmp_path, python, "-I", "-W", "error", "-c", PROGRAM) == "blue\n"


@pytest.mark.parametrize("checker", [
    ["mypy", "--strict", "--python-version=3.10", "--cache-dir=cache", "--python-executable"],
    ["pyright", "--pythonversion=3.10", "--level=error", "--pythonpath"]], ids=["mypy", "pyright"])
def test_a_type_checker_reads_the_wheel(checker, python, tmp_path):
    """Also what must not pass is in there: mypy tells of an ignored error that is none."""
    shutil.copy(ROOT / "test/typing/api.py", tmp_path)
    run(tmp_path, sys.executable, "-m", *checker, python, "api.py")


def test_every_module_can_be_imported_without_anything_optional(python, tmp_path):
    count, file = run(tmp_path, python, "-I", "-W", "error", "-c", IMPORT_ALL).split()
    assert int(count) > 15, count
    assert not Path(file).is_relative_to(ROOT)


def metadata_of(wheel):
    name = next(name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".dist-info/METADATA"))
    return zipfile.ZipFile(wheel).read(name).decode()


def test_the_extras_of_the_stores_exist(wheel):
    extras = set(re.findall("^Provides-Extra: (.*)$", metadata_of(wheel), re.MULTILINE))
    assert {store.extra for store in STORES.values() if store.extra} - extras == set()


@pytest.mark.parametrize(("python_version", "floor"), [
    ("3.10", "18.2"), ("3.11", "18.7"), ("3.12", "18.7"), ("3.13", "18.10"), ("3.14", "18.10")])
def test_no_cherrypy_is_chosen_that_cannot_be_imported(wheel, python_version, floor):
    """Up to 18.6 it needs inspect.getargspec, which is gone since Python 3.11, and up to 18.9 cgi, since 3.13."""
    lines = re.findall("^Requires-Dist: (CherryPy.*)$", metadata_of(wheel), re.MULTILINE)
    applying = [found for found in map(Requirement, lines)
                if found.marker.evaluate({"python_version": python_version, "extra": "cherrypy"})]
    assert {str(found.specifier) for found in applying} == {f">={floor}"}


@pytest.mark.parametrize("scheme", [scheme for scheme, store in STORES.items() if not store.extra])
def test_a_store_of_the_standard_library_needs_nothing(python, scheme, tmp_path):
    assert run(tmp_path, python, "-I", "-c", MAKE, STORES[scheme].example.format(tmp_path)) == ""


@pytest.mark.parametrize("scheme", [scheme for scheme, store in STORES.items() if store.extra])
def test_a_missing_driver_is_named_with_its_extra(python, scheme, tmp_path, monkeypatch):
    monkeypatch.setenv("SESSION2_SECRETS", "x" * 43)
    url = STORES[scheme].example.format(tmp_path)
    assert f"pip install 'session2[{STORES[scheme].extra}]'" in run(tmp_path, python, "-I", "-c", MAKE, url)


@pytest.mark.parametrize(("serializer", "extra"), [("msgpack", "msgpack"), ("encrypted-json", "encrypted")])
def test_a_missing_serializer_is_named_with_its_extra(python, serializer, extra, tmp_path, monkeypatch):
    monkeypatch.setenv("SESSION2_SECRETS", "x" * 43)
    said = run(tmp_path, python, "-I", "-c", MAKE, f"volatile:?serializer={serializer}")
    assert f"pip install 'session2[{extra}]'" in said


def test_the_suites_pass_on_the_wheel_with_nothing_else_optional(wheel, tmp_path):
    """As the author of a store has it: the extra `testing`, no driver, no framework, the sources out of reach."""
    environment, work = tmp_path / "environment", tmp_path / "work"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin/python"
    run(tmp_path, sys.executable, "-m", "pip", "--python", python, "install", "--quiet", f"{wheel}[testing]")
    work.mkdir()
    for name in ALONE:
        shutil.copy(ROOT / "test" / name, work)
    said = run(work, python, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", "--hypothesis-profile=ci")
    assert re.search(r"^\d{3,} passed in", said, re.MULTILINE), said


def test_the_core_imports_the_standard_library_only():
    foreign = [f"{path.relative_to(ROOT)}: {name}" for path in (ROOT / "session2").rglob("*.py")
               if not str(path.relative_to(ROOT)).startswith(NOT_CORE)
               and not path.relative_to(ROOT).match(DRIVERS)
               for name in imported(ast.parse(path.read_text("utf-8")).body)
               if name != "session2" and name not in sys.stdlib_module_names]
    assert foreign == []


def test_a_store_imports_its_driver_in_one_module_only():
    """Not even within a function anywhere else; what is for type checkers does not count."""
    foreign = [f"{path.relative_to(ROOT)}: {name}" for path in (ROOT / "session2/store").rglob("*.py")
               if not path.relative_to(ROOT).match(DRIVERS)
               for function in ast.walk(ast.parse(path.read_text("utf-8")))
               if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
               for name in imported(function.body)
               if name != "session2" and name not in sys.stdlib_module_names]
    assert foreign == []


def imported(body: list[ast.stmt]) -> Iterator[str]:
    """Return the packages imported when a module is, or None for those needed by type checkers or by calls only."""
    for node in body:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            yield from imported(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for field in ("body", "orelse", "handlers", "finalbody"):
                yield from imported(getattr(node, field, []))
