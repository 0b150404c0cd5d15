"""Moving in from another system without logging anybody out."""

from ..former import FormerCookie
from .source import Former, Skipped, Source
from .systems import open_source
from .unpickle import Unpickler, Unreadable

__all__ = ["Former", "FormerCookie", "Skipped", "Source", "Unpickler", "Unreadable", "open_source"]
