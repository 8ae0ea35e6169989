"""URLs as they may be shown, logged and returned, and whom they name."""

from __future__ import annotations

from urllib.parse import parse_qsl, unquote

PATHS = ("file", "sqlite")  # schemes whose URL is only a path, in which every character is its own


def without_credentials(url: str) -> str:
    """``url`` without user, password and query; a path, bare or as a URL, as it is."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.lower() in PATHS:
        return url
    place, slash, path = rest.partition("/")
    return f"{scheme}://{place.rpartition('@')[2]}{slash}{path}".partition("?")[0].partition("#")[0]


def user_of(url: str) -> str:
    """The account that ``url`` logs in with: before the place, or ``user`` in the query; empty where it names none."""
    _scheme, _mark, rest = url.partition("://")
    place, _mark, query = rest.partition("?")
    login, _mark, _host = place.partition("/")[0].rpartition("@")
    named = dict(parse_qsl(query)).get("user", "")
    return unquote(login.partition(":")[0]) or named
