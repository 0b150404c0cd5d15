"""Values of options, which may be text, as in configuration files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from session2 import ConfigurationError

YES: Final = ("true", "yes", "on", "y", "t", "1")
NO: Final = ("false", "no", "off", "n", "f", "0")


def truth(options: Mapping[str, Any], name: str, default: Any) -> Any:
    """Return a value as a bool, the default if it is not given."""
    value = options.get(name)
    if value is None or isinstance(value, bool):
        return default if value is None else value
    text = str(value).strip().lower()
    if text not in (*YES, *NO):
        raise ConfigurationError(f"session.{name} must be true or false, not {value!r}")
    return text in YES


def number(name: str, value: Any) -> float:
    """Return a value as a number; `ConfigurationError` if it is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ConfigurationError(f"session.{name} must be a number of seconds, not {value!r}") from None
