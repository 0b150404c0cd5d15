"""The house: which module may import which, how long things may be, and who may touch what binds a session."""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from session2.store.base import SessionStore

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for folder in ("session2", "adapters", "demo") for path in (ROOT / folder).rglob("*.py"))

# From the ground up: a module imports from its own floor and those before it.  What stands nowhere here is above all.
FLOORS = [
    {"errors", "record", "tokens", "clock", "forks", "patience", "mutex"},
    {"events", "equality", "clocks", "cookies", "defaults", "unheeded"},
    {"merge", "forms", "ties", "serializers"},
    {"session"},
    {"found", "exchange", "notes"},
    {"traces"},
    {"store.lock"},
    {"store.records", "concurrency"},
    {"codec"},
    {"filing"},
    {"saving"},
    {"sessions"},
    {"store.base", "mapping", "visit", "logins", "lazy"},
    {"adopted"},
    {"former"},
    {"manager"},
    {"legacy"},
]

MAY_TOUCH_TIES = {"session.py", "codec.py", "filing.py", "saving.py", "sessions.py", "visit.py"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "session2").with_suffix("")).replace("/", ".")


def floor_of(module: str) -> int | None:
    return next((number for number, floor in enumerate(FLOORS) if module in floor), None)


def imported(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a module imports when it is imported itself."""
    package = ["session2", *name_of(path).split(".")[:-1]]
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[:len(package) - node.level + 1], *(node.module or "").split(".")]
            start = ".".join(part for part in base[1:] if part)
            yield from ([start] if floor_of(start) is not None else
                        [f"{start}.{alias.name}".strip(".") for alias in node.names])


@pytest.mark.parametrize("module", sorted({name for floor in FLOORS for name in floor}))
def test_no_import_runs_upwards(module: str) -> None:
    path = (ROOT / "session2" / module.replace(".", "/")).with_suffix(".py")
    floor = floor_of(module)
    above = [name for name in imported(path) if floor is not None and (other := floor_of(name)) is not None
             and other > floor]
    assert above == []


SELDOM_NEEDED = {"argparse", "asyncio", "configparser", "decimal", "email", "html", "http", "importlib.metadata",
                 "json", "multiprocessing", "pathlib", "queue", "select", "shutil", "socket", "sqlite3", "ssl",
                 "subprocess", "tempfile", "urllib.parse", "uuid"}


def test_what_most_do_not_need_is_not_imported_at_once() -> None:
    """A command or a CGI script waits for all that is imported."""
    program = "import sys, session2; print(*sys.modules)"
    # Without site: what that imports is not for us to say.
    done = subprocess.run([sys.executable, "-S", "-c", program], env={"PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, check=True)
    assert SELDOM_NEEDED & {*done.stdout.split()} == set()


def code_lines(path: Path) -> set[int]:
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
    return {token.start[0] for token in tokens if token.type not in skipped}


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[int]:
    first = node.body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
        return set(range(first.lineno, (first.end_lineno or 0) + 1))
    return set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_long(path: Path) -> None:
    code = code_lines(path)
    assert len(path.read_text("utf-8").splitlines()) <= 350
    functions = [node for node in ast.walk(ast.parse(path.read_text("utf-8")))
                 if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = {node.name: len(lines) for node in functions
            if len(lines := {line for line in code if node.lineno <= line <= (node.end_lineno or 0)}
                   - docstring_lines(node)) > 40}
    assert long == {}


def test_a_store_has_few_public_names() -> None:
    assert len([name for name in dir(SessionStore) if not name.startswith("_")]) <= 20


def test_what_binds_a_session_is_touched_on_the_middle_floor_only() -> None:
    touching = {path.name for path in MODULES if re.search(r"\._ties\b", path.read_text("utf-8"))}
    assert touching <= MAY_TOUCH_TIES


def test_marks_of_traces_and_locks_have_one_home() -> None:
    pattern = re.compile(r"""["']lock-|s2 trace""")
    homes = {str(path.relative_to(ROOT)) for path in (ROOT / "session2").rglob("*.py")
             if "testing" not in path.parts and pattern.search(path.read_text("utf-8"))}
    assert homes == {"session2/traces.py"}
