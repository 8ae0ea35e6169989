"""Putting a dump into a database that is being built: ``pg_restore`` or ``psql``, watched and judged."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Callable

from ...errors import CapacityError, DamagedError, DbfleetError, RefusedError, ToolError
from ...stream.process import LAST_WORDS, Command, run
from .address import Address
from .connection import patient
from .tools import Tool, reason

STAGED = "dump"
SCRIPT = "script.sql"
HEAD = "head"
FIRST_HEAD = 256 * 1024
READ_ON = 2**30  # bytes that are read after a failure to find out whether the stored ones are to blame
# The tool's sessions write into a database that does not count before its last step is made durable.
SESSION = {"synchronous_commit": "off"}
# What only matters to a whole database; of tables that are fetched one by one it would fail or cost time.
WHOLE_ONLY = (
    "FK CONSTRAINT|MATERIALIZED VIEW DATA|EVENT TRIGGER|PUBLICATION|PUBLICATION TABLE|PUBLICATION TABLES IN SCHEMA|"
    "SUBSCRIPTION|SUBSCRIPTION TABLE|BLOB|BLOBS|BLOB METADATA|LARGE OBJECT|SECURITY LABEL|STATISTICS DATA|"
    r"COMMENT \S+ (?:CONSTRAINT|EVENT TRIGGER|PUBLICATION|SUBSCRIPTION|LARGE OBJECT|TRIGGER) .*|"
    r"ACL - LARGE OBJECT .*"
)
_WHOLE_ONLY = re.compile(rf"\d+; \d+ \d+ (?:{WHOLE_ONLY})\b")
_TABLE_DATA = re.compile(r"\d+; \d+ (\d+) TABLE DATA\b")
_FOREIGN_KEY = re.compile(r"\d+; 2606 (\d+) FK CONSTRAINT\b")


# What rows would set off that arrive after it: triggers (catalog 2620) and event triggers (3466), references and
# checks; and what is said about them, which must not come before. With several jobs, pg_restore lets those of a
# partitioned table wait neither for the rows of its partitions, so that they fire or refuse rows now and then, nor
# for their indexes, so that it ends in a deadlock now and then.
LATE = re.compile(r"\d+; (?:(?:2620|3466) \d+|2606 \d+ (?:FK|CHECK) CONSTRAINT|0 0 (?:COMMENT|SECURITY LABEL)) ")

SETS_TRANSACTION_TIMEOUT = 17


class Loader:
    """Restores dumps into one database."""

    def __init__(
        self, tool: Tool, address: Address, environment: Mapping[str, str], *, server: int, trial: bool
    ) -> None:
        self._tool = tool
        self._unknown = unknown_setting(tool.major, server)
        self._address = address
        settings = {**patient(server), **SESSION}
        begin = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._environment = {**environment, "PGOPTIONS": begin}
        self._options = ["--no-tablespaces"] if trial else []

    def stream(self, chunks: Iterable[bytes], file: str, more: Sequence[str] = ()) -> None:
        """Restore an archive as it comes, table after table."""
        self._restore(chunks, file, more)

    def staged(self, chunks: Iterable[bytes], file: str, folder: str, jobs: int) -> None:
        """Write the archive to ``folder`` first, then restore several tables and indexes at a time."""
        path = os.path.join(folder, STAGED)
        try:
            write(path, chunks)
            self.several_at_a_time(path, file, folder, jobs)
        finally:
            if os.path.exists(path):
                os.remove(path)

    def several_at_a_time(self, path: str, file: str, folder: str, jobs: int) -> None:
        """Restore the dump at ``path``, a file or a folder; ``folder`` is for lists."""
        listed = self._list(path, file)
        late = [line for line in listed if LATE.match(line)]
        early = [line for line in listed if not LATE.match(line)]
        for lines in (early, late):
            if lines:
                list_file = _write_list(folder, lines)
                self._restore((), file, [f"--jobs={jobs}", f"--use-list={list_file}", path])

    def some_tables(
        self, chunks: Iterable[bytes], file: str, folder: str, tables: set[int], foreign_keys: set[int]
    ) -> str:
        """Restore every definition, but only the rows of ``tables``; returns the SQL of ``foreign_keys``.

        Which entry is whose is told by their numbers in the archive's table of contents (manual,
        pg_restore, ``--use-list``), which comes first in the stream.
        """
        path = os.path.join(folder, HEAD)
        listed, rest = self._contents(iter(chunks), path, file)
        list_file, keys = _lists(listed, folder, tables, foreign_keys)
        self._restore(rest, file, [f"--use-list={list_file}"])
        return self._references(keys, list_file, path)

    def some_tables_of(self, path: str, file: str, folder: str, tables: set[int], foreign_keys: set[int]) -> str:
        """The same, of the folder ``path`` of a dump."""
        list_file, keys = _lists(self._list(path, file), folder, tables, foreign_keys)
        self._restore((), file, [f"--use-list={list_file}", path])
        return self._references(keys, list_file, path)

    def _references(self, keys: Sequence[str], list_file: str, path: str) -> str:
        if not keys:
            return ""
        write(list_file, ["\n".join(keys).encode("utf-8", "surrogateescape")])
        argv = (self._tool.path, f"--use-list={list_file}", "--file=-", path)
        return without_meta_commands(run(Command(argv, text=True)).stdout.decode("utf-8"))

    def _list(self, path: str, file: str) -> list[str]:
        """The lines of the table of contents of a dump (manual, pg_restore, ``--list``)."""
        command = Command(
            (self._tool.path, "--list", path), explain=lambda _code, words: self._explain(file, words), text=True
        )
        lines = run(command).stdout.decode("utf-8", "surrogateescape").split("\n")
        return [line for line in lines if line and not line.startswith(";")]

    def _contents(self, chunks: Iterator[bytes], path: str, file: str) -> tuple[list[str], Iterator[bytes]]:
        """The lines of the table of contents, and all chunks again."""
        seen: list[bytes] = []
        size, least = 0, FIRST_HEAD
        while True:
            chunk = next(chunks, None)
            if chunk is not None:
                seen.append(chunk)
                size += len(chunk)
                if size < least:
                    continue
            write(path, seen)
            try:
                return self._list(path, file), chain(seen, chunks)
            except ToolError as error:
                if chunk is None:
                    raise DamagedError(error.message, "restore another backup") from error
                least = size * 2

    def _restore(self, chunks: Iterable[bytes], file: str, more: Sequence[str]) -> None:
        argv = (
            self._tool.path,
            f"--dbname={self._address.conninfo(application_name='dbfleet')}",
            *(() if self._unknown else ("--exit-on-error",)),
            "--no-password",
            *self._options,
            *more,
        )
        with suppress(_OnlyUnknownSettingError):
            self._run(argv, chunks, file)

    def script(self, psql: Tool, chunks: Iterable[bytes], file: str, folder: Callable[[], str]) -> None:
        """Run a plain dump; it may not leave its database, nor run commands of the host.

        On Windows, psql takes what it reads from a pipe for text, which a 0x1A ends: there it is written to ``folder``.
        """
        begin = f"\\restrict {os.urandom(16).hex()}\n".encode("ascii") if restricts(psql) else b""
        script = chain([begin], harmless(chunks, file, self._unknown))
        path = os.path.join(folder(), SCRIPT) if sys.platform == "win32" else "-"
        if path != "-":
            write(path, script)
        argv = (
            psql.path,
            f"--dbname={self._address.conninfo(application_name='dbfleet')}",
            "--no-psqlrc",
            "--quiet",
            "--no-password",
            "--set=ON_ERROR_STOP=1",
            "--output=" + os.devnull,
            f"--file={path}",
        )
        try:
            self._run(argv, script if path == "-" else (), file)
        finally:
            if path != "-":
                os.remove(path)

    def _explain(self, file: str, words: str) -> DbfleetError:
        errors = [line for line in words.splitlines() if re.search(r"\b(error|ERROR|FATAL):", line)]
        if self._unknown and len(words) < LAST_WORDS and all(f'"{self._unknown}"' in line for line in errors):
            return _OnlyUnknownSettingError(f"{file}: {self._unknown} is not known to the server")
        others = "\n".join(line for line in words.splitlines() if not self._unknown or self._unknown not in line)
        return ToolError(
            f"{file} could not be restored: {reason(others)}",
            "cure what the server says, or restore another backup; nothing was changed",
        )

    def _run(self, argv: Sequence[str], chunks: Iterable[bytes], file: str) -> None:
        command = Command(tuple(argv), self._environment, explain=lambda code, words: self._explain(file, words))
        given = iter(chunks)
        try:
            run(command, stdin=given)
        except ToolError:
            passed = 0
            for chunk in given:  # if the stored bytes are damaged, that is the cause to be told
                passed += len(chunk)
                if passed > READ_ON:
                    break
            raise


class _OnlyUnknownSettingError(ToolError):
    """Nothing failed but a setting that the server's version does not have."""


