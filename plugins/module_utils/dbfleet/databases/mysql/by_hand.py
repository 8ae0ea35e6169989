"""The commands that restore a backup with nothing but the native client."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from ...model import Artifact
from .server import quoted

CLIENTS = {"mariadb": "mariadb", "mysql": "mysql"}
RESTORED = "restored"  # the database of a backup that does not name its own
ORDER = ("schema", "data", "raw", "objects", "events", "users")


def ordered(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The artifacts in the order of their use, each database for itself."""
    return sorted(artifacts, key=lambda one: (one.role == "users", one.database or "", ORDER.index(one.role), one.file))


def restore_commands(flavour: str, stored: Sequence[tuple[Artifact, str]]) -> tuple[str, ...]:
    """Create the databases, then feed every artifact; the client finds server and account in its option files."""
    client = CLIENTS[flavour]
    decode = {artifact.file: command for artifact, command in stored}
    commands: list[str] = []
    seen: set[str] = set()
    for artifact in ordered([artifact for artifact, _command in stored]):
        if artifact.role == "users":
            commands.append(f"{decode[artifact.file]} | {client}")
            continue
        database = artifact.database or RESTORED
        if database not in seen:
            seen.add(database)
            commands.append(f"{client} -e {shlex.quote(f'CREATE DATABASE {quoted(database)}')}")
        name = shlex.quote(database) if not database.startswith("-") else f"--database={shlex.quote(database)}"
        commands.append(f"{decode[artifact.file]} | {client} --binary-mode --comments --max-allowed-packet=1G {name}")
    return tuple(commands)
