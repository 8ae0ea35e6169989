"""Physical backups of whole MariaDB servers: full and incremental ones, their proofs, and their restores."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies", "mysql_copy_lab")

from conformance_jobs import made  # noqa: E402
from mysql_copies import (  # noqa: E402
    checkpoint_of,
    copied,
    counted,
    everything,
    job_of,
    started,
)
from mysql_copy_lab import CopyLab, check_that_it_comes_back  # noqa: E402
from mysql_server import Server, own_state  # noqa: E402
from rooms import room  # noqa: E402
from waiting import wait_until  # noqa: E402

from dbfleet.errors import ProofError  # noqa: E402
from dbfleet.model import Artifact, ProofPolicy  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402

__all__ = ["own_state", "room"]


@pytest.fixture(scope="module")
def source() -> Iterator[Server]:
    server = copied()
    yield server
    server.remove()


def test_increments_carry_what_other_engines_hold(source: Server, room: Path, tmp_path: Path) -> None:
    """The tool copies tables of MyISAM and Aria whole with every increment, and sequences as what they are."""
    job = job_of(source, tmp_path / "backups", type="auto")
    job = replace(job, proof=ProofPolicy("content", queries=("SELECT count(*), sum(amount) FROM app.items",)))
    states = []
    for step in range(2):
        manifest = counted(job if step else replace(job, type="full"))
        assert manifest.type == ("incremental" if step else "full"), manifest.notes
        assert {"binlog_file", "binlog_offset", "gtid", "lsn", "from_lsn", "to_lsn"} <= set(manifest.position)
        states.append((manifest, everything(source)))
        source.script(
            "app",
            f"UPDATE items SET amount = amount + 1 WHERE id % 7 = {step}",
            f"INSERT INTO old VALUES({1000 + step}, 'later')",
            f"UPDATE safer SET t = 'y{step}' WHERE id < 20",
            "SELECT nextval(numbers)",
            f"CREATE TABLE more{step + 1} AS SELECT seq FROM seq_1_to_1000",
            f"DROP TABLE IF EXISTS more{max(0, step - 1)}",
        )
    tables = states[0][0].proof.tables
    assert set(tables) == {"app.items", "app.ledger", "app.total", "app.odd $ü/", "app.words"}
    assert tables["app.items"].rows == 300 and tables["app.items"].digest
    assert all(result.findings == () for result in verify(job, "all", "restore"))
    for number, (manifest, expected) in enumerate(states):
        report = restore(job, manifest.id, to=str(room / f"data{number}"))
        assert report.proven and report.kept is None
        with started(room / f"data{number}") as restored:
            assert everything(restored) == expected


def test_a_table_that_changes_after_the_copy_is_left_out_of_the_count(
    source: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbfleet.databases.mysql import commit_view

    source.script("app", "CREATE TABLE brief AS SELECT 1 AS x", "CREATE TABLE other AS SELECT 2 AS x")
    measure, done = commit_view.measure_table, []

    def late(*arguments: object, **words: object) -> object:
        if not done:
            done.append(True)
            source.script("app", "TRUNCATE TABLE brief", "RENAME TABLE other TO another", "CREATE TABLE new(x INT)")
        return measure(*arguments, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(commit_view, "measure_table", late)
    job = job_of(source, tmp_path / "backups")
    manifest = made(job)
    assert "app.items" in manifest.proof.tables
    assert not {"app.brief", "app.other", "app.another", "app.new"} & set(manifest.proof.tables)
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    source.script("app", "DROP TABLE brief, another, new")


def test_tables_with_a_place_of_their_own_come_back_in_the_usual_one(
    source: Server, room: Path, tmp_path: Path
) -> None:
    """The restored server must not open the original's file."""
    place = source.folder / "elsewhere"
    place.mkdir(exist_ok=True)
    shutil.chown(place, "mysql") if os.geteuid() == 0 else None
    source.script("app", f"CREATE TABLE far(x INT) DATA DIRECTORY = '{place}'", "INSERT INTO far VALUES(7)")
    job = job_of(source, tmp_path / "backups")
    made(job)
    source.script("app", "UPDATE far SET x = 8")
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    report = restore(job, "latest", to=str(room / "data"))
    assert any("app/far" in note for note in report.notes)
    with started(room / "data") as restored:
        assert restored.ask("SELECT x FROM app.far") == [(7,)]
    assert source.ask("SELECT x FROM app.far") == [(8,)]
    source.script("app", "DROP TABLE far")


