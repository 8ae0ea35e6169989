"""The database that PostgreSQL's own regression suite leaves behind goes through backups and restores."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from postgresql_clusters import QUICK, REPLICATION, started
from postgresql_server import Server, ask, dump, job_of, own_state, running

from dbfleet.model import Job, Repository, Source
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify

__all__ = ["own_state"]

SETTINGS = "max_prepared_transactions = 5\nallow_in_place_tablespaces = on\n"
# As pg_regress sets them up (src/test/regress/pg_regress.c, create_database).
DATABASE = (
    "lc_messages TO 'C'",
    "lc_monetary TO 'C'",
    "lc_numeric TO 'C'",
    "lc_time TO 'C'",
    "bytea_output TO 'hex'",
    "timezone_abbreviations TO 'Default'",
)


def scripts(suite: Path) -> list[str]:
    """The suite's scripts in its own order; only those in DBFLEET_TEST_ONLY where that is set."""
    only = os.environ.get("DBFLEET_TEST_ONLY", "").split()
    lines = (suite / "parallel_schedule").read_text(encoding="utf-8").splitlines()
    names = [name for line in lines if line.startswith("test:") for name in line[5:].split()]
    return [name for name in names if not only or name in only]


VERSIONS = [pytest.param(major, marks=pytest.mark.xdist_group(f"postgresql-{major}")) for major in (15, 17, 18)]


@pytest.fixture(scope="module", params=VERSIONS)
def left_behind(request: pytest.FixtureRequest) -> Iterator[tuple[Server, Source]]:
    """What is left when the suite has run. Its tests may fail (nothing is compiled for it): their objects count."""
    suite = Path(os.environ["DBFLEET_TEST_REGRESSION"])
    with running(request.param, wal_level="logical", settings=SETTINGS, access=REPLICATION) as server:
        ask(server.source(), "CREATE DATABASE regression TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        for setting in DATABASE:
            ask(server.source(), f"ALTER DATABASE regression SET {setting}")
        results = server.folder / "results"
        results.mkdir()
        shutil.chown(results, (server.folder / "data").owner())
        environment = {
            **os.environ,
            "PGHOST": str(server.folder),
            "PGPORT": str(server.port),
            "PGUSER": "postgres",
            "PGTZ": "PST8PDT",
            "PGDATESTYLE": "Postgres, MDY",
            "PG_ABS_SRCDIR": str(suite),
            "PG_ABS_BUILDDIR": str(server.folder),
            "PG_LIBDIR": str(Path(server.bin).parent / "lib"),
            "PG_DLSUFFIX": ".so",
        }
        for name in scripts(suite):
            subprocess.run(
                [f"{server.bin}/psql", "-X", "-q", "-d", "regression", "-f", str(suite / "sql" / f"{name}.sql")],
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                check=False,
            )
        yield server, server.source("regression")


def test_dump_restore_dump_is_the_same(left_behind: tuple[Server, Source], tmp_path: Path) -> None:
    """Its content is proven. Columns of inherited tables come back in another order, as pg_dump writes them: so what
    is compared to the letter is the restored database and its own restore."""
    server, source = left_behind
    source = replace(source, tools=server.bin)
    assert ask(source, "SELECT count(*) > 20 FROM pg_class WHERE relkind = 'r' AND relnamespace >= 2200") == [(True,)]
    copies = []
    for number, form in enumerate(("custom", "directory")):
        job = job_of(source, tmp_path / form, format=form)
        assert backup(job).manifest is not None
        source = replace(source, url=server.url(f"copy {number}"))
        assert restore(job, "latest", to=source.url).proven
        copies.append(dump(server, source))
    assert copies[0] == copies[1]


def test_a_physical_backup_is_sound_and_the_same(left_behind: tuple[Server, Source], tmp_path: Path) -> None:
    """amcheck looks at every table and index of a server that runs on the restored files."""
    server, source = left_behind
    whole = Source(source.url, tools=server.bin)
    job = Job("suite", Repository(str(tmp_path / "backups")), whole, method="physical", limits=QUICK)
    manifest = backup(job).manifest
    assert manifest is not None and any("unlogged" in note and "regression" in note for note in manifest.notes)
    (result,) = verify(job, "latest", level="restore")
    assert result.ok and not result.findings
    data = tmp_path / "data"
    assert restore(job, "latest", to=str(data)).proven
    with started(server, data) as copy:
        restored = replace(copy, url=copy.url.replace("/app", "/regression"))
        without = "--no-unlogged-table-data"
        assert dump(server, restored, without) == dump(server, source, without)
        checked = subprocess.run(
            [f"{server.bin}/pg_amcheck", "--install-missing", "--heapallindexed", restored.url],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (checked.returncode, checked.stdout) == (0, ""), checked.stdout[-2000:] + checked.stderr[-2000:]
