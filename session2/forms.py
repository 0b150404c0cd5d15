"""Tokens of forms, of which each may be used once."""

from __future__ import annotations

from typing import Any, Final

from . import merge
from .errors import SessionConflict

REMEMBERED: Final = 16
"""How many used tokens a session remembers, so that requests which overlap do not use one twice."""


def spend(base: Any, mine: Any, theirs: Any) -> Any:
    """Merge the tokens that were struck off: of two requests that strike off the same one only the first may."""
    before, mine, theirs = ([] if value is merge.MISSING else value for value in (base, mine, theirs))
    if {*mine} & {*theirs} - {*before}:
        raise SessionConflict("a form was submitted twice at the same time: its token is used up")
    return merge.union(before, mine, theirs)[-REMEMBERED:]
