"""The parts of a tier, cache and store: made from their URLs, and refused if they cannot be parts."""

from __future__ import annotations

from ... import urls
from ...errors import ConfigurationError, StoreMissing
from ...serializers import PickleSerializer
from ..base import SessionStore


def made(store: SessionStore | str, name: str) -> SessionStore:
    """Return a part, given itself or its URL; `ConfigurationError` if it cannot be one."""
    try:
        made = urls.from_url(store) if isinstance(store, str) else store
    except StoreMissing:
        raise
    except ConfigurationError as error:
        raise ConfigurationError(f"the {name} of a cached store: {error}") from None
    if type(made).for_request is not SessionStore.for_request:
        raise ConfigurationError(f"the records of {type(made).__name__} travel with the request: it cannot be the "
                                 f"{name} of a cached store")
    return made


def demand_form(tier: SessionStore, part: SessionStore, name: str) -> None:
    """Refuse a part that was told how to keep sessions, in a way in which they are not kept."""
    is_told = not isinstance(part.serializer, PickleSerializer)  # the default, and so perhaps not asked for
    if (is_told and part.serializer.tag != tier.serializer.tag) or part.hash_ids < tier.hash_ids:
        raise ConfigurationError(f"the {name} of a cached store has another serializer or hash_ids than the whole, "
                                 "which would not count: give them to the store behind the cache, or to the whole")
