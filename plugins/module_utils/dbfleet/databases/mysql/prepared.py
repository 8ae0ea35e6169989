"""Making one data directory of the unpacked backups of a chain, with the flavour's own tool."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from typing import Optional

from ...errors import DamagedError
from ...model import Artifact
from .copied_options import require_keys
from .copy_tool import copy_tool, fields_of, prepare, version_in
from .server import Version
from .xbstream import Unpacker, unpack

# What names the places of tables that the original had elsewhere: a file for each of MariaDB's, one for all of MySQL's.
# The backup holds them in their usual places.
REMOTE, REMOTES = ".isl", "xtrabackup_tablespaces"


class Prepared:
    """Backups are unpacked into the folders of its links, in order; :meth:`finish` makes ``data`` of them."""

    def __init__(self, root: str, tools: Optional[str]) -> None:
        self.root = root
        self.data = os.path.join(root, "data")
        self.remote: list[str] = []  # tables that the original had elsewhere
        self._tools = tools
        self._links: list[tuple[str, Unpacker]] = []

    def add(self, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        """Unpack the next backup of the chain."""
        folder = os.path.join(self.root, str(len(self._links)))
        os.mkdir(folder, 0o700)
        self._links.append((folder, unpack(artifact, chunks, folder)))

    @property
    def version(self) -> Version:
        """Of the server whose files they are."""
        if not self._links:
            raise DamagedError("no physical backup was restored", "begin the restore again")
        return version_in(self._links[-1][1].text("info"))

    @property
    def image_sha256(self) -> str:
        """Of the newest backup: the digest of all pieces and their checksums, which were compared as they came in."""
        return self._links[-1][1].image_sha256

    def finish(self) -> None:
        """Join the links and replay their logs. Raises ``DamagedError``."""
        version = self.version
        tool = copy_tool(version, self._tools, f"the backup is of {version.shown} and needs the tool of that version")
        self._require_order()
        base = self._links[0][0]
        require_keys(self._links[-1][0])
        last = len(self._links) - 1
        prepare(tool, base, last=not last)
        for number, (folder, _unpacker) in enumerate(self._links[1:], 1):
            prepare(tool, base, folder, last=number == last)
            shutil.rmtree(folder)
        for folder, _folders, files in os.walk(base):
            for name in files:
                if name.endswith(REMOTE):  # a server would open the file that it names, which may be the original's
                    os.remove(os.path.join(folder, name))
                    self.remote.append(f"{os.path.basename(folder)}/{name[: -len(REMOTE)]}")
        self.remote += _remotes(os.path.join(base, REMOTES))
        os.rename(base, self.data)

    def _require_order(self) -> None:
        """Each link must begin where the one before it ended: the tool would not notice every gap."""
        reached = None
        for folder, unpacker in self._links:
            fields = fields_of(unpacker.text("checkpoints"))
            since = None if fields.get("backup_type") == "full-backuped" else fields.get("from_lsn")
            if since != reached:
                raise DamagedError(
                    f"link {os.path.basename(folder)} of the chain begins at {since or 0}, "
                    f"and the one before it ends at {reached or 0}",
                    "restore another backup",
                )
            reached = fields.get("to_lsn")


def _remotes(path: str) -> list[str]:
    """The tablespaces in MySQL's list of those that were elsewhere; none where there is no such list."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError), open(path, encoding="utf-8") as file:
        return [str(one["tablespace_name"]) for one in json.load(file)["external_tablespaces"]]
    return []
