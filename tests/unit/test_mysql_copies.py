"""Physical copies of MySQL and MariaDB without a server: the stream, what the tool says, and chains."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from dbfleet.databases.mysql.address import Address
from dbfleet.databases.mysql.copy_tool import Hearing, backup_failure, version_in
from dbfleet.databases.mysql.physical_snapshot import State, read_state, why_full
from dbfleet.databases.mysql.tools import Tool, tool_version
from dbfleet.databases.mysql.xbstream import MAGIC, Examiner, unpack
from dbfleet.errors import BusyError, CapacityError, DamagedError, ProofError, SourceError, ToolError
from dbfleet.model import Artifact, SourceIdentity

ARTIFACT = Artifact("app.xbstream", "copy", 0, "", 0, "")


def piece(path: str, data: bytes, offset: int = 0, crc: int | None = None) -> bytes:
    """As the tool writes it."""
    name = path.encode()
    head = MAGIC + b"\0P" + len(name).to_bytes(4, "little") + name
    sum_ = zlib.crc32(data) if crc is None else crc
    return head + len(data).to_bytes(8, "little") + offset.to_bytes(8, "little") + sum_.to_bytes(4, "little") + data


def sparse(path: str, spans: list[tuple[int, int]], data: bytes) -> bytes:
    """With holes, as Percona's manual describes it."""
    name = path.encode()
    holes = b"".join(number.to_bytes(4, "little") for pair in spans for number in pair)
    head = MAGIC + b"\0S" + len(name).to_bytes(4, "little") + name + len(spans).to_bytes(4, "little")
    sum_ = zlib.crc32(data, zlib.crc32(holes))
    return head + len(data).to_bytes(8, "little") + bytes(8) + sum_.to_bytes(4, "little") + holes + data


def end(path: str) -> bytes:
    name = path.encode()
    return MAGIC + b"\0E" + len(name).to_bytes(4, "little") + name


WORDS = (
    piece("xtrabackup_checkpoints", b"from_lsn = 0\nto_lsn = 7\n")
    + end("xtrabackup_checkpoints")
    + piece("mariadb_backup_info", b"server_version = 10.11.6-MariaDB-log\n")
    + end("mariadb_backup_info")
)
STREAM = (
    piece("./app/a.ibd", b"one")
    + piece("app/b.ibd", b"two" * 1000)
    + piece("app/a.ibd", b"three", 3)
    + end("app/a.ibd")
    + end("app/b.ibd")
    + end("empty")
    + WORDS
)


@pytest.mark.parametrize("size", [1, 7, 4096, len(STREAM)])
def test_pieces_come_together_whatever_the_parts_are(size: int, tmp_path: Path) -> None:
    parts = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
    unpacked = unpack(ARTIFACT, parts, str(tmp_path))
    assert (tmp_path / "app" / "a.ibd").read_bytes() == b"onethree"
    assert (tmp_path / "app" / "b.ibd").read_bytes() == b"two" * 1000
    assert (tmp_path / "empty").read_bytes() == b""
    assert (tmp_path / "app" / "a.ibd").stat().st_mode & 0o777 == 0o600
    examiner = Examiner()
    for part in parts:
        examiner.feed(part)
    examiner.close()
    assert examiner.image_sha256 == unpacked.image_sha256
    assert version_in(examiner.text("info")).number == (10, 11, 6)
    assert examiner.text("binlog_info") == ""


@pytest.mark.parametrize("cut", range(1, 260, 7))
def test_a_stream_that_is_cut_anywhere_is_damaged(cut: int, tmp_path: Path) -> None:
    with pytest.raises(DamagedError):
        unpack(ARTIFACT, [STREAM[:-cut]], str(tmp_path))
    examiner = Examiner()
    examiner.feed(STREAM[:-cut])
    with pytest.raises(DamagedError, match="middle"):
        examiner.close()


def test_holes_stay_holes(tmp_path: Path) -> None:
    data = sparse("app/a.ibd", [(0, 4), (65536, 2), (4096, 0)], b"abcdef") + end("app/a.ibd")
    unpack(ARTIFACT, [data[start : start + 3] for start in range(0, len(data), 3)] + [WORDS], str(tmp_path))
    assert (tmp_path / "app" / "a.ibd").read_bytes() == b"abcd" + bytes(65536) + b"ef" + bytes(4096)


