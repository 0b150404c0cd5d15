"""How Sphinx builds the documentation: ``make docs``."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from session2 import __version__  # noqa: E402

project = "session2"
author = "session2 contributors"
copyright = "session2 contributors"
version = release = __version__
extensions = ["myst_parser"]
html_theme = "furo"
html_title = f"session2 {release}"
exclude_patterns = ["_build"]
myst_heading_anchors = 3
# Pages link to files of the repository too, which have no page here.
suppress_warnings = ["myst.xref_missing"]

RESULTS = ROOT / "build" / "conformance.json"
# Every page is listed in index.md, for readers of the repository; Sphinx wants to be told in its own words.
TOCTREE = "\n```{toctree}\n:hidden:\n:glob:\n\n*\nstores/*\n```\n"

MARKER = "<!-- the table of the last test run -->"


def table(results):
    """Return a Markdown table: cases of `StoreSuite` passed, by store and part of the suite."""
    parts = sorted({part for counts in results.values() for part in counts})
    rows = [["Store", *parts, "all"], ["---"] * (len(parts) + 2)]
    for store, counts in sorted(results.items()):
        rows.append([store, *(str(counts.get(part, 0)) for part in parts), str(sum(counts.values()))])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def fill_in(app, name, source):
    """Put the table where the page says so, and the list of all pages at the end of the index."""
    if name == "index":
        source[0] += TOCTREE
    found = json.loads(RESULTS.read_text("utf-8")) if RESULTS.exists() else {}
    source[0] = source[0].replace(MARKER, table(found) if found else "*There was no test run here yet: `make test`.*")


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", fill_in)
