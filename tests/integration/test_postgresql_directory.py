"""Logical backups of the format ``directory``: passed on while they are written, restored several tables at a time."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from postgresql_server import Server, ask, by_hand, dump, job_of, own_state, psql, server
from test_postgresql_objects import sample

from dbfleet.databases.postgresql import directory_dump
from dbfleet.errors import CapacityError, DbfleetError
from dbfleet.operations.backup import backup
from dbfleet.operations.restore import restore
from dbfleet.operations.verify import verify
from dbfleet.stream.process import Filter

__all__ = ["own_state", "server"]

MORE = """
SET search_path TO public;
CREATE TABLE parents(id integer PRIMARY KEY);
CREATE TABLE children(id integer PRIMARY KEY, parent integer REFERENCES parents);
INSERT INTO parents SELECT generate_series(1, 2000);
INSERT INTO children SELECT i, i FROM generate_series(1, 2000) i;
CREATE TABLE "no rows"(a integer);
SELECT lo_from_bytea(0, 'bytes');
"""

PARTED = """
CREATE TABLE log(what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN INSERT INTO public.log VALUES (TG_OP); RETURN NULL; END $$;
CREATE TABLE owners(id integer PRIMARY KEY);
INSERT INTO owners SELECT generate_series(0, 20000);
CREATE SCHEMA "an odd one";
CREATE TABLE "an odd one".parted(id integer, n integer) PARTITION BY LIST (n);
CREATE TABLE p0 PARTITION OF "an odd one".parted FOR VALUES IN (0);
CREATE TABLE p1 PARTITION OF "an odd one".parted FOR VALUES IN (1);
CREATE TABLE p2 PARTITION OF "an odd one".parted FOR VALUES IN (2);
INSERT INTO "an odd one".parted SELECT i, i % 3 FROM generate_series(1, 30) i;
ALTER TABLE "an odd one".parted ADD FOREIGN KEY (id) REFERENCES owners;
ALTER TABLE "an odd one".parted ADD CONSTRAINT later CHECK (id > 7) NOT VALID;
CREATE TRIGGER noted AFTER INSERT ON "an odd one".parted FOR EACH ROW EXECUTE FUNCTION note();
COMMENT ON TRIGGER noted ON "an odd one".parted IS 'an odd trigger';
"""


def test_it_is_restored_proven_and_equal(server: Server, tmp_path: Path) -> None:
    source = sample(server, server.new_name())
    psql(server, source, MORE)
    job = job_of(source, tmp_path / "backups", format="directory")
    manifest = backup(job).manifest
    assert manifest is not None
    assert [one.role for one in manifest.artifacts] == ["create", "directory"]
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]
    target = server.url(server.new_name())
    assert restore(job, "latest", to=target).proven
    restored = dump(server, replace(source, url=target))  # the server writes some expressions otherwise than before
    ask(source, "DROP TABLE public.children; DELETE FROM public.parents WHERE id > 1000")
    report = restore(job, "latest", tables=["public.parents", "public.children"], replace=True)
    assert report.rows == 4000
    with pytest.raises(Exception, match="foreign key"):
        ask(source, "INSERT INTO public.children VALUES(0, 0)")
    assert dump(server, by_hand(server, manifest, tmp_path / "backups", tmp_path / "hand")) == restored
    ask(server.source(), "ALTER DATABASE restored RENAME TO restored_from_a_folder")


def test_what_rows_would_set_off_comes_after_all_of_them(server: Server, tmp_path: Path) -> None:
    """Also where it is a partitioned table's, and the rows its partitions': pg_restore's jobs do not wait for those."""
    source = server.create(PARTED)
    job = job_of(source, tmp_path / "backups", format="directory")
    job = replace(job, limits=replace(job.limits, parallel=4))
    backup(job)
    expected = dump(server, source)
    for _turn in range(8):
        target = replace(source, url=server.url(server.new_name()))
        assert restore(job, "latest", to=target.url).proven
        assert dump(server, target) == expected


def test_finished_tables_are_passed_on_before_the_tool_ends(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tool is made to wait until one was."""
    source = server.create(MORE)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in os.listdir(server.bin):
        (tools / name).symlink_to(Path(server.bin) / name)
    (tools / "pg_dump").unlink()
    going, early = tmp_path / "going", []
    wait = f'while [ ! -e "{going}" ]; do sleep 0.05; done'
    script = f'#!/bin/sh\n"{server.bin}/pg_dump" "$@" || exit 1\ncase "$*" in *--jobs*) {wait};; esac\n'
    (tools / "pg_dump").write_text(script)
    (tools / "pg_dump").chmod(0o755)
    pass_on = directory_dump.DirectoryStream._pass_on

    def watched(self: directory_dump.DirectoryStream, name: str, sink: object) -> None:
        if self._child is not None and self._child.is_running():
            early.append(name)
        pass_on(self, name, sink)  # type: ignore[arg-type]
        assert not os.path.exists(os.path.join(self._folder, name))
        going.touch()

    monkeypatch.setattr(directory_dump.DirectoryStream, "_pass_on", watched)
    job = job_of(replace(source, tools=str(tools)), tmp_path / "backups", format="directory")
    assert backup(job).manifest is not None and early
    assert restore(job, "latest", to=server.url(server.new_name())).proven


def test_without_room_it_is_refused_and_nothing_is_left(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = server.create(MORE)
    job = job_of(source, tmp_path / "backups", format="directory")
    usage = shutil.disk_usage("/")
    with monkeypatch.context() as patch:
        patch.setattr(directory_dump.shutil, "disk_usage", lambda _path: usage._replace(free=10000))
        with pytest.raises(CapacityError, match="format directory needs") as caught:
            backup(job)
    assert "custom" in caught.value.remedy
    with monkeypatch.context() as patch:  # as if the tool were killed late
        patch.setattr(Filter, "is_running", lambda self: self.kill() is not None)
        with pytest.raises(DbfleetError, match="signal 9"):
            backup(job)
    assert not [path for path in (tmp_path / "backups").iterdir() if path.suffix in (".zst", ".json")]
