"""The tables of the reference, read from the code: so they cannot say anything else than it does."""

import ast
import inspect
import re
import runpy
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from typer.main import get_command

from session2 import errors
from session2.cli.commands import app
from session2.found import Absence
from session2.store.base import SessionStore
from session2.urls import STORES, class_of, defaults_of

ROOT = Path(__file__).resolve().parents[1]

PARAM = re.compile(r"^:param (\w+): (.*?)(?=^:|^\S|\Z)", re.MULTILINE | re.DOTALL)


def markdown(text: str) -> str:
    """Return a text of a docstring as a cell of a table."""
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    heads = list(heads)
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def sentence(thing: Any) -> str:
    """Return the first paragraph of a docstring."""
    return markdown((inspect.getdoc(thing) or "").partition("\n\n")[0])


# -- stores -----------------------------------------------------------------------------------------------------------


def schemes_of() -> dict[type[SessionStore], list[str]]:
    """Return the stores that URLs can name, each with its schemes."""
    found: dict[type[SessionStore], list[str]] = {}
    for scheme in STORES:
        found.setdefault(class_of(f"{scheme}:"), []).append(scheme)
    return found


def meanings(cls: type) -> dict[str, str]:
    """Return what the arguments of a class mean, as it and its bases say."""
    return {name: markdown(text) for base in reversed(cls.__mro__)
            for name, text in PARAM.findall(inspect.cleandoc(base.__doc__ or ""))}


def options(store: type[SessionStore]) -> list[tuple[str, str, str]]:
    """Return name, default and meaning of what a URL of this store may say behind its question mark."""
    said = meanings(store)
    return [(f"`{name}`", f"`{default}`", said[name]) for name, default in defaults_of(store).items()]


def url_options() -> str:
    """Return a section for each store: its schemes, its class and its options."""
    return "\n".join(section for store, schemes in schemes_of().items() for section in section_of(store, schemes))


def section_of(store: type[SessionStore], schemes: list[str]) -> Iterator[str]:
    row = STORES[schemes[0]]
    yield f"### {store.__name__}\n"
    urls = ", ".join(f"`{STORES[scheme].example.format('/var/lib')}`" for scheme in schemes)
    needs = f" It needs the extra `{row.extra}`." if row.extra else ""
    yield f"In `session2.store.{row.module}`; [its page](stores/{row.module}.md). For example {urls}.{needs}\n"
    own = [each for each in options(store) if each[0] not in SHARED]
    if own:
        yield table(["Option", "Default", "Meaning"], own)
    passed = sorted(getattr(store, "URL_OPTIONS", ()))
    if passed:
        yield f"Left in the URL, for what is behind it: {', '.join(f'`{name}`' for name in passed)}.\n"


def shared_options() -> str:
    """Return the options that every store has."""
    return table(["Option", "Default", "Meaning"], options(SessionStore))


SHARED = [name for name, _, _ in options(SessionStore)]


# -- errors and reasons -----------------------------------------------------------------------------------------------


def kinds(base: type[errors.SessionError] = errors.SessionError) -> Iterator[type[errors.SessionError]]:
    """Yield an error and those that are such errors too."""
    yield base
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from kinds(kind)


def error_table() -> str:
    """Return all errors with what an adapter answers."""
    def answer(kind: type[errors.SessionError]) -> str:
        after = "" if kind.retry_after is None else f", `Retry-After: {kind.retry_after}`"
        return "a crash" if kind.status == errors.SessionError.status else f"{kind.status}{after}"

    return table(["Error", "Is a", "Answer", "Meaning"],
                 ((f"`{kind.__name__}`", f"`{kind.__base__.__name__}`", answer(kind), sentence(kind))
                  for kind in kinds()))


def absence_table() -> str:
    """Return why there may be no session, with what stands below each name in the source."""
    body = ast.parse(inspect.getsource(Absence)).body[0].body
    said = {first.targets[0].id: ast.literal_eval(second.value) for first, second in pairwise(body)
            if isinstance(first, ast.Assign) and isinstance(second, ast.Expr)}
    return table(["`Absence`", "Value", "Meaning"],
                 ((f"`{reason.name}`", f"`{reason.value}`", said.get(reason.name, "The browser sent none."))
                  for reason in Absence))


# -- extras and commands ----------------------------------------------------------------------------------------------


def extras_table() -> str:
    """Return what each extra installs."""
    extras = runpy.run_path(str(ROOT / "test/requirements.py"))["extras"]()
    return table(["Extra", "Installs"], ((f"`{name}`", ", ".join(f"`{each}`" for each in needed) or "nothing")
                                         for name, needed in extras.items() if name not in ("all", "dev")))


def command_sections() -> str:
    """Return a section for each command."""
    group = get_command(app)
    return "\n".join(part for command in group.commands.values() for part in command_section(command))


def command_section(command: Any) -> Iterator[str]:
    yield f"### session2 {command.name}\n"
    yield markdown(command.help or "") + "\n"
    yield table(["Argument", "Meaning"], (
        (" ".join(f"`{name}`" for name in (parameter.opts if parameter.param_type_name == "option"
                                           else [parameter.metavar or parameter.name])),
         markdown(parameter.help or "")) for parameter in command.params if not getattr(parameter, "hidden", False)))


TABLES = {"shared options": shared_options, "URL options": url_options, "errors": error_table,
          "absences": absence_table, "extras": extras_table, "commands": command_sections}
