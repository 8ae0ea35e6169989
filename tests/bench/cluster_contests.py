"""PostgreSQL: whole clusters, beside pg_basebackup and pgBackRest.

pgBackRest runs as the server's user, copies the files beside the server (ours comes over its replication protocol), and
is given the same compression on both cores. Its archive is switched off: what is compared is the copy.
"""

import os
import shlex
import shutil
from pathlib import Path

from contest import Bench, Contestant, dbfleet
from postgresql_contests import FILL, ROW_BYTES, SETTINGS

BACKUP, INCREMENT, RESTORE = (
    "PostgreSQL, physical backup",
    "PostgreSQL, physical increment",
    "PostgreSQL, physical restore",
)
USER = "postgres"
PACKED = "| zstd -q -T0 -3 -f -o base.tar.zst"
PGBACKREST = """[global]
repo1-path={folder}/repository
log-path={folder}
lock-path={folder}
compress-type=zst
compress-level=3
process-max=2
start-fast=y
archive-check=n
log-level-console=off
[bench]
pg1-path={data}
pg1-port={port}
pg1-socket-path={socket}
pg1-user=postgres
"""


def measure(bench: Bench) -> None:
    """Everything that is asked for, on servers of its own."""
    if not any(bench.wants(title) for title in (BACKUP, INCREMENT, RESTORE)):
        return
    from postgresql_clusters import cluster, data_of

    bench.scratch.chmod(0o755)  # pgBackRest is the server's user
    if bench.wants(BACKUP) or bench.wants(RESTORE):
        with cluster(15, settings=SETTINGS) as server:
            _fill(bench, server)
            peer = _pgbackrest(bench, server, data_of(server))
            _backups(bench, server, peer)
            _restores(bench, server, peer)
    if bench.wants(INCREMENT):
        with cluster(17, settings=SETTINGS) as server:
            _fill(bench, server)
            _increments(bench, server, _pgbackrest(bench, server, data_of(server), when_able=True))


def _fill(bench: Bench, server) -> None:  # type: ignore[no-untyped-def]
    bench.versions.append(f"PostgreSQL {server.major}")
    rows = int(bench.gib * 2**30 / ROW_BYTES)
    script = "".join(FILL.format(number=number, rows=rows // 8) for number in range(8))
    server.create(script + "VACUUM ANALYZE; CHECKPOINT;", name="many")


def _pgbackrest(bench: Bench, server, data: Path, *, when_able: bool = False) -> str:  # type: ignore[no-untyped-def]
    """Its command up to the verb; empty where it is not installed, or too old for the server."""
    if shutil.which("pgbackrest") is None:
        print("   pgBackRest is left out (it is not installed)")
        return ""
    folder = bench.scratch / f"pgbackrest-{server.major}"
    (folder / "repository").mkdir(parents=True)
    config = folder / "pgbackrest.conf"
    config.write_text(PGBACKREST.format(folder=folder, data=data, port=server.port, socket=server.folder))
    as_user = ""
    if os.geteuid() == 0:
        for path in (folder, folder / "repository", config):
            shutil.chown(path, USER)
        as_user = f"runuser -u {USER} -- "
    command = f"{as_user}pgbackrest --config={config} --stanza=bench"
    try:
        bench.measure(f"{command} stanza-create")
    except SystemExit:
        if not when_able:
            raise
        print(f"   pgBackRest is left out (it does not know PostgreSQL {server.major})")
        return ""
    return command


def _ours(server, place: str, more: str = "") -> str:  # type: ignore[no-untyped-def]
    source = shlex.quote(server.url("many"))
    words = f"--source {source} --repository {place} --name app --source-tools {server.bin} --method physical {more}"
    return dbfleet("backup", words)


def _basebackup(server) -> str:  # type: ignore[no-untyped-def]
    return f"{server.bin}/pg_basebackup -h {server.folder} -p {server.port} -U postgres -c fast -Ft"


def _backups(bench: Bench, server, peer: str) -> None:  # type: ignore[no-untyped-def]
    tool = _basebackup(server)
    found = [
        Contestant(
            "dbfleet, zstd 3, checked by its manifest", _ours(server, "pg-whole"), ("pg-whole",), keeps="pg-whole"
        ),
        Contestant("pg_basebackup -Ft to disk", f"{tool} -D base", ("base",), keeps="base"),
        Contestant(
            "by hand: pg_basebackup -Ft -Xf | zstd -T0 -3, sha256sum",
            f"{tool} -Xf -D - {PACKED} && sha256sum base.tar.zst",
            keeps="base.tar.zst",
        ),
    ]
    if peer:
        full = f"rm -rf pgbackrest-15/repository/backup/bench/2* && {peer} backup --type=full"
        found.append(Contestant("pgBackRest, full, zst 3, 2 processes", full, keeps="pgbackrest-15/repository"))
    bench.group(BACKUP, *found)


def _restores(bench: Bench, server, peer: str) -> None:  # type: ignore[no-untyped-def]
    if not bench.wants(RESTORE):
        return
    shutil.rmtree(bench.scratch / "pg-whole", ignore_errors=True)
    bench.measure(_ours(server, "pg-whole"))
    bench.measure(f"{_basebackup(server)} -Xf -D - {PACKED}")
    check = f"{server.bin}/pg_verifybackup -q -n hand"
    words = f"latest --repository pg-whole --name app --method physical --source-tools {server.bin} --to back"
    found = [
        Contestant("dbfleet restore, verified", dbfleet("restore", words), ("back",)),
        Contestant(
            "by hand: zstd -d | tar x, pg_verifybackup",
            f"mkdir hand && zstd -dqc base.tar.zst | tar -x -C hand && {check} && sync -f hand",
            ("hand",),
        ),
    ]
    if peer:
        bench.measure(f"{peer} backup --type=full")
        folder = bench.scratch / "pgbackrest-15"
        found.append(
            Contestant(
                "pgBackRest restore, 2 processes",
                f"install -d -o {USER} -m 700 {folder}/back && {peer} restore --pg1-path={folder}/back",
                ("pgbackrest-15/back",),
            )
        )
    bench.group(RESTORE, *found)


def _increments(bench: Bench, server, peer: str) -> None:  # type: ignore[no-untyped-def]
    """Of one row in fifty of one table of eight, changed before each of them."""
    bench.measure(_ours(server, "pg-chain"))
    psql = f"{server.bin}/psql -qXd {shlex.quote(server.url('many'))}"
    change = f"{psql} -c 'UPDATE t3 SET amount = amount + 1 WHERE id % 50 = 7' -c CHECKPOINT"
    found = [Contestant("dbfleet, incremental", f"{change} && {_ours(server, 'pg-chain', '--type incremental')}")]
    if peer:
        bench.measure(f"{peer} backup --type=full")
        found.append(Contestant("pgBackRest, incr", f"{change} && {peer} backup --type=incr"))
    bench.group(INCREMENT, *found)
