"""What the account of a backup must be allowed, told before anything is written.

Without some of these privileges the server does not refuse: it shows less, and a dump would be
incomplete without a word (MariaDB manual, "mariadb-dump", "Information Schema TRIGGERS Table" and
"Stored Routine Privileges"; MySQL manual, "Stored Object Access Control").
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import SourceError
from .server import Session, Version, quoted

NEEDED = ("SELECT", "SHOW VIEW", "TRIGGER", "EVENT")
# With one of these on the database the server shows the names of all routines: what cannot be read then is told.
NAMING = ("EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE")
SHOW_ROUTINE = (8, 0, 20)  # MySQL versions from which on that privilege is there
# What xtrabackup reads of performance_schema, and the version of MySQL from which on it is there.
COPIED_FROM = {"log_status": (8,), "keyring_component_status": (8, 0, 24), "replication_group_members": (8,)}
EVERYTHING = "*"
PROC = "mysql.proc"
_NAME = r"\*|`(?:[^`]|``)*`"
_GRANT = re.compile(rf"GRANT (.+?) ON (?:TABLE )?({_NAME})\.({_NAME}) TO ", re.DOTALL)
_COLUMNS = re.compile(r" \([^)]*\)")


@dataclass(frozen=True)
class Grant:
    """Privileges on all databases (``*``), one or those of a pattern; on all tables there (``*``) or one."""

    privileges: frozenset[str]
    database: str
    table: str

    def gives(self, privilege: str) -> bool:
        """Whether ``privilege`` is among them. ``ALL PRIVILEGES`` has no privilege of MySQL's dynamic ones."""
        return privilege in self.privileges or ("ALL PRIVILEGES" in self.privileges and "_" not in privilege)

    def covers(self, database: str, table: str = EVERYTHING) -> bool:
        """Whether it holds for ``table`` of ``database``, by default for all of its tables."""
        if self.table not in (EVERYTHING, table):
            return False
        return self.database in (EVERYTHING, database) or bool(_like(self.database).fullmatch(database))


def parse_grants(lines: Iterable[str]) -> list[Grant]:
    """The grants on tables in what ``SHOW GRANTS`` says; on single columns, routines, and of roles are left out."""
    found = []
    for line in lines:
        match = _GRANT.match(line)
        if match is not None and not _COLUMNS.search(match[1]):
            words = frozenset(word.strip().upper() for word in match[1].split(","))
            found.append(Grant(words, _plain(match[2]), _plain(match[3])))
    return found


def read_grants(session: Session) -> list[Grant]:
    """What the account of ``session`` is granted, also by roles that are in force."""
    return parse_grants(str(row[0]) for row in session.rows("SHOW GRANTS"))


def _plain(name: str) -> str:
    return name if name == EVERYTHING else name[1:-1].replace("``", "`")


def _like(pattern: str) -> re.Pattern[str]:
    """A database as GRANT reads it: ``_`` and ``%`` are wildcards unless a backslash is before them."""
    parts = []
    for escaped, wild, other in re.findall(r"\\(.)|([_%])|(.)", pattern, re.DOTALL):
        parts.append({"_": ".", "%": ".*"}[wild] if wild else re.escape(escaped or other))
    return re.compile("".join(parts), re.DOTALL)


def missing_privileges(grants: Sequence[Grant], version: Version, database: str, *, routines: bool) -> list[str]:
    """What to grant for a backup of ``database``, each as ``PRIVILEGE ON PLACE``; ``routines``: that too."""

    def has(privilege: str, name: str, table: str = EVERYTHING) -> bool:
        return any(one.gives(privilege) and one.covers(name, table) for one in grants)

    here = f"{quoted(database)}.*"
    missing = [f"{privilege} ON {here}" for privilege in NEEDED if not has(privilege, database)]
    if not routines or any(has(privilege, database) for privilege in NAMING):
        return missing
    everywhere = any(one.gives("SELECT") and one.database == EVERYTHING for one in grants)
    if version.flavour == "mysql" and version.number >= (8,):
        named = version.number >= SHOW_ROUTINE
        if not everywhere and not (named and any(one.gives("SHOW_ROUTINE") for one in grants)):
            missing.append("SHOW_ROUTINE ON *.*" if named else "SELECT ON *.*")
    elif not everywhere and not has("SELECT", "mysql", "proc") and not has("SHOW CREATE ROUTINE", database):
        missing.append(f"SELECT ON {PROC}")
    return missing


