"""What of a host the runs of a job must reach, by its file: paths, the network, what is the server's alone."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

HOMES = ("/home/", "/root/", "/run/user/")
TEMPORARY = ("/tmp/", "/var/tmp/")  # noqa: S108 - a service may have its own instead
MYSQL = ("mysql:", "mariadb:")


def source_url(file: Mapping[str, Any]) -> str:
    """The URL of a job's source, without the driver that an application's URL may name (``mysql+pymysql://``)."""
    source = file.get("source")
    url = str(source.get("url", "")) if isinstance(source, Mapping) else ""
    return re.sub(r"^([A-Za-z]+)[+][^:/]+://", r"\1://", url)


def copies_files(file: Mapping[str, Any]) -> bool:
    """Whether the job copies the files of MySQL or MariaDB. (PostgreSQL sends its own.)"""
    return file.get("method") == "physical" and source_url(file).lower().startswith(MYSQL)


def has_whole_server(file: Mapping[str, Any]) -> bool:
    """Whether a job's logical backups are what the log of MySQL and MariaDB begins with."""
    source = file.get("source")
    if not isinstance(source, Mapping) or not source_url(file).lower().startswith(MYSQL):
        return False
    return source.get("databases") == ["*"] and not source.get("tables") and not source.get("exclude_tables")


def touched(file: Mapping[str, Any]) -> list[str]:
    """URLs and paths that a job writes to or beside: its source, repository and archive, and its keys."""
    source = source_url(file)
    if source.lower().startswith("sqlite:///"):
        # A reader in WAL mode writes beside the database.
        path = unquote(source[len("sqlite:///") :].partition("?")[0])
        source = posixpath.dirname(path) if path.startswith("/") else ""
    others = (
        ("repository", "url"),
        ("retention", "archive_to"),
        ("encryption", "gpg_home"),  # where gpg locks its keys, and its agent has a socket
    )
    urls = [source, *((file.get(group) or {}).get(key) for group, key in others)]
    return [str(url) for url in urls if url]


def reach(urls: Iterable[str], *said: Any) -> dict[str, Any]:
    """``writable`` paths of ``urls``, and whether they need the ``network``.

    ``home`` and ``temporary`` are whether one of them is there, or any other path that ``said`` names: a secret in
    ``/root``, a socket in ``/tmp``.
    """
    paths, network = set(), False
    for url in urls:
        scheme, colon, rest = url.partition("://")
        if not colon:
            paths.add(posixpath.normpath(url))
        elif scheme.lower() == "file":
            paths.add(posixpath.normpath("/" + unquote(rest.partition("/")[2])))
        else:
            network = True
    writable = sorted(path for path in paths if path.startswith("/") and path.isprintable() and path != "/")
    places = [path + "/" for path in (*writable, *_named(said))]
    return {
        "writable": writable,
        "network": network,
        "home": any(place.startswith(HOMES) for place in places),
        "temporary": any(place.startswith(TEMPORARY) for place in places),
    }


def _named(said: Any) -> Iterator[str]:
    """The absolute paths in ``said``, at any depth, and in what URLs ask for."""
    if isinstance(said, Mapping):
        said = tuple(said.values())
    if isinstance(said, (list, tuple)):
        for one in said:
            yield from _named(one)
    elif isinstance(said, str):
        values = [value for _name, value in parse_qsl(said.partition("?")[2])] if "://" in said else [said]
        yield from (posixpath.normpath(value) for value in values if value.startswith("/"))
