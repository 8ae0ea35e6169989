"""PostgreSQL: logical backups and restores, beside pg_dump as people use it and the module that drives it."""

import shlex
import shutil
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from contest import ANSIBLE, Bench, Contestant, dbfleet

TITLES = ("PostgreSQL, backup", "PostgreSQL, one huge table", "PostgreSQL, restore")
SETTINGS = "fsync = on\nshared_buffers = 512MB\nmaintenance_work_mem = 256MB\nmax_wal_size = 4GB\nautovacuum = on\n"
ROW_BYTES = 190  # with the indexes
FILL = """
CREATE TABLE t{number} AS SELECT i::bigint AS id, 'customer ' || i * 7919 % 1000003 AS name,
    (i % 100000 / 7.0)::numeric(12,2) AS amount, timestamp '2026-01-01' + i * interval '1 second' AS at,
    md5(i::text) || md5((i + 1)::text) AS note FROM generate_series(1, {rows}::bigint) AS i;
ALTER TABLE t{number} ADD PRIMARY KEY (id);
CREATE INDEX ON t{number} (name);
"""


def measure(bench: Bench) -> None:
    """Everything that is asked for, on a server of its own."""
    if not any(bench.wants(title) for title in TITLES):
        return
    from postgresql_server import Server

    server = Server(15, settings=SETTINGS)
    bench.versions.append(f"PostgreSQL {server.major}")
    with closing(server):
        tool = Path(server.bin)
        many, huge = server.url("many"), server.url("huge")
        rows = int(bench.gib * 2**30 / ROW_BYTES)
        for name, tables in (("many", 8), ("huge", 1)):
            script = "".join(FILL.format(number=number, rows=rows // tables) for number in range(tables))
            server.create(script + "VACUUM ANALYZE;", name=name)
        for title, url in (("PostgreSQL, backup", many), ("PostgreSQL, one huge table", huge)):
            bench.group(title, *_backups(tool, url, title.replace(", ", "-").replace(" ", "-")))
        _restore(bench, tool, server, many)


def _backups(tool: Path, url: str, place: str) -> list[Contestant]:
    place, quoted = place.lower(), shlex.quote(url)
    ours = dbfleet("backup", f"--source {quoted} --repository {place} --name app --source-tools {tool}")
    found = [
        Contestant("dbfleet, proof of rows", ours, (place,), keeps=place),
        Contestant("dbfleet, proof of content", ours + " --proof-level content", (place,)),
        Contestant("dbfleet, no proof", ours + " --proof-level none", (place,)),
        Contestant("pg_dump -Fc (gzip inside)", f"{tool}/pg_dump -Fc -f app.dump {quoted}", keeps="app.dump"),
        Contestant("pg_dump | gzip", f"{tool}/pg_dump {quoted} | gzip > app.sql.gz", keeps="app.sql.gz"),
        Contestant(
            "by hand: pg_dump -Fc -Z0 | zstd -T0 -3, sha256sum",
            f"{tool}/pg_dump -Fc -Z0 {quoted} | zstd -q -T0 -3 -f -o app.zst && sha256sum app.zst",
            keeps="app.zst",
        ),
    ]
    found.append(Contestant("community.postgresql.postgresql_db to .gz", _module(url)))
    return found


def _module(url: str) -> str:
    parts = urlsplit(url)
    folder = parse_qs(parts.query)["host"][0]
    words = (
        f"name={parts.path[1:]} state=dump target=app.sql.gz login_user=postgres "
        f"login_unix_socket={folder} port={parts.port}"
    )
    return f"{ANSIBLE} -m community.postgresql.postgresql_db -a {shlex.quote(words)}"


def _restore(bench: Bench, tool: Path, server: object, url: str) -> None:
    if not bench.wants("PostgreSQL, restore"):
        return
    quoted = shlex.quote(url)
    target = server.url("restored")  # type: ignore[attr-defined]
    again = shlex.quote(server.url("postgres"))  # type: ignore[attr-defined]
    drop = f"{tool}/psql -qXd {again} -c 'DROP DATABASE IF EXISTS restored'"
    shutil.rmtree(bench.scratch / "pg-restore", ignore_errors=True)
    common = f"--repository pg-restore --name app --source-tools {tool}"
    bench.measure(dbfleet("backup", f"--source {quoted} {common}"))
    bench.measure(f"{tool}/pg_dump -Fc -f given.dump {quoted}")
    create = f"{tool}/psql -qXd {again} -c 'CREATE DATABASE restored TEMPLATE template0'"
    bench.group(
        "PostgreSQL, restore",
        Contestant(
            "dbfleet restore, proven and swapped in",
            f"{drop} && " + dbfleet("restore", f"latest {common} --to {shlex.quote(target)}"),
        ),
        Contestant(
            "pg_restore -j 2 of a pg_dump -Fc",
            f"{drop} && {create} && {tool}/pg_restore -j 2 -d {shlex.quote(target)} given.dump",
        ),
    )
