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
    """One verb. ``name_needed``: it acts for one job, so the job must have a name."""

    name: str
    summary: str
    text: str
    examples: tuple[tuple[str, str], ...]  # command line after "dbfleet ", what it does
    argument: Optional[Argument] = None
    options: tuple[Option, ...] = ()
    name_needed: bool = False


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
                "restore app.sql.gz --repository backups --to sqlite:///new.db",
                "a dump with no manifest",
            ),
        ),
        argument=Argument("BACKUP", "A backup id, latest, an artifact's file name, or the path of a dump."),
        options=(
            Option("--to", "Target database; the default is the source.", "URL"),
            Option("--table", "Restore only this table.", "TABLE", many=True),
            Option("--replace", "Take the place of what is there, and keep it beside."),
            _DRY_RUN,
        ),
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
        ),
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
    ),
    Verb(
        "sync",
        "Copy backups to another repository.",
        "Copies what the other repository lacks and reads it back. Nothing is ever removed there; a run that "
        "was interrupted goes on where it stopped.",
        (("sync --job promptpilot --to file:///mnt/offsite", "an offsite copy"),),
        options=(Option("--to", "The other repository.", "URL"), _DRY_RUN),
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
