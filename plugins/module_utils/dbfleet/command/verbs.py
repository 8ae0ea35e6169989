"""The one table of the command's verbs, their arguments, options and examples.

Parsing, ``--help``, the reference page and the completion are all made from it. Named tuples,
because they are made at every start, and are five times cheaper to define than dataclasses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Optional

from ..keys import KEYS


class Option(NamedTuple):
    """One option. ``metavar`` empty makes it a switch; ``many`` lets it be repeated."""

    name: str
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    default: Optional[str] = None
    short: str = ""
    many: bool = False

    @property
    def field(self) -> str:
        """``dry_run`` of ``--dry-run``."""
        return self.name[2:].replace("-", "_")


class Argument(NamedTuple):
    """The one word after the verb; without ``default`` it must be given."""

    metavar: str
    help: str
    default: Optional[str] = None
    choices: tuple[str, ...] = ()


class Verb(NamedTuple):
    """One verb. ``name_needed``: it acts for one job, so the job must have a name. ``long``: it can take hours.

    ``more`` says how many words follow the argument, by what it is.
    """

    name: str
    summary: str
    text: str
    examples: tuple[tuple[str, str], ...]  # command line after "dbfleet ", what it does
    argument: Optional[Argument] = None
    options: tuple[Option, ...] = ()
    name_needed: bool = False
    more: tuple[tuple[str, tuple[str, ...]], ...] = ()
    long: bool = False


JSON = Option("--json", "One JSON document on stdout; messages stay on stderr.")
COMMON = (
    Option("--job", "The job installed on this host; options and environment are stronger.", "NAME"),
    JSON,
    Option("--quiet", "No progress line.", short="-q"),
    Option("--verbose", "Every step on stderr, and a traceback when the command itself fails.", short="-v"),
    Option("--help", "This text.", short="-h"),
)
# Short names of job options.
ALIASES = {"--source": "--source-url", "--repository": "--repository-url"}

_OWN_LOGIN = "With any of these three, the job's own are not used there."
_DRY_RUN = Option("--dry-run", "Say what would be done, and change nothing.")

VERBS = (
    Verb(
        "backup",
        "Back up the source into the repository.",
        "Takes one consistent backup. It is listed only when all of it is stored durably and proven equal "
        "to its source; a run that fails leaves nothing that is listed.",
        (
            ("backup --source sqlite:///data/app.db --repository backups", "one database into a folder"),
            ("backup --job promptpilot", "the job that is installed on this host"),
            ("backup --job promptpilot --type incremental --json", "only what changed, for a script"),
        ),
        options=(_DRY_RUN,),
        name_needed=True,
        long=True,
    ),
    Verb(
        "list",
        "List the backups of the repository.",
        "States: good (restored or checked, and equal), unproven (not checked since it was made), bad "
        "(a check failed), damaged (its manifest cannot be read), foreign (a backup file that no manifest "
        "describes).",
        (
            ("list --repository backups", "everything in a folder"),
            ("list --job promptpilot --json", "the manifests of one job, for a script"),
        ),
    ),
    Verb(
        "show",
        "Show one backup: artifacts, proof, and how to restore it by hand.",
        "Prints what the manifest says, with the commands that restore the backup without this program.",
        (
            ("show latest --repository backups", "the newest good backup"),
            ("show promptpilot_backup_20250823_103000 --job promptpilot", "one backup of a job"),
        ),
        argument=Argument("BACKUP", "A backup id, an artifact's file name, or latest."),
    ),
    Verb(
        "restore",
        "Restore a backup to its source or somewhere else.",
        "Builds beside the target, compares with the proof, and only then takes the target's place. An "
        "existing database is refused without --replace, and kept beside the restored one with it.",
        (
            ("restore latest --job promptpilot --to sqlite:////tmp/look.db", "into a new file"),
            (
                "restore latest --job promptpilot --replace",
                "over the source; the old database is kept beside it",
            ),
            (
                "restore latest --job promptpilot --table prompts --to sqlite:///a.db",
                "one table only, into another database",
            ),
            (
                "restore latest --job pg --to /data --target-time 2025-08-23T10:30:00Z",
                "a server as it was at that moment",
            ),
            (
                "restore latest --job pg --table orders --target-time 2025-08-23T10:30Z",
                "a table as it was then",
            ),
            (
                "restore app.sql.gz --repository backups --to sqlite:///new.db",
                "a dump with no manifest",
            ),
        ),
        argument=Argument("BACKUP", "A backup id, latest, an artifact's file name, or the path of a dump."),
        options=(
            Option("--to", "Target database; the default is the source.", "URL"),
            Option(
                "--table", "Restore only this table; PostgreSQL's SCHEMA.* means all of a schema.", "TABLE", many=True
            ),
            Option("--target-time", "Bring it forward to this moment (UTC without a zone), or latest.", "TIME"),
            Option("--target-lsn", "PostgreSQL: bring it forward to this position in the log.", "LSN"),
            Option("--target-xid", "PostgreSQL: bring it forward to this transaction.", "XID"),
            Option("--target-name", "PostgreSQL: bring it forward to this restore point.", "NAME"),
            Option("--target-position", "MariaDB, MySQL: bring it forward to this position in the log.", "FILE:OFFSET"),
            Option("--target-gtid", "MariaDB, MySQL: bring it forward to this transaction.", "GTID"),
            Option("--target-timeline", "PostgreSQL: follow this timeline; the default is the newest.", "N"),
            Option("--target-exclusive", "Stop before what is exactly at the target."),
            Option(
                "--target-action",
                "What a PostgreSQL server does at the target.",
                "ACTION",
                choices=("promote", "pause"),
            ),
            Option("--replace", "Take the place of what is there, and keep it beside."),
            Option(
                "--tablespace-map",
                "Of a physical backup of PostgreSQL: put the tablespace that was in folder OLD into folder NEW.",
                "OLD=NEW",
                many=True,
            ),
            _DRY_RUN,
        ),
        long=True,
    ),
    Verb(
        "verify",
        "Check stored backups, up to a full restore.",
        "Reads backups as a restore would, at one of three levels: checksum (every stored and unpacked "
        "byte), structure (the database also examines what comes out) and restore (also restored into a "
        "scratch place, and compared with all that was measured). Exit code 3 tells of findings.",
        (
            ("verify all --repository backups", "every stored byte of a repository"),
            ("verify latest --level restore --job promptpilot", "the newest backup, restored and compared"),
        ),
        argument=Argument("BACKUP", "A backup id, latest or all.", default="latest"),
        options=(
            Option(
                "--level",
                "How deep to check.",
                "LEVEL",
                choices=("checksum", "structure", "restore"),
                default="structure",
            ),
            Option("--dry-run", "Say which backups would be checked, and check none."),
        ),
        long=True,
    ),
    Verb(
        "prune",
        "Remove or archive what the retention rules do not keep.",
        "Never removes the newest good backup, a backup that another one needs, or a file that this program "
        "did not write. With no rule set, keeps 7 daily, 5 weekly and 12 monthly backups.",
        (
            ("prune --job promptpilot --dry-run", "what would go, and by which rule"),
            ("prune --repository backups --name app --retention-keep-last 10", "only the ten newest stay"),
        ),
        options=(_DRY_RUN,),
        name_needed=True,
        long=True,
    ),
    Verb(
        "sync",
        "Copy backups to another repository.",
        "Copies what the other repository lacks and reads it back: backups, their proofs, and of the log archive what "
        "the backups there need. No backup is ever removed there; a run that was interrupted goes on where it stopped.",
        (
            ("sync --job promptpilot --to file:///mnt/offsite", "an offsite copy"),
            ("sync --job pilot --to sftp://me@far/b --to-identity-file key", "with a key of its own"),
        ),
        options=(
            Option("--to", "The other repository.", "URL"),
            Option("--to-identity-file", f"As --repository-identity-file, for the other one. {_OWN_LOGIN}", "PATH"),
            Option("--to-known-hosts-file", "As --repository-known-hosts-file, for the other one.", "PATH"),
            Option("--to-password-file", "As --repository-password-file, for the other one.", "PATH"),
            _DRY_RUN,
        ),
        long=True,
    ),
    Verb(
        "health",
        "Say whether the jobs of this host can be relied on.",
        "Looks at one job, or without one at every job that is installed on this host: the age of the newest good "
        "backup (health.max_age), how long ago a verification passed (health.max_unverified), how the last backup "
        "ended, the free room, gaps and damage in the repository, and the audit log. Reads no stored data. Exit "
        "code 3 tells of findings.",
        (
            ("health", "every job of this host"),
            ("health --job promptpilot --health-max-age 2h --json", "one job, for a script"),
        ),
    ),
    Verb(
        "status",
        "Show what runs on this host, and how far it is.",
        "Tells of every backup, restore, verification, prune and sync that runs on this host for this user (root: "
        "also for the account of the jobs), and of those that were killed. With --job only of those of one job.",
        (("status", "everything that runs"), ("status --job promptpilot --json", "one job, for a script")),
    ),
    Verb(
        "coverage",
        "Say which databases of this host no job protects.",
        "Looks for SQLite databases by the first bytes of files, and for servers by their sockets, by the ports that "
        "jobs name and by their usual ports, and compares them with the jobs that are installed. Wants root, to be let "
        "in by the servers and to see every file. Exit code 3 tells of findings.",
        (
            ("coverage", "everything on this host"),
            ("coverage --sqlite-path /srv --ignore '/srv/cache/*' --json", "without what needs no job, for a script"),
        ),
        options=(
            Option("--host", "A name or address by which jobs mean this host.", "NAME", many=True),
            Option("--sqlite-path", "Where SQLite databases may be: a file or a folder.", "PATH", many=True),
            Option("--sqlite-exclude", "A folder to leave out.", "PATH", many=True),
            Option("--postgresql-folder", "Where sockets of PostgreSQL may be.", "PATH", many=True),
            Option("--postgresql-user", "The account that PostgreSQL lets in.", "NAME", default="postgres"),
            Option("--mysql-socket", "Where a socket of MySQL or MariaDB may be.", "PATH", many=True),
            Option("--mysql-user", "The account that MySQL and MariaDB let in by the socket.", "NAME", default="root"),
            Option("--ignore", "Databases that need no job, by name or path, with * and ?.", "PATTERN", many=True),
        ),
    ),
    Verb(
        "check",
        "Check job files, without connecting to anything.",
        "Reads the files of installed jobs, or one that is yet to be installed, as a backup would: keys, values, "
        "what fits together, who may write it. Exit code 3 tells of findings.",
        (
            ("check", "every job that is installed on this host"),
            ("check new.json --name promptpilot", "a file that will be installed as promptpilot.json"),
        ),
        argument=Argument("JOB", "An installed job, the path of a job file, or all.", default="all"),
    ),
    Verb(
        "log-archive",
        "Keep the transaction log, so that any moment can be restored.",
        "run streams the log of a server into the repository until it is stopped, the unfinished file included. "
        "push FILE and fetch NAME FILE are for a server's archive_command and restore_command: fetch exits "
        "with 1 where the archive has no such file, and with 200 when it could not find out. status tells how "
        "far the log reaches; exit code 3 tells of findings. find shows the transactions of MySQL and MariaDB "
        "that did something, so that a restore can end just before one.",
        (
            ("log-archive status --job promptpilot", "from when to when can be restored, and what is missing"),
            ("log-archive run --job promptpilot", "a service that keeps the log"),
            ("log-archive find --job shop --kind drop --table orders", "which transaction it was"),
            ("log-archive push %p --job promptpilot", "archive_command of PostgreSQL"),
            ("log-archive fetch %f %p --job promptpilot", "restore_command of PostgreSQL"),
        ),
        argument=Argument("WHAT", "What to do.", choices=("run", "push", "fetch", "status", "find")),
        options=(
            Option("--kind", "find: what was done, such as delete, update, drop, truncate.", "KIND", many=True),
            Option("--table", "find: to which table, with or without its database.", "TABLE"),
            Option("--text", "find: words of the statement, whatever their case.", "TEXT"),
            Option("--since", "find: from this moment on (UTC without a zone).", "TIME"),
            Option("--until", "find: up to this moment.", "TIME"),
        ),
        name_needed=True,
        more=(("push", ("FILE",)), ("fetch", ("NAME", "FILE"))),
    ),
    Verb(
        "completion",
        "Print the completion of the command for bash.",
        "With jobs or backups, prints the names that the completion offers.",
        (
            (
                "completion bash > ~/.local/share/bash-completion/completions/dbfleet",
                "install it for one user",
            ),
        ),
        argument=Argument("WHAT", "bash, or names: jobs, backups.", choices=("bash", "jobs", "backups")),
    ),
)

BY_NAME = {verb.name: verb for verb in VERBS}


def options_of(verb: Verb) -> Iterator[Option]:
    """Options of ``verb`` that are no job keys, its own first."""
    yield from verb.options
    yield from COMMON


def job_options() -> Iterator[Option]:
    """Every key of the job as an option."""
    short = {long: alias for alias, long in ALIASES.items()}
    for key in KEYS:
        default = "" if key.default in (None, ()) else str(key.default)
        if key.kind == "mode":
            default = f"{key.default:04o}"
        metavar = {"str": "TEXT", "int": "N", "list": "TEXT", "free": "SHARE|SIZE"}.get(key.kind, key.kind.upper())
        yield Option(
            key.option,
            key.help,
            "|".join(key.choices) or metavar,
            key.choices,
            default or None,
            short.get(key.option, ""),
            many=key.kind == "list",
        )
