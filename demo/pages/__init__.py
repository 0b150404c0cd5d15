"""The pages.  They know no framework: `answer` takes what was asked and returns what to answer.

A page is a function of the site and the request.  One that raises has its framework fail the request, which forgets
what that did to the session; the framework then sends what `failed` returns.
"""

from .answering import answer
from .asked import Answer, Asked
from .failing import failed
from .session import DemoSession, Manager, make_manager
from .site import Site

__all__ = ["Answer", "Asked", "DemoSession", "Manager", "Site", "answer", "failed", "make_manager"]
