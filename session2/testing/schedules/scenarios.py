"""The scenarios that `make test` and `make explore` run."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations_with_replacement
from typing import Final

from ...cookies import CookiePolicy
from .course import Scenario
from .programs import (
    ADD,
    COUNT,
    DELETE,
    EMPTY,
    FAIL,
    FAIL_LOG_IN,
    FAIL_LOG_OUT,
    LOCK_EMPTY,
    LOCK_LATE,
    LOCK_LOG_IN,
    LOCK_LOG_OUT,
    LOCK_LOOK,
    LOCK_RENEW,
    LOCK_SETTLE,
    LOG_IN,
    LOG_IN_SET,
    LOG_OUT,
    LOG_OUT_IN,
    LOG_OUT_SET,
    LOOK,
    MAINTAIN,
    MINUTE,
    RENEW,
    REVOKE,
    SAVE,
    SET,
    SETTLE,
    SETTLE_ADD,
)

LASTING: Final = ("cookie", CookiePolicy(max_age=86400.0))
"""A cookie that is sent again now and then."""

RENEWING: Final = ("renew_after", 500.0)

USUAL: Final = (LOOK, SET, ADD, EMPTY, LOG_IN, LOG_IN_SET, LOG_OUT, LOG_OUT_IN, LOG_OUT_SET, FAIL, FAIL_LOG_IN,
                FAIL_LOG_OUT, DELETE)

MIDWAY: Final = (SETTLE, SETTLE_ADD, MAINTAIN, SAVE, RENEW)

LOCKED: Final = (COUNT, LOCK_LATE, LOCK_LOOK, LOCK_LOG_IN, LOCK_LOG_OUT, LOCK_RENEW, LOCK_SETTLE, LOCK_EMPTY)


STRICT: Final = ("concurrency", "strict")

LIMITED: Final = ("max_sessions", 2)

LOGINS: Final = (LOG_IN, LOG_IN_SET, LOG_OUT, LOG_OUT_IN, SET, EMPTY, LOOK)

CORE: Final = (LOOK, SET, EMPTY, LOG_IN, LOG_OUT, LOG_OUT_IN)


def singles() -> Iterator[Scenario]:
    """Return what one program does when something goes wrong."""
    for program in (*USUAL, *MIDWAY, *LOCKED):
        yield Scenario((program,))
        yield Scenario((program,), None, 1000.0, (LASTING, RENEWING))
        yield Scenario((program,), None, None)
    for program in (*LOGINS, REVOKE):
        yield Scenario((program,), "ann", 1000.0, (LASTING, LIMITED), 2)
        yield Scenario((program,), None, 1000.0, (RENEWING, STRICT))


def pairs() -> Iterator[Scenario]:
    """Return what two programs do to each other."""
    for two in combinations_with_replacement((*USUAL, *MIDWAY), 2):
        yield Scenario(two)
        yield Scenario(two, None, 1000.0, (LASTING,))
        yield Scenario(two, None, 1000.0, (LASTING, RENEWING))
        yield Scenario(two, None, None)
    for program in (*USUAL, *MIDWAY):
        yield Scenario((program, REVOKE), "ann")
        yield Scenario((program, REVOKE), "ann", 1000.0, (LASTING, RENEWING))
    for two in combinations_with_replacement(LOGINS, 2):
        yield Scenario(two, "ann", 1000.0, (LASTING, LIMITED), 2)
        yield Scenario(two, None, 0.0, (STRICT,))
        yield Scenario(two, None, 1000.0, (RENEWING, STRICT))
    for two in combinations_with_replacement(LOCKED, 2):
        yield Scenario(two)
        yield Scenario(two, None, 1000.0, (LASTING, RENEWING))


def triples() -> Iterator[Scenario]:
    """Return what three programs do to each other, or two while a minute passes."""
    for three in combinations_with_replacement(CORE, 3):
        yield Scenario(three)
        yield Scenario(three, None, 1000.0, (LASTING, RENEWING))
    for two in combinations_with_replacement(CORE, 2):
        yield Scenario((*two, MINUTE))
        yield Scenario((*two, MINUTE), None, 1000.0, (LASTING, RENEWING, ("renew_grace", 300.0)))
        yield Scenario((*two, REVOKE), "ann", 1000.0, (LASTING, RENEWING))
    for two in combinations_with_replacement((COUNT, LOCK_RENEW, LOCK_LOG_IN, LOCK_EMPTY), 2):
        yield Scenario((*two, COUNT))
    for two in combinations_with_replacement((COUNT, LOCK_SETTLE, LOCK_LOG_IN, LOCK_EMPTY), 2):
        yield Scenario((*two, MINUTE))
