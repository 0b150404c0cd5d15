"""The style sheet and the script, under addresses that change when they do: so a browser may keep them for ever."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

from .asked import Answer


class File:
    """A file beside this module."""

    def __init__(self, name: str, content_type: str) -> None:
        self.text = (Path(__file__).parent / name).read_text("utf-8")
        self.content_type = content_type
        self.path = f"/{name}?{hashlib.sha256(self.text.encode()).hexdigest()[:12]}"


STYLE: Final = File("demo.css", "text/css; charset=utf-8")
SCRIPT: Final = File("demo.js", "text/javascript; charset=utf-8")

_FILES: Final = {file.path.partition("?")[0]: file for file in (STYLE, SCRIPT)}


def static(path: str) -> Answer | None:
    """Return one of them."""
    file = _FILES.get(path)
    return None if file is None else Answer(
        file.text, 200, file.content_type, (("Cache-Control", "public, max-age=31536000, immutable"),
                                            ("X-Content-Type-Options", "nosniff")))
