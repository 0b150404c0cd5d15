"""Tokens of forms, of which each may be used once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from . import merge
from .errors import SessionConflict

State = Mapping[str, Any]

REMEMBERED: Final = 16
"""How many used tokens a session remembers: by these it is known which ones a request struck off."""


def refuse_used(base: State, mine: State, theirs: State) -> None:
    """Raise `SessionConflict` if another request struck off a token that this one strikes off too.

    It is no longer outstanding then, be it that it is used up, that newer ones took its place, or that nothing was left
    in the session.
    """
    struck = {*mine.get("_spent_tokens", ())} & {*base.get("_form_tokens", ())}
    if struck - {*theirs.get("_form_tokens", ())}:
        raise SessionConflict("a form was submitted twice at the same time: its token is used up")


def spend(base: Any, mine: Any, theirs: Any) -> Any:
    """Merge the tokens that were struck off."""
    return merge.union(base, mine, theirs)[-REMEMBERED:]
