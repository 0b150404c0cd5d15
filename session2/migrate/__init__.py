"""Moving in from another system without logging anybody out."""

from ..former import FormerCookie
from .bringing import Fate, bring
from .known import Unreadable
from .source import Former, Skipped, Source
from .systems import open_source
from .unpickle import Unpickler

__all__ = ["Fate", "Former", "FormerCookie", "Skipped", "Source", "Unpickler", "Unreadable", "bring", "open_source"]