LAYOUTS = {
    "names in lower case": ("--lower-case-table-names=1",),
    "files of InnoDB elsewhere": (
        "--innodb-data-home-dir={place}",
        "--innodb-data-file-path=one:12M;two:12M:autoextend",
    ),
    "its first file elsewhere": ("--innodb-data-home-dir=", "--innodb-data-file-path={place}/one:12M:autoextend"),
    "logs elsewhere": (
        "--innodb-log-group-home-dir={place}",
        "--innodb-undo-directory={place}",
        "--innodb-undo-tablespaces=3",
        "--aria-log-dir-path={place}",
    ),
    "each table in one file": ("--innodb-file-per-table=OFF",),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_servers_of_any_layout_come_back(room: Path, tmp_path: Path, layout: str) -> None:
    place = room / "place"
    place.mkdir()
    shutil.chown(place, "mysql") if os.geteuid() == 0 else None
    settings = tuple(one.format(place=place) for one in LAYOUTS[layout])
    source = copied(*settings)
    try:
        own = [one.replace(f"{place}/", "") for one in settings if "data-file-path" in one or "lower" in one]
        lab = CopyLab(source, job_of, lambda data: started(data, *own), "mariadb-backup")
        check_that_it_comes_back(lab, room, tmp_path)
    finally:
        source.remove()


@pytest.mark.parametrize("what", ["moved", "set back", "upgraded", "forgotten"])
def test_a_new_full_is_taken_where_a_chain_cannot_go_on_and_it_says_why(
    source: Server, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dbfleet.databases.mysql import physical
    from dbfleet.databases.mysql.data_directory import require_here

    job = job_of(source, tmp_path / "backups", type="incremental", proof=ProofPolicy("none"))
    made(job)
    if what == "moved":
        monkeypatch.setattr(
            physical, "require_here", lambda session: replace(require_here(session), mark="another file")
        )
    elif what == "set back":
        monkeypatch.setattr(physical, "current_lsn", lambda session: 17)
    elif what == "upgraded":
        why = physical.why_full
        monkeypatch.setattr(
            physical,
            "why_full",
            lambda state, identity, *rest: why(state, replace(identity, server_version="MariaDB 10.11.99"), *rest),
        )
    else:
        shutil.rmtree(tmp_path / "state" / "parents")
    manifest = made(job)
    assert manifest.type == "full" and manifest.parent is None
    words = {"moved": "restored or moved", "set back": "was set back", "upgraded": "10.11.99", "forgotten": "remember"}
    assert any(note.startswith("full: ") and words[what] in note for note in manifest.notes), manifest.notes
    monkeypatch.undo()


def change_and_flush(server: Server) -> None:
    """Change rows, and wait until they are in the files."""
    before = checkpoint_of(server)
    server.script("app", "UPDATE items SET amount = amount + 1", "SET GLOBAL innodb_max_dirty_pages_pct = 0")
    wait_until(lambda: checkpoint_of(server) > before)


def test_a_chain_with_a_gap_is_refused(
    source: Server, room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if an increment had been put behind another parent: the tool itself would not notice."""
    from dbfleet.databases.mysql.prepared import Prepared

    job = job_of(source, tmp_path / "backups", type="auto", proof=ProofPolicy("none"))
    for _step in range(3):
        made(job)
        change_and_flush(source)
    add = Prepared.add
    seen: list[object] = []

    def without_second(self: Prepared, artifact: Artifact, chunks: Iterable[bytes]) -> None:
        seen.append(artifact)
        if len(seen) != 2:
            add(self, artifact, chunks)

    monkeypatch.setattr(Prepared, "add", without_second)
    with pytest.raises(ProofError, match="the one before it ends at"):
        restore(job, "latest", to=str(room / "data"))
    assert not list(room.iterdir())
