"""URLs as they may be shown, logged and returned."""

from __future__ import annotations

PATHS = ("file", "sqlite")  # schemes whose URL is only a path, in which every character is its own


def without_credentials(url: str) -> str:
    """``url`` without user, password and query; a path, bare or as a URL, as it is."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() in PATHS:
        return url
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]
