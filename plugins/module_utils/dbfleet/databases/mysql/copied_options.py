"""What the option file in a physical backup says: how InnoDB's files are laid out, and who has the keys to them.

``mariadb-backup`` writes it (backup-my.cnf) from the variables of the server, those of a key management plugin
included, and reads it again when it prepares the backup.
"""

from __future__ import annotations

import os
from typing import Optional

from ...errors import KeyMaterialError, ToolError
from ...stream.process import Command, run

OPTION_FILE = "backup-my.cnf"
KEPT = (
    "innodb_page_size",
    "innodb_data_file_path",
    "innodb_undo_tablespaces",
    "innodb_checksum_algorithm",
    "innodb_encrypt_log",
    "innodb_encrypt_tables",
)
# No others are loaded because a backup says so (MariaDB manual, "Encryption Key Management").
KEY_PLUGINS = ("file_key_management", "aws_key_management", "hashicorp_key_management")
KEY_FILE, KEY_TO_IT = "file_key_management_filename", "file_key_management_filekey"


def options_for(data: str) -> str:
    """The text of an option file for a server that is to run on the data directory ``data``."""
    lines = ["[mysqld]"]
    for name, value in _pairs(data):
        if name == "plugin_load":
            loaded = [part for part in value.split(";") if part.partition("=")[0] in KEY_PLUGINS]
            lines += [f"plugin-load-add={part}" for part in loaded]
        elif name in KEPT or name.startswith(KEY_PLUGINS):
            lines.append(f"loose-{name}={value}")
    return "\n".join(lines) + "\n"


def require_keys(data: str, user: Optional[str] = None) -> None:
    """Raise ``KeyMaterialError`` where ``user`` cannot read the keys that the server had encrypted its tables with.

    Without a user it is the one who asks.
    """
    for name, value in _pairs(data):
        path = value.partition("FILE:")[2] if name == KEY_TO_IT else value if name == KEY_FILE else ""
        if not path:
            continue
        what = f"the server encrypted its tables with the keys in {path!r}, which"
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise KeyMaterialError(
                f"{what} cannot be read: {error.strerror}",
                "bring that file to the same place on this host: no backup of the server holds it",
            ) from error
        try:
            if user is not None:
                run(Command(("test", "-r", path), user=user))
        except ToolError as error:
            raise KeyMaterialError(
                f"{what} the user {user} cannot read, as whom a trial server runs", f"let {user} read it"
            ) from error


def _pairs(data: str) -> list[tuple[str, str]]:
    with open(os.path.join(data, OPTION_FILE), encoding="utf-8", errors="surrogateescape") as file:
        split = (line.strip().partition("=") for line in file)
        return [(name, value) for name, mark, value in split if mark]
