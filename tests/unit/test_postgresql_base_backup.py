"""Reading a base backup while it passes: its tar, the server's manifest, and the log that must be in it."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import Optional

import pytest

from dbfleet.databases.place import place_of, url_of
from dbfleet.databases.postgresql.backup_manifest import read_lsn, read_manifest, segment_name, show_lsn
from dbfleet.databases.postgresql.cluster import why_full
from dbfleet.databases.postgresql.place import POSTGRESQL
from dbfleet.databases.postgresql.replication import Cluster
from dbfleet.databases.postgresql.tarball import header_of, read_header
from dbfleet.databases.postgresql.wal_check import HEADER, BaseReader
from dbfleet.errors import DamagedError, UsageError

SEGMENT = 2**20
SYSTEM = "7711213206288592500"


def manifest_bytes(start: str = "0/2000028", end: str = "0/2200100", timeline: int = 1) -> bytes:
    text = json.dumps(
        {
            "PostgreSQL-Backup-Manifest-Version": 2,
            "System-Identifier": int(SYSTEM),
            "Files": [],
            "WAL-Ranges": [{"Timeline": timeline, "Start-LSN": start, "End-LSN": end}],
        }
    )
    head = (text[:-1] + ",\n").encode()
    return head + b'"Manifest-Checksum": "%s"}\n' % hashlib.sha256(head).hexdigest().encode()


def segment(number: int, *, system: str = SYSTEM, at: Optional[int] = None) -> bytes:
    start = number * SEGMENT if at is None else at
    return HEADER.pack(0xD110, 2, 1, start, 0, int(system), SEGMENT, 8192).ljust(SEGMENT, b"\0")


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def whole() -> dict[str, bytes]:
    log = {f"pg_wal/{segment_name(1, number, SEGMENT)}": segment(number) for number in (32, 33, 34)}
    return {"backup_label": b"BACKUP FROM: standby\n", "empty": b"", **log, "backup_manifest": manifest_bytes()}


def read(data: bytes, piece: int = 10_000) -> BaseReader:
    reader = BaseReader()
    for start in range(0, len(data), piece):
        reader.feed(data[start : start + piece])
    return reader


@pytest.mark.parametrize("piece", [511, 512, 513, 10_000, 2**24])
def test_a_whole_backup_is_good_in_pieces_of_any_size(piece: int) -> None:
    reader = read(tar(whole()), piece)
    assert reader.check(SYSTEM).timeline == 1
    assert reader.from_standby
    assert reader.manifest_bytes == manifest_bytes()


def test_pg_basebackup_before_15_does_not_pad_the_manifest_that_it_puts_last() -> None:
    data = tar(whole()).rstrip(b"\0") + bytes(1024)
    assert len(data) % 512 and read(data).check(SYSTEM).timeline == 1
    with pytest.raises(DamagedError, match="ends in the middle"):
        read(data[: -len(data) % 512 - 1024]).check(SYSTEM)  # without a whole block of zeros


@pytest.mark.parametrize("number", [32, 33, 34])
def test_every_file_of_the_log_is_needed(number: int) -> None:
    members = whole()
    name = segment_name(1, number, SEGMENT)
    del members[f"pg_wal/{name}"]
    with pytest.raises(DamagedError, match=f"needs the log file {name}"):
        read(tar(members)).check(SYSTEM)


def test_a_file_of_the_log_must_hold_what_its_name_says() -> None:
    name = f"pg_wal/{segment_name(1, 33, SEGMENT)}"
    for wrong in (segment(33, at=5 * SEGMENT), segment(33, system="42")):
        with pytest.raises(DamagedError, match="holds the log of another place"):
            read(tar({**whole(), name: wrong})).check(SYSTEM)


def test_another_cluster_is_noticed() -> None:
    with pytest.raises(DamagedError, match="of the cluster"):
        read(tar(whole())).check("42")


def test_a_tar_that_is_cut_or_changed_is_noticed() -> None:
    data = tar(whole())
    with pytest.raises(DamagedError, match="ends in the middle"):
        read(data[: 2 * SEGMENT]).check(SYSTEM)
    with pytest.raises(DamagedError, match="header"):
        read(b"x" + data[1:])
    members = whole()
    del members["backup_manifest"]
    with pytest.raises(DamagedError, match="no backup_manifest"):
        read(tar(members)).check(SYSTEM)


def test_a_manifest_with_a_changed_byte_is_damaged() -> None:
    data = manifest_bytes()
    read_manifest(data)
    for place in range(0, len(data) - 1, 7):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(DamagedError):
            read_manifest(bytes(changed))


def test_positions_are_read_and_shown() -> None:
    for text in ("0/0", "0/3000028", "1A/FFFFFFFF"):
        assert show_lsn(read_lsn(text)) == text
    assert segment_name(1, 0x1FF, 2**24) == "0000000100000001000000FF"
    found = read_manifest(manifest_bytes("0/1000000", "0/2000000")).ranges[0]
    assert list(found.segments(2**24)) == ["000000010000000000000001"]  # the end is not included


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, ""),
        ({"version": 150018}, "no incremental base backups"),
        ({"settings": {"server_version": "17.1", "summarize_wal": "off"}}, "summarize_wal is off"),
        ({"system": "42"}, "the server is the cluster 42"),
        ({"timeline": 2}, "timeline 2"),
    ],
)
def test_a_chain_only_goes_on_where_the_server_can_tell_what_changed(changed: dict[str, object], why: str) -> None:
    fields: dict[str, object] = {
        "system": SYSTEM,
        "timeline": 1,
        "version": 170010,
        "settings": {"server_version": "17.10", "summarize_wal": "on"},
        **changed,
    }
    found = why_full(manifest_bytes(), Cluster(**fields))  # type: ignore[arg-type]
    assert (why in found) if why else found == ""


@pytest.mark.parametrize("path", ["/var/lib/data", "/it's/50% odd?#ü", "/a b"])
def test_a_place_is_the_same_as_a_url(path: str) -> None:
    assert place_of(url_of("postgresql", path), POSTGRESQL).path == path


@pytest.mark.parametrize("url", ["postgresql://db1/app", "postgresql:///app", "postgresql:///", "postgresql:////a%00b"])
def test_a_server_is_no_place(url: str) -> None:
    with pytest.raises(UsageError):
        place_of(url, POSTGRESQL)


@pytest.mark.parametrize("size", [0, 7, 8**11 - 1, 8**11, 10 * 2**30])
def test_a_header_of_ours_is_what_every_tar_reads(size: int) -> None:
    header = header_of("backup_manifest", size)
    info = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    assert (info.name, info.size, info.mode, info.isfile()) == ("backup_manifest", size, 0o600, True)
    assert (read_header(header).name, read_header(header).size) == ("backup_manifest", size)