def unknown_setting(tool: int, server: int) -> str:
    """What programs of major version ``tool`` set in every session, and a ``server`` does not know; empty if nothing.

    So it is where the server is older than the programs (src/bin/pg_dump/pg_backup_archiver.c): that version 17 sets
    ``transaction_timeout`` is its only such setting since 13.
    """
    return "transaction_timeout" if server < SETS_TRANSACTION_TIMEOUT <= tool else ""


def _lists(listed: Iterable[str], folder: str, tables: set[int], foreign_keys: set[int]) -> tuple[str, list[str]]:
    """A file with the entries that are wanted, and those of references, which come last."""
    wanted, keys = [], []
    for line in listed:
        rows, key = _TABLE_DATA.match(line), _FOREIGN_KEY.match(line)
        if key and int(key[1]) in foreign_keys:
            keys.append(line)
        if _WHOLE_ONLY.match(line) or (rows and int(rows[1]) not in tables):
            continue
        wanted.append(line)
    return _write_list(folder, wanted), keys


def _write_list(folder: str, lines: Iterable[str]) -> str:
    path = os.path.join(folder, "list")
    write(path, ["\n".join(lines).encode("utf-8", "surrogateescape")])
    return path


def write(path: str, chunks: Iterable[bytes]) -> None:
    """A private file of ``chunks``. Raises ``CapacityError``."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            for chunk in chunks:
                file.write(chunk)
    except OSError as error:
        raise CapacityError(
            f"cannot write {path!r}: {error.strerror}", "set DBFLEET_SCRATCH to a folder with room for the dump"
        ) from error


def without_meta_commands(sql: str) -> str:
    r"""A dump of definitions without psql's own commands, which are lines of their own (``\restrict``)."""
    return "\n".join(line for line in sql.split("\n") if not line.startswith(("\\restrict ", "\\unrestrict ")))


