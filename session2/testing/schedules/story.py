"""A schedule as a story to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from .course import Course
from .world import Event

LONGEST: Final = 60
"""Lines of a story that are shown."""


def told(course: Course, complaints: Sequence[str]) -> str:
    """Return what happened, line by line, and what was wrong with it."""
    world, scenario = course.world, course.scenario
    names = [program.name for program in scenario.programs]
    width = max(map(len, names)) + 2
    lines = [str(scenario), *(f"  BROKEN: {complaint}" for complaint in complaints)]
    for event in _shortened(world.story):
        number = event.program
        who = "" if number is None else "afterwards" if number > len(names) else f"{number} {names[number - 1]}"
        what = f"{event.text} {world.name_of(event.key) if event.key else ''}".strip()
        lines.append(f"  {who:{width}} {what}{event.after and ': ' if event.key else ' '}{event.after}".rstrip())
    return "\n".join(lines)


def _shortened(story: list[Event]) -> list[Event]:
    return story if len(story) <= LONGEST else [*story[:LONGEST - 10], Event(None, "... and so on"), *story[-9:]]
