"""The documentation: all of it runs, and nothing that needs a page lacks one.

On each page the Python blocks are run together as one program.  A block that begins with ``# name.py`` is written to
that file instead, for the console blocks; these are run by one bash and compared with what the page shows.
"""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from session2.urls import STORES

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# (\w+\.py)\n")
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")

MARK = "--- next command ---"

WAIT_FOR_PORT = """
for attempt in $(seq 300); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; sleep 0.1; done
"""


class Page(NamedTuple):
    """What a page has to run."""

    program: str
    files: dict[str, str]
    console: str


def parts_of(path: Path) -> Page:
    program, files, console = [], {}, []
    for language, text in BLOCK.findall(path.read_text("utf-8")):
        name = FILE.match(text)
        if language == "console":
            console.append(text)
        elif name:
            files[name[1]] = text
        else:
            program.append(text)
    return Page("\n".join(program), files, "".join(console))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "adapters")]),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def pages_with(part: str) -> list:
    return [pytest.param(path, id=str(path.relative_to(ROOT)), marks=pytest.mark.durus if path.stem == "durus" else ())
            for path in PAGES if getattr(parts_of(path), part)]


# The pages of database servers: the fixture that starts one, and the URL that stands for it on the page.
SERVERS = {"postgres": ("postgres", "postgresql://shop:secret@localhost/shop"),
           "mysql": ("mariadb", "mysql://shop:secret@localhost/shop"),
           "memcached": ("memcached", "localhost:11211"),
            "redis": ("redis_server", "redis://:secret@localhost/0"),
            "couchdb": ("strict", "couchdb://shop:secret@localhost/shop")}


@pytest.mark.parametrize("path", pages_with("program"))
def test_the_python_of_a_page_runs(path, tmp_path, request):
    program = parts_of(path).program
    if path.stem in SERVERS:
        fixture, shown = SERVERS[path.stem]
        program = program.replace(shown, getattr(request.getfixturevalue(fixture), "url" if "//" in shown else "place"))
    (tmp_path / "page.py").write_text(program)
    run(tmp_path, sys.executable, *(f"-W{each}" for each in request.config.getini("filterwarnings")), "page.py")


@pytest.mark.parametrize("path", pages_with("console"))
def test_a_transcript_is_what_happens(path, tmp_path):
    page, port = parts_of(path), free_port()
    for name, text in page.files.items():
        (tmp_path / name).write_text(text.replace("8080", str(port)))
    expected = [part.partition("\n") for part in ("\n" + page.console).split("\n$ ")[1:]]
    commands = [command for command, _, _ in expected if not command.startswith("pip install ")]
    script = "".join(f"echo '{MARK}'\n{to_run(command, port)}\n" for command in commands)
    # The servers the page started are jobs of this bash; the mark before is the end of the last transcript.
    script = f"set -m\n{script}echo '{MARK}'\nkill -9 $(jobs -p) 2>/dev/null; true\n"
    outputs = run(tmp_path, "bash", "-c", script).split(MARK + "\n")[1:-1]
    wanted = [text for command, _, text in expected if not command.startswith("pip install ")]
    for command, output, text in zip(commands, outputs, wanted, strict=True):
        assert matches(text, output.replace("\r\n", "\n")), f"$ {command}\n{output}"


def to_run(command: str, port: int) -> str:
    command = command.replace("8080", str(port))
    command = re.sub(r"& sleep \d$", "&", command)  # which is enough for people
    command = re.sub("^kill (.*? )?%1", r"\g<0>; wait %1 2>/dev/null", command)  # until the port is free again
    if command.endswith("&"):
        return f"{command[:-1]} >/dev/null 2>&1 &\n{WAIT_FOR_PORT.format(port=port)}"
    if command.startswith("curl "):
        return command.replace("curl ", "curl -sS ", 1)
    return command


@pytest.mark.parametrize("path", pages_with("console"))
def test_a_transcript_can_be_pasted_whole(path):
    """A server is given the time to begin before it is asked, and its port is free for the next page."""
    commands = [line[2:] for line in parts_of(path).console.splitlines() if line.startswith("$ ")]
    assert [command for command in commands if command.endswith("&")] == []
    begun = [command for command in commands if "& sleep " in command]
    assert len(begun) == sum(command.startswith("kill ") for command in commands)


