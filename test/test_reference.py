"""The documentation as `make docs` builds it, and the reference in it: nothing public is missing there."""

from __future__ import annotations

import ast
import html
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

import pytest

import session2
from session2 import errors, events, found, urls
from session2.concurrency import MODES
from session2_cherrypy import settings

ROOT = Path(__file__).parents[1]

# Sphinx in a process that cannot import what the extra `docs` does not bring: no driver and no framework.
BUILD = """
import sys
for name in ("psycopg", "psycopg_pool", "pymysql", "durus", "redis", "quixote", "cherrypy", "django", "flask",
             "pyramid", "starlette", "fastapi", "msgspec", "cryptography", "tg", "beaker", "webob"):
    sys.modules[name] = None
from sphinx.cmd.build import main
sys.exit(main(sys.argv[1:]))
"""

# What the manager offers to a visit.
INSIDE = {"save_in_place", "needs_new_id", "is_due", "refuse_change"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    program = folder / "build.py"  # what comes with -c, Python 3.13 takes for the source of a NamedTuple
    program.write_text(BUILD, "utf-8")
    done = subprocess.run([sys.executable, program, "-W", "-q", "-b", "html", ROOT / "docs", folder],
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def reference(built: Path) -> str:
    return words(built / "reference.html")


def words(page: Path) -> str:
    """Return the text of a page without its sidebar."""
    body = page.read_text("utf-8").partition("<article")[2].partition("</article")[0]
    return html.unescape(re.sub("<[^>]+>", "", body))


def missing(names: Iterable[str], text: str) -> list[str]:
    """Return those that do not stand in the text as words."""
    return [name for name in names if not re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", text)]


def test_the_page_of_what_is_tested_shows_the_last_run(built: Path) -> None:
    results = ROOT / "build" / "conformance.json"
    known = json.loads(results.read_text("utf-8")) if results.exists() else {}
    page = words(built / "conformance.html")
    assert missing(known, page) == []
    assert bool(known) != ("There was no test run here yet" in page)


def test_everything_is_put_in_that_is_to_be_put_in(built: Path) -> None:
    left = re.compile("<!-- (the table|reference)")
    assert [page.name for page in built.rglob("*.html") if left.search(page.read_text("utf-8"))] == []


def test_the_front_page_shows_what_the_readme_does(built: Path) -> None:
    shown = ["# counter.py", "Visit 3.", "directory:PATH", "session2_cherrypy"]
    assert missing(shown, words(built / "index.html")) == []


def test_the_sidebar_has_the_sections_of_the_index(built: Path) -> None:
    sections = re.findall("^## (.*)$", (ROOT / "docs/index.md").read_text("utf-8"), re.MULTILINE)
    assert re.findall('<span class="caption-text">(.*?)</span>', (built / "index.html").read_text("utf-8")) == sections


def test_every_public_name_is_in_the_reference(built: Path, reference: str) -> None:
    described = set(re.findall('id="session2\\.([\\w.]+)"', (built / "reference.html").read_text("utf-8")))
    failing = {name for name, thing in vars(errors).items()
               if isinstance(thing, type) and issubclass(thing, Exception)}
    assert set(session2.__all__) - failing - described == {"merge"}
    assert {"merge.add", "merge.union", "merge.first", "live.LiveSession", "clocks.Clocks"} <= described
    stores = {store.name for store in urls.STORES.values()} | {"FunctionSessionStore"}
    assert missing([*failing, *stores], reference) == []


def test_every_method_and_argument_of_the_manager_is_in_the_reference(built: Path, reference: str) -> None:
    own = {name for name, thing in vars(session2.SessionManager).items()
           if not name.startswith("_") and inspect.isfunction(thing)}
    page = (built / "reference.html").read_text("utf-8")
    assert own - set(re.findall('id="session2\\.SessionManager\\.(\\w+)"', page)) == INSIDE
    assert missing(inspect.signature(session2.SessionManager).parameters, reference) == []
    assert "idle_timeout=14 * DAY" in reference


@pytest.mark.parametrize("scheme", urls.STORES)
def test_every_option_of_a_url_is_in_the_reference(scheme: str, reference: str) -> None:
    store = urls.class_of(f"{scheme}:")
    shared = {"serializer", "hash_ids"}
    section = re.search(rf"{store.__name__}¶(.*?)¶", reference, re.DOTALL)
    assert section is not None
    assert missing([f"{scheme}:", *urls.defaults_of(store).keys() - shared, *getattr(store, "URL_OPTIONS", ())],
                   section[1]) == []
    assert missing(shared, reference) == []


def test_every_mode_event_and_reason_is_in_the_reference(reference: str) -> None:
    reasons = [reason.value for reason in found.Absence]
    assert missing([*(f'"{mode}"' for mode in MODES), *get_args(events.Name), *reasons], reference) == []


def test_every_environment_variable_is_in_the_reference(reference: str) -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "session2").rglob("*.py"))
    names = set(re.findall(r"""["'](SESSION2_[A-Z_]+|MYSQL_[A-Z_]+)["']""", sources))
    assert {"SESSION2_SECRETS", "SESSION2_PASSWORD", "MYSQL_TCP_PORT"} <= names
    assert missing([*names, "SESSION2_PASSWORD_TARGET"], reference) == []


def test_every_setting_of_an_adapter_is_on_its_page() -> None:
    cherrypy = (ROOT / "docs/cherrypy.md").read_text("utf-8")
    assert missing([*settings.OF_THE_CLASS, *settings.OF_THE_COOKIE], cherrypy.partition("## Settings")[2]) == []
    adapter = "".join(path.read_text("utf-8") for path in (ROOT / "adapters/session2_django").glob("*.py"))
    own = set(re.findall(r"\bSESSION2_[A-Z]+\b", adapter))
    assert own == {"SESSION2_STORE", "SESSION2_MANAGER"}
    assert missing(own, (ROOT / "docs/django.md").read_text("utf-8")) == []


def test_the_arguments_that_pages_of_stores_show_are_those_of_the_code() -> None:
    shown = 0
    for scheme, row in urls.STORES.items():
        text = (ROOT / f"docs/stores/{row.module}.md").read_text("utf-8").replace("\n", " ")
        known = inspect.signature(urls.class_of(f"{scheme}:")).parameters
        for arguments in re.findall(rf"`{row.name}\(([^`]+)\)`", text):
            for name, default in re.findall(r"(\w+)=([^,]+)", arguments):
                assert ast.literal_eval(default) == known[name].default, (row.name, name)
                shown += 1
    assert shown > 30