def known_to(server: int, sql: str) -> str:
    """A dump of definitions without the setting at its beginning that a ``server`` of that version does not have."""
    unknown = unknown_setting(SETS_TRANSACTION_TIMEOUT, server)
    return sql.replace(f"\nSET {unknown} = 0;\n", "\n", 1) if unknown else sql


COPY_BEGINS = b" FROM stdin;"  # how pg_dump ends the statement, whose names may hold line ends
RESTRICTIONS = (b"\\restrict ", b"\\unrestrict ")
# The first minor versions whose psql can be told to run no commands of its own.
RESTRICTS = {13: 22, 14: 19, 15: 14, 16: 10, 17: 6}


def restricts(psql: Tool) -> bool:
    r"""Whether this psql knows ``\restrict``."""
    minor = re.match(r"\d+\.(\d+)", psql.version)
    return psql.major not in RESTRICTS or bool(minor and int(minor[1]) >= RESTRICTS[psql.major])


def harmless(chunks: Iterable[bytes], file: str, unknown: str = "") -> Iterator[bytes]:
    r"""``chunks`` of a plain dump, as long as no line begins with a command of psql's.

    Such a command (``\connect``, ``\!``) would leave the database that is being built, or run programs.
    Rows of ``COPY`` are passed over. The line that sets ``unknown`` at the beginning is left out. Raises
    ``RefusedError``.
    """
    setting = f"SET {unknown} = 0;".encode("ascii") if unknown else None
    rest = b""
    copying = False
    for chunk in chunks:
        data = rest + chunk
        position = 0
        kept = []
        while True:
            if copying:
                end, copying = _end_of_rows(data, position)
            else:
                end = data.find(b"\n", position) + 1
                line = data[position:end].rstrip(b"\r\n")
                if end and (line == setting or _is_left_out(line, file)):
                    setting = (
                        None if line == setting else setting
                    )  # once, at its beginning: later it is somebody's text
                    position = end
                    continue
                copying = line.endswith(COPY_BEGINS)
            if not end:
                break
            kept.append(data[position:end])
            position = end
        yield b"".join(kept)
        rest = data[position:]
    if copying or not _is_left_out(rest, file):
        yield rest


def _end_of_rows(data: bytes, position: int) -> tuple[int, bool]:
    r"""Up to where the rows of ``COPY`` go, and whether more follow; 0 when a whole line is yet to come.

    Only ``\.`` alone on its line ends them.
    """
    mark = position if data.startswith(b"\\.", position) else data.find(b"\n\\.", position) + 1
    while mark or data.startswith(b"\\.", position):
        end = data.find(b"\n", mark) + 1
        if not end:
            break
        if data[mark:end].rstrip(b"\r\n") == b"\\.":
            return end, False
        mark = data.find(b"\n\\.", end - 1) + 1
        position = end if not mark else position
    last = data.rfind(b"\n", position) + 1
    return (last if last > position else 0), True


def _is_left_out(line: bytes, file: str) -> bool:
    """Whether the line is one of pg_dump's own restrictions, for which ours stand; raises for other commands."""
    if not line.startswith(b"\\"):
        return False
    if line.startswith(RESTRICTIONS):
        return True
    raise RefusedError(
        f"{file!r} holds the psql command {line[:60].decode('utf-8', 'replace')!r}, "
        "which could reach beyond the database that is being built",
        "make the dump without --create, or remove that line; nothing was changed",
    )


def staging_pays(jobs: int, size_bytes: int) -> bool:
    """Whether writing the dump to disk first is worth what several jobs gain."""
    return jobs > 1 and size_bytes > 64 * 2**20
