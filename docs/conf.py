"""How Sphinx builds the documentation: ``make docs``.

The pages are made for readers of the repository too. What is put in here are slices of the README, in the index; tables
that `reference_tables` reads from the code, and the cases of the last test run, where comments say so.
"""

import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(ROOT / "adapters"), str(HERE)]

from reference_tables import TABLES  # noqa: E402

from session2 import __version__  # noqa: E402

project = "session2"
author = "session2 contributors"
copyright = "session2 contributors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "furo"
pygments_dark_style = "github-dark"  # Furo's own underlines modules, as if they were links
html_title = f"session2 {release}"
html_copy_source = False
exclude_patterns = ["_build"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # 14 * DAY, not 1209600.0
autodoc_typehints = "none"
default_role = "code"

RESULTS = ROOT / "build" / "conformance.json"
MARKER = "<!-- the table of the last test run -->"

OF_THE_REPOSITORY = {"changes": "CHANGES.md", "contributing": "CONTRIBUTING.md", "reporting": "SECURITY.md"}
"""Pages that stand beside the README, by their names here."""

POINTER = "The [README](../README.md) says what it is and shows it running."
"""What the beginning of the README stands in place of."""

SECTION = re.compile(r"^## (.+)\n\n((?:- .*\n|  .*\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^- \[(.*?)\]\((.+?)\.md\)", re.MULTILINE)


def table(results):
    """Return a Markdown table: cases of `StoreSuite` passed, by store and part of the suite."""
    parts = sorted({part for counts in results.values() for part in counts})
    rows = [["Store", *parts, "all"], ["---"] * (len(parts) + 2)]
    for store, counts in sorted(results.items()):
        rows.append([store, *(str(counts.get(part, 0)) for part in parts), str(sum(counts.values()))])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def last_run():
    """Return the table of the last test run."""
    found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    return table(found) if found else "*There was no test run here yet: `make test`.*"


def moved(text):
    """Return a text that stands beside the README, with its links as they are from here."""
    return re.sub(r"\]\(docs/", "](", re.sub(r"\]\((?=[A-Z]+\.md)", "](../", text))


def of_readme(heading):
    """Return a section of the README without its heading; the beginning for "session2"."""
    text = (ROOT / "README.md").read_text("utf-8")
    return moved(re.search(rf"^##? {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1])


def with_sidebar(section):
    """Return a section of the index with its entries in the sidebar; the README's own says more where it has one."""
    heading, entries = section[1], section[2]
    pages = "\n".join(f"{title.replace('`', '')} <{page}>" for title, page in ENTRY.findall(linked(entries)))
    shown = of_readme(heading) if f"\n## {heading}\n" in (ROOT / "README.md").read_text("utf-8") else entries
    return f"## {heading}\n\n{shown}\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{pages}\n```\n"


def linked(text):
    """Return a text whose links to pages beside the README lead to the pages here that show them."""
    for page, file in OF_THE_REPOSITORY.items():
        text = re.sub(rf"\]\((\.\./)+{file}", f"](/{page}.md", text)
    return re.sub(r"\]\((\.\./)+README\.md\)", "](/index.md)", text)


def fill_in(app, name, source):
    """Put in what a page says is to be put in."""
    text = source[0]
    if name in OF_THE_REPOSITORY:
        text = moved((ROOT / OF_THE_REPOSITORY[name]).read_text("utf-8"))
    if name == "index":
        text = SECTION.sub(with_sidebar, text.replace(POINTER, of_readme("session2")))
    text = text.replace(MARKER, last_run())
    text = re.sub("<!-- reference: (.+?) -->", lambda marker: TABLES[marker[1]](), text)
    source[0] = linked(text)


def skipped(app, what, name, member, skip, options):
    """Leave out the classes that stand in classes for the module paths of session2 0.6, each within itself."""
    return True if isinstance(member, type) else None


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", fill_in)
    app.connect("autodoc-skip-member", skipped)