@pytest.mark.parametrize(
    ("stream", "words"),
    [
        (piece("a", b"x", crc=1) + end("a") + WORDS, "checksum of a piece of 'a' differs"),
        (piece("../a", b"x") + end("../a") + WORDS, "outside"),
        (piece("/etc/a", b"x") + WORDS, "outside"),
        (piece("a/../../b", b"x") + WORDS, "outside"),
        (piece("a\0b", b"x") + WORDS, "outside"),
        (piece("a", b"x") + end("a") + piece("a", b"y") + end("a") + WORDS, "'a' twice"),
        (b"PK\3\4" + bytes(60), "no piece"),
        (MAGIC + b"\0X" + bytes(40), "damaged"),
        (MAGIC + b"\0P" + b"\xff" * 40, "damaged"),
        (piece("a", b"x") + end("a"), "middle"),
    ],
)
def test_what_is_no_copy_is_refused(stream: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match=words) as caught:
        unpack(ARTIFACT, [stream], str(tmp_path))
    assert ARTIFACT.file in caught.value.message
    assert os.listdir(tmp_path) in ([], ["a"], ["app"])


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_lines_are_told_with_the_byte_at_which_they_begin(size: int) -> None:
    said = b"first\n\nError: third\n" + b"x" * 9000 + b"\nlast completed OK!\nno end"
    told: list[tuple[str, int]] = []
    hearing = Hearing(lambda line, start: told.append((line, start)))
    for start in range(0, len(said), size):
        hearing.hear(said[start : start + size])
    assert hearing.heard == len(said) and hearing.completed
    assert [line[:5] for line, _start in told] == ["first", "", "Error", "xxxxx", "last "]
    assert all(said[start:].startswith(line.encode()) for line, start in told)
    assert len(told[3][0]) == 4096
    assert hearing.reasons == ["Error: third"]


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("Error: failed to read page after 10 retries. File ./app/a.ibd seems to be corrupted.", ProofError),
        ("Error: missing required privilege RELOAD on *.*", SourceError),
        ("Failed to connect to MariaDB server: Access denied for user 'b'@'localhost'", SourceError),
        ("failed to execute query BACKUP STAGE START: Lock wait timeout exceeded", BusyError),
        ("Error: No space left on device", CapacityError),
        ("Was only able to copy log from 1 to 2, not 3", SourceError),
        ("something else failed", ToolError),
    ],
)
def test_failures_are_told_apart(reason: str, kind: type) -> None:
    tool = Tool("/usr/bin/mariadb-backup", "mariadb", (10, 11, 6))
    assert backup_failure(tool, Address(), 1, [reason]).__class__ is kind


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("mariadb-backup based on MariaDB server 10.11.19-MariaDB debian-linux-gnu", ("mariadb", (10, 11, 19))),
        ("xtrabackup version 8.0.35-30 based on MySQL server 8.0.35 Linux (x86_64)", ("mysql", (8, 0, 35))),
        ("nothing that is known", None),
    ],
)
def test_tools_tell_what_they_are(words: str, expected: object, tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_text(f"#!/bin/sh\necho '{words}' >&2\n")
    path.chmod(0o755)
    assert tool_version(str(path)) == expected


def test_a_chain_goes_on_only_where_it_can() -> None:
    identity = SourceIdentity("db1", "*", "MariaDB 10.11.6", "abc")
    state = State(1000, "abc", "MariaDB 10.11.6", "1:2").encode()
    assert read_state(state).lsn == 1000
    assert why_full(state, identity, 1000, "1:2") == ""
    assert "set back" in why_full(state, identity, 999, "1:2")
    assert "restored or moved" in why_full(state, identity, 2000, "1:3")
    assert "another server" in why_full(state, SourceIdentity("db1", "*", "MariaDB 10.11.6", "x"), 2000, "1:2")
    assert "was MariaDB 10.11.6" in why_full(state, SourceIdentity("db1", "*", "MariaDB 11.4.1", "abc"), 2000, "1:2")
    assert "cannot be read" in why_full(b"[]", identity, 2000, "1:2")
