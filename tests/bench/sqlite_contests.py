"""SQLite: one database backed up and restored, beside what people do by hand and a peer."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

from contest import HERE, Bench, Contestant, dbfleet

TITLES = ("backup, .db", "borgmatic", "second and later runs", "restore of SQLite", "memory")


def measure(bench: Bench) -> None:
    """Everything that is asked for."""
    if not any(bench.wants(title) for title in TITLES):
        return
    bench.versions.append(f"SQLite {sqlite3.sqlite_version}")
    databases = {}
    for mode, needed in (("wal", True), ("delete", bench.wants("backup, .db only, rollback mode"))):
        path = databases[mode] = bench.scratch / f"{mode}.db"
        if needed and not path.exists():
            print(f"making {path.name} ({bench.gib:g} GiB)", flush=True)
            subprocess.run([sys.executable, HERE / "database.py", path, str(bench.gib), mode], check=True)
    backups(bench, databases["wal"], databases["delete"])


def backups(bench: Bench, wal: Path, delete: Path) -> None:
    """Backing up one database, and restoring it."""
    by_hand_db = "sqlite3 {0} '.backup copy.db' && zstd -q -T0 -3 -f copy.db -o copy.db.zst && sha256sum copy.db.zst"
    by_hand_sql = "sqlite3 {0} .dump | zstd -q -T0 -3 -f -o copy.sql.zst && sha256sum copy.sql.zst"
    for mode, path in (("WAL mode", wal), ("rollback mode", delete)):
        bench.group(
            f"backup, .db only, {mode}",
            Contestant(
                "dbfleet, method physical",
                dbfleet("backup", f"--source sqlite:///{path} --repository db --name app --method physical"),
                ("db",),
                keeps="db",
            ),
            Contestant(
                "by hand: .backup, zstd -T0 -3, sha256sum",
                by_hand_db.format(path),
                ("copy.db", "copy.db.zst"),
                keeps="copy.db.zst",
            ),
            Contestant("zstd -T0 -3 of the idle file alone", f"zstd -q -T0 -3 -f {path} -o idle.zst", keeps="idle.zst"),
        )
    both = dbfleet("backup", f"--source sqlite:///{wal} --repository both --name app")
    bench.group(
        "backup, .db and .sql",
        Contestant("dbfleet, method logical, zstd 3", both, ("both",), keeps="both"),
        Contestant(
            "dbfleet, method logical, zstd 1",
            both.replace("--repository both", "--repository quick") + " --compression-level 1",
            ("quick",),
            keeps="quick",
        ),
        Contestant(
            "by hand: both pipelines, one after the other",
            f"{by_hand_db.format(wal)} && {by_hand_sql.format(wal)}",
            ("copy.db", "copy.db.zst", "copy.sql.zst"),
            keeps="copy.db.zst copy.sql.zst",
        ),
        Contestant(
            "PromptPilot: .dump | gzip", f"sqlite3 {wal} .dump | gzip > old.sql.gz", keeps="old.sql.gz", slow=True
        ),
    )
    borgmatic(bench, wal)
    if "memory" in bench.only:  # of databases so large that the other groups would take hours
        memory(bench, both)
    if not bench.wants("restore of SQLite"):
        return
    if not any((bench.scratch / "both").glob("*.db.zst")):
        bench.measure(both)
    bench.group(
        "restore of SQLite",
        Contestant(
            "dbfleet restore to a new path, proven",
            dbfleet("restore", "latest --repository both --name app --to sqlite:///restored.db"),
            ("restored.db",),
        ),
        Contestant(
            "by hand: zstd -d, quick_check",
            "zstd -q -d -f both/*.db.zst -o restored.db && sqlite3 restored.db 'PRAGMA quick_check'",
            ("restored.db",),
        ),
    )


def memory(bench: Bench, both: str) -> None:
    """What a backup and a restore need, whatever the size of the database."""
    restore = dbfleet("restore", "latest --repository both --name app --to sqlite:///restored.db")
    bench.group(
        "memory",
        Contestant("dbfleet, method logical, zstd 3", both, ("both",), keeps="both", slow=True),
        Contestant("dbfleet restore to a new path, proven", restore, ("restored.db",), slow=True),
    )


def borgmatic(bench: Bench, path: Path) -> None:
    """The peer's first and second run, with its SQLite hook."""
    tool = shutil.which("borgmatic")
    if tool is None:
        print("== borgmatic is not installed: left out (pip install borgmatic, apt install borgbackup)")
        return
    config = bench.scratch / "borgmatic.yaml"
    database = {"name": "app", "path": str(path)}
    config.write_text(
        json.dumps(
            {
                "repositories": [{"path": str(bench.scratch / "borg.repo")}],
                "sqlite_databases": [database],
                "source_directories": [],
                "unknown_unencrypted_repo_access_is_ok": True,
            }
        )
    )
    bench.environment.update(
        BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK="yes", BORG_BASE_DIR=str(bench.scratch / "borg")
    )
    make = f"borg init -e none {bench.scratch}/borg.repo"
    create = f"{tool} -c {config} create"
    bench.group("borgmatic, first run", Contestant("borgmatic create", f"{make} && {create}", ("borg.repo", "borg")))
    ours = dbfleet("backup", f"--source sqlite:///{path} --repository many --name app")
    increment = ours + " --type auto"
    if bench.wants("second and later runs"):
        bench.measure(increment)
    bench.group(
        "second and later runs",
        Contestant("dbfleet, full, .db and .sql", ours, keeps=""),
        Contestant("dbfleet, full, .db only", ours.replace("many", "many2") + " --method physical"),
        Contestant("dbfleet, incremental, nothing changed", increment.replace("many", "many3")),
        Contestant("borgmatic create", create),
    )
