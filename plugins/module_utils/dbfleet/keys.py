"""The one table of the job's keys.

The job schema, the command's options, the modules' argument specs and the reference page are
all made from it, so they cannot disagree. Adding a key is one line here and one field in
``model``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

NAME_PATTERN = r"[a-z0-9_-]+"
DEFAULT_RETENTION = {"keep_daily": 7, "keep_weekly": 5, "keep_monthly": 12}


@dataclass(frozen=True)
class Key:
    """One key: ``path`` in the job (``compression.level``), the kind of its value, and its words.

    Kinds: ``str``, ``path``, ``url``, ``int``, ``size`` (bytes), ``duration`` (seconds),
    ``free`` (a share or a size), ``mode`` (octal), ``list`` (of text).
    """

    path: str
    kind: str
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    environment: Optional[str] = None
    minimum: int = 0

    @property
    def group(self) -> str:
        """``compression`` of ``compression.level``; empty for a key at the top."""
        return self.path.rpartition(".")[0]

    @property
    def field(self) -> str:
        """``level`` of ``compression.level``."""
        return self.path.rpartition(".")[2]

    @property
    def option(self) -> str:
        """``--compression-level``."""
        return "--" + self.path.replace(".", "-").replace("_", "-")


KEYS = (
    Key("name", "str", "Name of the job and prefix of every file name: lower-case letters, digits, _ and -."),
    Key(
        "source.url",
        "url",
        "The database, as applications write it in DATABASE_URL.",
        environment="DATABASE_URL",
    ),
    Key("source.password_file", "path", "File whose first line is the password of the source."),
    Key(
        "source.databases",
        "list",
        "Databases of the server; the default is the one in the URL, * means all.",
        default=(),
    ),
    Key("source.schemas", "list", "Only schemas that match these patterns (PostgreSQL).", default=()),
    Key("source.exclude_schemas", "list", "No schemas that match these patterns (PostgreSQL).", default=()),
    Key("source.tables", "list", "Only tables that match these patterns of the dump tool.", default=()),
    Key("source.exclude_tables", "list", "No tables that match these patterns of the dump tool.", default=()),
    Key("source.tools", "path", "Folder of the database's own tools; the default is where they are usually found."),
    Key(
        "repository.url",
        "url",
        "Where backups are kept: a store URL such as file:///var/backups/app.",
        environment="BACKUP_DIR",
    ),
    Key("repository.file_mode", "mode", "Mode of stored files.", default=0o600),
    Key("repository.folder_mode", "mode", "Mode of created folders.", default=0o700),
    Key(
        "repository.identity_file",
        "path",
        "Private key for the login at an SFTP server; the default is the agent, then ssh's own files.",
    ),
    Key(
        "repository.known_hosts_file",
        "path",
        "Host keys of SFTP servers that are trusted; the default is ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts.",
    ),
    Key(
        "repository.password_file",
        "path",
        "File whose first line is the passphrase of identity_file, or without one the password of the SFTP account.",
    ),
    Key(
        "method",
        "str",
        "logical keeps SQL that any version reads; physical only the database's own files.",
        default="logical",
        choices=("logical", "physical"),
    ),
    Key(
        "type",
        "str",
        "full, incremental (what changed since the parent), or auto (incremental where a chain can go on).",
        default="full",
        choices=("full", "incremental", "auto"),
    ),
    Key(
        "format",
        "str",
        "How a logical backup is written, where the database has a choice; the default is the best for restores.",
        choices=("plain", "custom", "directory"),
    ),
    Key(
        "compression.method",
        "str",
        "How artifacts are compressed.",
        default="zstd",
        choices=("zstd", "gzip", "none"),
    ),
    Key("compression.level", "int", "Compression level; the default is 3 for zstd and 6 for gzip.", minimum=-7),
    Key("compression.threads", "int", "Compression threads; 0 takes what the host has.", default=0),
    Key(
        "encryption.method",
        "str",
        "How artifacts are encrypted: gpg with a passphrase (AES256) or recipients, age with recipients.",
        default="none",
        choices=("none", "gpg", "age"),
    ),
    Key(
        "encryption.recipients",
        "list",
        "gpg key ids or age public keys that can read the backups.",
        default=(),
    ),
    Key("encryption.passphrase_file", "path", "File whose first line is the gpg passphrase."),
    Key("encryption.identity_file", "path", "age identity file; only needed to read backups."),
    Key("encryption.gpg_home", "path", "GnuPG home folder with the keys; the default is gpg's own."),
    Key("retention.keep_last", "int", "Keep the newest N backups."),
    Key(
        "retention.keep_within",
        "duration",
        "Keep every backup younger than this.",
        environment="RETENTION_DAYS",
    ),
    Key("retention.keep_hourly", "int", "Keep the newest backup of each of the last N hours that have one."),
    Key("retention.keep_daily", "int", "Keep the newest backup of each of the last N days that have one."),
    Key(
        "retention.keep_weekly",
        "int",
        "Keep the newest backup of each of the last N ISO weeks that have one.",
    ),
    Key("retention.keep_monthly", "int", "Keep the newest backup of each of the last N months that have one."),
    Key("retention.keep_yearly", "int", "Keep the newest backup of each of the last N years that have one."),
    Key("retention.min_keep", "int", "Never keep fewer good backups than this.", default=1, minimum=1),
    Key("retention.archive_after", "duration", "Move kept backups older than this to archive_to."),
    Key("retention.archive_to", "url", "Store URL that old backups are moved to."),
    Key(
        "proof.level",
        "str",
        "What is measured inside the snapshot: nothing, rows per table, or also a digest of their content.",
        default="rows",
        choices=("none", "rows", "content"),
    ),
    Key("proof.queries", "list", "SQL whose answers a restore must give again.", default=()),
    Key(
        "proof.command",
        "list",
        "Program and arguments that verify --level restore runs; DBFLEET_RESTORED names the database; it must exit 0.",
        default=(),
    ),
    Key(
        "proof.scratch_url",
        "url",
        "Server on which verify may create databases for a while; the default is a server of its own on the host.",
    ),
    Key("proof.scratch_password_file", "path", "File whose first line is the password of the scratch server."),
    Key("limits.parallel", "int", "How many artifacts or tables are worked on at once.", default=2, minimum=1),
    Key("limits.bandwidth", "size", "Bytes per second written to or read from the repository, at most."),
    Key("limits.nice", "int", "Niceness of the run, 0 to 19."),
    Key(
        "limits.min_free",
        "free",
        "Room that a backup leaves on the repository: a share such as 10% or a size such as 2G.",
        default="2%",
    ),
    Key("limits.timeout", "duration", "Longest time a run may take."),
    Key(
        "limits.lock_wait",
        "duration",
        "How long to wait for a lock of the database or of the job.",
        default=30,
    ),
    Key(
        "limits.chain_length",
        "int",
        "Backups in a chain, the full one included, before a new full is taken.",
        default=30,
        minimum=1,
    ),
    Key(
        "health.max_age",
        "duration",
        "health finds fault when the newest good backup is older than this; 0 means at no age.",
        default=93600,
    ),
    Key(
        "health.max_unverified",
        "duration",
        "health finds fault when no verification has passed for longer than this; 0 means never.",
        default=691200,
    ),
    Key(
        "log_archive.max_lag",
        "duration",
        "How old what the log archive lacks may become: what is new in the unfinished log file is stored this often.",
        default=10,
        minimum=1,
    ),
    Key(
        "log_archive.slot",
        "str",
        "Replication slot by which PostgreSQL keeps its log for the archiver; the default is dbfleet_ and the name.",
    ),
    Key(
        "log_archive.slot_limit",
        "size",
        "Log that the server may have to keep for the archiver before it is a finding; the default is 10G.",
    ),
    Key(
        "log_archive.spool",
        "path",
        "Private folder for log files on their way; the default is in the state folder of the host.",
    ),
)

BY_PATH = {key.path: key for key in KEYS}
BY_OPTION = {key.option: key for key in KEYS}
GROUPS = tuple(dict.fromkeys(key.group for key in KEYS if key.group))
