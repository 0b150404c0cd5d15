"""`named`: a browser in a few words."""

from __future__ import annotations

from typing import Final

# The first that is part of the header counts: all browsers claim to be others too.
_BROWSERS: Final = {"Edg": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "FxiOS/": "Firefox", "CriOS/": "Chrome",
                    "Chromium/": "Chromium", "HeadlessChrome/": "Chrome", "Chrome/": "Chrome", "Safari/": "Safari",
                    "curl/": "curl"}
_SYSTEMS: Final = {"Android": "Android", "iPhone": "iPhone", "iPad": "iPad", "Windows": "Windows", "Mac OS X": "macOS",
                   "CrOS": "ChromeOS", "Linux": "Linux"}


def named(user_agent: str | None) -> str:
    """Return the kind of browser and of system that a header ``User-Agent`` names, without versions."""
    text = user_agent or ""
    browser = next((name for mark, name in _BROWSERS.items() if mark in text), "another browser")
    system = next((name for mark, name in _SYSTEMS.items() if mark in text), "")
    return f"{browser} on {system}" if system else browser
