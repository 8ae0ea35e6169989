"""Refusing relative paths where nobody chose the folder that they would be relative to."""

from __future__ import annotations

import os

from .config import Layer
from .errors import UsageError
from .keys import BY_PATH


def refuse_relative(layer: Layer) -> None:
    """Refuse relative paths among the values of a job."""
    for path, value in layer.items():
        if BY_PATH[path].kind == "url":
            absolute_url(value, called=path)
        elif BY_PATH[path].kind == "path" and not os.path.isabs(value):
            raise UsageError(f"{path}: {value!r} is a relative path", "write the absolute path on the host")


def absolute_url(url: str, *, called: str) -> str:
    """``url``, if it does not depend on the folder that a module happens to run in."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        place, example = url, "an absolute folder such as /var/backups/app, or a URL"
    elif scheme.lower() == "file":
        place, example = rest, "file:///var/backups/app"
        if os.name == "nt":
            place = rest[1:]  # file:///C:/backups
    elif scheme.lower() == "sqlite":
        place, example = rest[1:], "sqlite:////var/lib/app/app.db, with four slashes"
    else:
        return url
    if place in ("", ":memory:") or os.path.isabs(place):
        return url  # the engine says what is wrong with no path at all
    raise UsageError(
        f"{called}: {url!r} is relative, and a module has no folder that it could be relative to",
        f"write it absolute: {example}",
    )
