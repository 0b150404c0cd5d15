"""What the commands print: tables, lines and JSON on the standard output, warnings and progress beside it."""

from __future__ import annotations

import datetime
import json
import math
import sys
from collections.abc import Iterable, Iterator
from typing import Any, Final, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..record import Record

_T = TypeVar("_T")

_LAST: Final = 253402300800.0
"""When the year 9999 is over, the last that can be written as a date."""

_LEVELS: Final = 50
"""How deep a state is shown; a value may contain itself."""

_UNITS: Final = (("s", 60), ("m", 60), ("h", 24))


def facts(key: str, record: Record) -> dict[str, Any]:
    """Return what may be told of a session to anybody who may see the list."""
    return {"key": key, "user": record.user, "created": record.created, "modified": record.modified,
            "accessed": record.accessed, "expires": record.expires, "bytes": len(record.data)}


def columns(key: str, record: Record) -> list[str]:
    """Return a line of the list."""
    return [readable(name, value) for name, value in facts(key, record).items() if name != "modified"]


def readable(name: str, value: Any) -> str:
    """Return a fact as text that does nothing to a terminal."""
    if isinstance(value, float) and value < _LAST:
        return datetime.datetime.fromtimestamp(value, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    if value is None:
        return "never" if "expire" in name else "-"
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(value))


def span(seconds: float) -> str:
    """Return a duration in few letters."""
    for unit, size in _UNITS:
        if seconds < size:
            return f"{max(int(seconds), 0)} {unit}"
        seconds /= size
    return f"{int(seconds)} d"


def print_table(found: Iterable[tuple[str, Record]], now: float) -> None:
    """Print a table that fits 80 columns."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("key", "user", "created", "accessed", "expires", "bytes"):
        table.add_column(name, no_wrap=True, max_width=18)
    for key, record in found:
        expires = "never" if record.expires is None else f"in {span(record.expires - now)}"
        table.add_row(key[:16], readable("user", record.user), f"{span(now - record.created)} ago",
                      f"{span(now - record.accessed)} ago", expires, str(len(record.data)))
    Console(markup=False).print(table)


def masked(value: Any, values: bool, levels: int = _LEVELS) -> Any:
    """Return what may be shown: names, and for each its value or else its type."""
    if isinstance(value, dict) and levels:
        return {str(name): masked(item, values, levels - 1) for name, item in value.items()}
    if values and isinstance(value, list) and levels:
        return [masked(item, values, levels - 1) for item in value]
    if values and levels:
        return value if isinstance(value, (str, int, float, bool, type(None))) else _repr(value)
    return _type(value)


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # of a class that may be anybody's, or of what is too deep
        return _type(value)


def _type(value: Any) -> str:
    return f"<{type(value).__name__}>"


def lines(state: dict[str, Any], indent: str = "  ") -> Iterator[str]:
    """Yield the lines that show a state."""
    for name, value in state.items():
        if isinstance(value, dict):
            yield f"{indent}{readable('', name)}:"
            yield from lines(value, indent + "  ")
        else:
            yield f"{indent}{readable('', name)}: {readable('', value if isinstance(value, str) else repr(value))}"


def print_json(value: Any) -> None:
    """Print one line for programs."""
    print(json.dumps(_in_json(value), allow_nan=False))


def _in_json(value: Any) -> Any:
    """Return a value with text in place of the numbers that JSON lacks."""
    if isinstance(value, dict):
        return {name: _in_json(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_in_json(item) for item in value]
    return value if not isinstance(value, float) or math.isfinite(value) else repr(value)


def warn(text: str) -> None:
    """Print one line for whoever started the command."""
    print(f"session2: {text}", file=sys.stderr)


def complain(key: str, reason: str) -> None:
    """Warn of one record."""
    warn(f"{key:.12} {reason}")


def confirm(question: str, option: str, yes: bool) -> None:
    """Ask whether something that ends sessions is meant; exits if it is not, or if nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{option} needs --yes where nobody can be asked")
    try:
        meant = typer.confirm(question)
    except typer.Abort:
        raise KeyboardInterrupt from None
    if not meant:
        raise typer.Exit(1)


def progress(text: str, items: Iterable[_T], total: int | None = None) -> Iterator[_T]:
    """Pass the items on and show how it goes, on a terminal only."""
    with bar() as shown:
        task = shown.add_task(text, total=total)
        for item in items:
            yield item
            shown.advance(task)


def bar() -> Progress:
    """Return a display of progress, which shows nothing unless there is a terminal."""
    terminal = Console(stderr=True)
    return Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}"),
                    TimeElapsedColumn(), console=terminal, transient=True, disable=not sys.stderr.isatty())
