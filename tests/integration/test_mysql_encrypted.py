"""Servers that encrypt their tables and logs at rest (MariaDB manual, "Data-at-Rest Encryption")."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.register_assert_rewrite("mysql_server", "mysql_copies", "binlog_conformance")

from binlog_conformance import position, wait_until_kept  # noqa: E402
from log_archivers import archiver  # noqa: E402
from mysql_copies import copied, counted, everything, job_of, started  # noqa: E402
from mysql_server import USER, Server, own_state  # noqa: E402
from rooms import room  # noqa: E402

from dbfleet.errors import KeyMaterialError  # noqa: E402
from dbfleet.model import LogSettings  # noqa: E402
from dbfleet.operations.restore import restore  # noqa: E402
from dbfleet.operations.verify import verify  # noqa: E402
from dbfleet.targets import target_of  # noqa: E402

__all__ = ["own_state", "room"]

ENCRYPTED = (
    "--innodb-encrypt-tables=ON",
    "--innodb-encrypt-log=ON",
    "--innodb-encryption-threads=2",
    "--aria-encrypt-tables=ON",
    "--encrypt-binlog=1",
    "--encrypt-tmp-files=1",
)


@pytest.fixture(scope="module")
def keys() -> Iterator[Path]:
    """A file of keys that the server's user may read."""
    folder = Path(tempfile.mkdtemp(prefix="dbfleet-test-keys-"))
    folder.chmod(0o755)
    file = folder / "keys"
    file.write_text("1;770A8A65DA156D24EE2A093277530142\n")
    shutil.chown(file, USER)
    file.chmod(0o600)
    yield file
    shutil.rmtree(folder)


def with_keys(keys: Path) -> tuple[str, ...]:
    return ("--plugin-load-add=file_key_management", f"--file-key-management-filename={keys}", *ENCRYPTED)


@pytest.fixture(scope="module")
def source(keys: Path) -> Iterator[Server]:
    server = copied(*with_keys(keys))
    yield server
    server.remove()


def test_a_chain_is_proven_and_restored(source: Server, keys: Path, room: Path, tmp_path: Path) -> None:
    job = job_of(source, tmp_path / "backups", type="auto")
    first = counted(job)
    assert not any("whether the files" in note for note in first.notes)
    source.script("app", "UPDATE items SET amount = amount + 1")
    second = counted(job)
    assert (first.type, second.type) == ("full", "incremental")
    assert [result.findings for result in verify(job, "all", "restore")] == [(), ()]
    assert restore(job, "latest", to=str(room / "data")).proven
    with started(room / "data", *with_keys(keys)) as restored:
        assert everything(restored) == everything(source)
    stored = b"".join(path.read_bytes() for path in (room / "data" / "app").iterdir() if path.suffix == ".ibd")
    assert b"name 17" not in stored


def test_without_its_keys_a_backup_cannot_be_told_and_is_not_called_bad(
    source: Server, keys: Path, tmp_path: Path
) -> None:
    job = job_of(source, tmp_path / "backups")
    counted(job)
    elsewhere = keys.rename(keys.with_name("elsewhere"))
    try:
        with pytest.raises(KeyMaterialError, match=f"the keys in '{keys}'"):
            verify(job, "latest", "restore")
        with pytest.raises(KeyMaterialError, match="cannot be read"):
            restore(job, "latest", to=str(tmp_path / "data"))
        assert not (tmp_path / "data").exists()
    finally:
        elsewhere.rename(keys)
    shutil.chown(keys, "root")  # as somebody brings it to another host
    try:
        with pytest.raises(KeyMaterialError, match=f"the user {USER} cannot read"):
            verify(job, "latest", "restore")
    finally:
        shutil.chown(keys, USER)
    assert [result.findings for result in verify(job, "latest", "restore")] == [()]


def test_a_moment_between_backups(source: Server, keys: Path, room: Path, tmp_path: Path) -> None:
    job = replace(job_of(source, tmp_path / "backups"), log_archive=LogSettings(max_lag=1))
    with archiver(job):
        counted(job)
        source.script("app", "UPDATE items SET amount = amount + 7", "CREATE TABLE later(id INT PRIMARY KEY, t TEXT)")
        source.script("app", "INSERT INTO later VALUES(1, 'words that are kept')")
        expected, target = everything(source), position(source)
        source.script("app", "DROP TABLE items")
        wait_until_kept(job, source)
    restore(job, "latest", to=str(room / "data"), target=target_of(position=target))
    with started(room / "data", *with_keys(keys)) as restored:
        assert everything(restored) == expected
    assert b"words that are kept" not in (room / "data" / "app" / "later.ibd").read_bytes()
