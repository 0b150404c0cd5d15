"""HTML from templates: whatever is put into one is escaped, unless it is HTML itself."""

from __future__ import annotations

import time
from collections.abc import Iterable
from html import escape


class Markup(str):
    """HTML."""

    __slots__ = ()


def markup(template: str, **values: object) -> Markup:
    """Fill in a template, as `str.format` does, with text, HTML, or any number of these."""
    return Markup(template.format(**{name: _safe(value) for name, value in values.items()}))


def joined(parts: Iterable[Markup]) -> Markup:
    """Return several pieces of HTML as one."""
    return Markup("".join(parts))


def _safe(value: object) -> str:
    return value if isinstance(value, Markup) else "" if value is None else escape(str(value))


def ago(seconds: float) -> str:
    """Return a time that has passed, in words."""
    return "just now" if seconds < 2 else f"{span(seconds)} ago"


def span(seconds: float) -> str:
    """Return a duration in words, by its largest unit or the largest two."""
    total = max(0, round(seconds))
    for unit, length, smaller, short in (("day", 86400, 3600, "h"), ("hour", 3600, 60, "min"), ("minute", 60, 1, "s")):
        if total >= length:
            count, rest = divmod(total, length)
            return plural(count, unit) + (f" {rest // smaller} {short}" if rest // smaller else "")
    return plural(total, "second")


def stamp(seconds: float) -> Markup:
    """Return a time as the machine's clock shows it, for people and for programs."""
    day = time.localtime(seconds)
    return markup('<time datetime="{iso}">{text}</time>', iso=time.strftime("%Y-%m-%dT%H:%M:%S%z", day),
                  text=time.strftime("%H:%M:%S" if time.time() - seconds < 43200 else "%d %b %H:%M", day))


def plural(count: int, noun: str) -> str:
    """Return a number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