def check_privileges(session: Session, version: Version, database: str, *, routines: bool = True) -> None:
    """Raise ``SourceError`` that names what is missing on ``database``; roles that are in force count."""
    missing = missing_privileges(read_grants(session), version, database, routines=routines)
    if not missing:
        return
    user, _mark, host = str(session.row("SELECT current_user()")[0]).rpartition("@")
    shows = any(one.partition(" ON ")[0] not in NEEDED for one in missing) or f"SELECT ON {PROC}" in missing
    why = "; without it the server would show no routines, and say nothing" if shows else ""
    raise SourceError(
        f"the account {user}@{host} lacks {', '.join(_merged(missing))}{why}",
        "; ".join(f"GRANT {words} TO that account" for words in _merged(missing)),
    )


def _merged(missing: Sequence[str]) -> list[str]:
    """``A ON x``, ``B ON x`` as ``A, B ON x``."""
    places: dict[str, list[str]] = {}
    for one in missing:
        privilege, _on, place = one.partition(" ON ")
        places.setdefault(place, []).append(privilege)
    return [f"{', '.join(privileges)} ON {place}" for place, privileges in places.items()]


def check_copying(session: Session) -> None:
    """Raise ``SourceError`` that names what an account lacks to copy the files of a running server.

    Sources: MariaDB manual, "mariadb-backup Overview"; Percona XtraBackup, "Privileges".
    """
    version = session.version()
    needed = ["RELOAD", "PROCESS", "LOCK TABLES"]
    if version.flavour == "mysql":
        needed += ["REPLICATION CLIENT", "BACKUP_ADMIN"] if version.number >= (8,) else ["REPLICATION CLIENT"]
    else:
        needed.append("BINLOG MONITOR" if version.number >= (10, 5, 2) else "REPLICATION CLIENT")
    grants = read_grants(session)
    missing = _missing_everywhere(grants, needed)
    if missing:
        raise SourceError(
            f"{session.what}: the account lacks {', '.join(missing)}, which a physical backup needs",
            f"GRANT {', '.join(missing)} ON *.* TO that account",
        )
    if version.flavour == "mysql":
        for table in read_by_copying(version.number):
            if not any(one.gives("SELECT") and one.covers("performance_schema", table) for one in grants):
                place = f"performance_schema.{table}"
                raise SourceError(
                    f"{session.what}: the account lacks SELECT ON {place}, which a physical backup needs",
                    f"GRANT SELECT ON {place} TO that account",
                )


def read_by_copying(number: tuple[int, ...]) -> list[str]:
    """The tables of ``performance_schema`` that a physical backup of MySQL ``number`` reads."""
    return [table for table, since in COPIED_FROM.items() if number >= since]


def lacks_reading(session: Session) -> str:
    """Why the rows of all tables cannot be counted by this account; empty when they can."""
    missing = _missing_everywhere(read_grants(session), ["SELECT"])
    return "the account lacks SELECT on *.*" if missing else ""


def _missing_everywhere(grants: Iterable[Grant], needed: Sequence[str]) -> list[str]:
    """What of ``needed`` the account of these ``grants`` does not have on the whole server."""
    whole = [one for one in grants if (one.database, one.table) == (EVERYTHING, EVERYTHING)]
    return [privilege for privilege in needed if not any(one.gives(privilege) for one in whole)]