def matches(shown: str, output: str) -> bool:
    """Compare, where ``...`` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in shown.strip().split("..."))
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_a_page_is_used_by_it(path):
    page = parts_of(path)
    assert [name for name in page.files if Path(name).stem not in page.console] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path):
    targets = LINK.findall(path.read_text("utf-8"))
    assert [target for target, _ in targets if target and not (path.parent / target).exists()] == []
    pages = [(path.parent / target if target else path, anchor) for target, anchor in targets if anchor]
    assert [anchor for page, anchor in pages if anchor not in anchors_of(page)] == []


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall("^#+ (.*)$", re.sub("^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_external_links_are_of_a_form_that_can_lead_somewhere():
    """Whether they do, ``make linkcheck`` asks."""
    links = {link for path in PAGES for link in re.findall(r"\]\((\w+:[^)\s]*)\)", path.read_text("utf-8"))}
    assert len(links) > 2
    assert {link for link in links if not re.fullmatch(r"https://[\w.-]+\.[a-z]+(/[\w./#?=&%~:-]*)?", link)} == set()


def test_every_store_has_a_page():
    stores = {store.module for store in STORES.values()}
    assert stores - {path.stem for path in (ROOT / "docs/stores").glob("*.md")} == set()


def test_every_adapter_has_a_page():
    adapters = {path.parent.name.removeprefix("session2_") for path in (ROOT / "adapters").glob("*/__init__.py")}
    assert adapters - {path.stem for path in (ROOT / "docs").glob("*.md")} == set()


@pytest.mark.parametrize("adapter", ["quixote", "cherrypy", "django", "pyramid", "flask", "asgi", "wsgi", "beaker"])
def test_every_framework_is_adopted_in_three_lines_and_has_a_whole_program(adapter):
    page = ROOT / "docs" / f"{adapter}.md"
    setup, example = (re.search(rf"^## {name}\n(.*?)(?=^## )", page.read_text("utf-8"), re.M | re.S)[1]
                      for name in ("Setup", "Example"))
    assert "session2" in re.search("^```python\n(.*?)^```$", setup, re.M | re.S)[1]
    assert [language for language, text in BLOCK.findall(example)] == ["python", "console"]
    assert f"({adapter}.md#setup)" in (ROOT / "docs/quickstart.md").read_text("utf-8")


def test_the_index_and_the_readme_lead_to_every_page():
    index = (ROOT / "docs/index.md").read_text("utf-8")
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")} - {"index.md"}
    shown = {"changes.md": "../CHANGES.md", "contributing.md": "../CONTRIBUTING.md", "reporting.md": "../SECURITY.md"}
    assert {page for page in pages if f"({shown.get(page, page)})" not in index} == set()
    readme = (ROOT / "README.md").read_text("utf-8")
    assert {page for page in pages if page.startswith("stores/") and f"(docs/{page})" not in readme} == set()


def test_the_tests_that_the_security_page_names_exist():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/security.md").read_text("utf-8")))
    sources = [*(ROOT / "session2/testing").rglob("*.py"), *(ROOT / "test").rglob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    defined = set(re.findall(r"^ *def (test_\w+)\(", text, re.MULTILINE))
    assert len(named) > 40
    assert named - defined == set()


def test_the_readme_shows_a_running_program_early():
    head = "".join((ROOT / "README.md").read_text("utf-8").splitlines(keepends=True)[:40])
    assert "```python" in head
    assert "\n$ curl" in head


def test_every_picture_says_what_it_shows_and_can_be_seen_in_the_dark():
    pictures = re.compile(r"!\[([^\]]*)\]\((.*?\.svg)\)")
    shown = [(path, *found) for path in PAGES for found in pictures.findall(path.read_text("utf-8"))]
    assert len(shown) > 3
    for path, text, target in shown:
        picture = (path.parent / target).read_text("utf-8")
        assert len(text) > 20
        assert "prefers-color-scheme: dark" in picture or "currentColor" in picture


def test_make_help_and_the_contributing_page_name_every_target():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, re.M)[1].split()) - {"known", "python"}
    assert targets == set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M)) - {"known", "python"}
    helped = run(ROOT, "make", "--no-print-directory", "help")
    assert {target for target in targets if f"make {target} " not in helped} == set()
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    assert {target for target in targets if f"| `make {target}` |" not in table} == set()
