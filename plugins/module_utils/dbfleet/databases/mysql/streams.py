"""The artifacts of a logical backup, as the native dump tools write them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Callable, Optional
from urllib.parse import quote

from ...errors import UsageError
from ...stream.process import Command, Filter
from ..base import ArtifactStream, Sink
from .lanes import MARK, Part, statements
from .objects import Objects, unbound
from .server import quoted
from .tools import Tools

# Values as they are, whatever the reader's settings: the same that the dump tools write before theirs, and commits.
DATA_HEAD = (
    b"SET NAMES utf8mb4;\nSET time_zone = '+00:00';\nSET sql_mode = 'NO_AUTO_VALUE_ON_ZERO';\n"
    b"SET foreign_key_checks = 0;\nSET unique_checks = 0;\nSET autocommit = 1;\n"
)
COMMON = (
    "--skip-lock-tables",
    "--skip-comments",
    "--skip-add-drop-table",
    "--skip-add-drop-database",
    "--default-character-set=utf8mb4",
)
ROWS = (
    "--single-transaction",
    "--quick",
    "--no-create-info",
    "--skip-triggers",
    "--compact",
    "--skip-no-autocommit",  # statements around the rows of each table, from MariaDB 11.8 on
    "--extended-insert",
    "--max-allowed-packet=1G",
)
# Bytes that are no text as numbers; or values as they are stored, by a client that need not look for characters
# of several bytes while it escapes them. Where all text is UTF-8 and there is nothing else, both write the same.
HEX = ("--hex-blob",)
VERBATIM = ("--default-character-set=binary",)
MYSQL_ONLY = ("--set-gtid-purged=OFF", "--loose-column-statistics=0", "--no-tablespaces")
TABLES_EACH = 5000


def file_of(database: Optional[str], name: str) -> str:
    """The suffix of an artifact: in a folder of its database where there are several."""
    folder = f"/{quote(database, safe='')}" if database is not None else ""
    return f"{folder}/{name}"


class DumpProcess:
    """A dump tool that writes rows, started while commits are held."""

    def __init__(self, tools: Tools, database: str, part: Part) -> None:
        where = (f"--where={part.where}",) if part.where else ()
        extra = MYSQL_ONLY if tools.flavour == "mysql" else ()
        values = VERBATIM if part.verbatim else HEX
        arguments = (*ROWS, *COMMON, *values, *extra, *where, "--", database, *part.tables)
        self._filter = Filter(tools.dump_command(arguments, f"the dump of database {database!r}"))
        self._filter.close_input()
        self._head = bytearray()
        self._ended = False

    def wait_until_begun(self) -> None:
        """Return when it has its snapshot: it writes no row before, and its end is no earlier either."""
        while MARK not in self._head and not self._ended:
            self._ended = not self._read_head()
        if self._ended:
            self._filter.wait()

    def _read_head(self) -> bool:
        data = self._filter.read()
        self._head += data
        return bool(data)

    def chunks(self) -> Iterator[bytes]:
        """What it writes. Raises what its failure means."""
        yield bytes(self._head)
        self._head.clear()
        yield from self._filter.chunks()

    def kill(self) -> None:
        """End it. Never raises."""
        self._filter.kill()

    def close(self) -> None:
        """Leave nothing of it."""
        self._filter.close()


class LaneStream(ArtifactStream):
    """Rows of tables, from one process or from several side by side."""

    role = "data"

    def __init__(self, processes: Sequence[DumpProcess], suffix: str, database: Optional[str], size: int) -> None:
        self.suffix = suffix
        self.database = database
        self.size_hint = size
        self._processes = processes

    def pump(self, sink: Sink) -> None:
        """Write the statements of all processes, each one whole."""
        sink.write(DATA_HEAD)
        if len(self._processes) == 1:
            for block in statements(self._processes[0].chunks()):
                sink.write(block)
            return
        failures: list[BaseException] = []
        turn = threading.Lock()

        def copy(process: DumpProcess) -> None:
            try:
                for block in statements(process.chunks()):
                    with turn:
                        if failures:
                            return
                        sink.write(block)
            except BaseException as error:  # raised again below, in the thread of the pump
                failures.append(error)
                for other in self._processes:
                    other.kill()

        threads = [threading.Thread(target=copy, args=(process,), daemon=True) for process in self._processes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]


class RawStream(ArtifactStream):
    """Rows of tables whose names break lines: nothing can be picked out of it."""

    role = "raw"

    def __init__(self, processes: Sequence[DumpProcess], suffix: str, database: Optional[str]) -> None:
        self.suffix = suffix
        self.database = database
        self._processes = processes

    def pump(self, sink: Sink) -> None:
        """Write what the tool writes."""
        sink.write(DATA_HEAD)
        for process in self._processes:
            for chunk in process.chunks():
                sink.write(chunk)


class _Text:
    """A sink that keeps what it gets: definitions without rows."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        """Keep ``data``."""
        self.data += data


class ToolStream(ArtifactStream):
    """Text of one or several calls of the dump tool, one after another, behind a head of ours."""

    def __init__(
        self,
        role: str,
        suffix: str,
        database: Optional[str],
        tools: Tools,
        calls: Sequence[tuple[str, ...]],
        head: str = "",
        rewrite: Optional[Callable[[str], str]] = None,
    ) -> None:
        self.role = role
        self.suffix = suffix
        self.database = database
        self._tools = tools
        self._calls = calls
        self._head = head
        self._rewrite = rewrite
        self._running: Optional[Filter] = None
        self._stopped = False

    def pump(self, sink: Sink) -> None:
        """Run the calls."""
        sink.write(self._head.encode())
        if self._rewrite is None:
            self._run(sink)
            return
        text = _Text()
        self._run(text)
        sink.write(self._rewrite(text.data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape"))

    def _run(self, sink: Sink) -> None:
        for arguments in self._calls:
            if self._stopped:
                return
            command = self._tools.dump_command(arguments, f"the dump of {self.role}")
            with Filter(command) as self._running:
                self._running.close_input()
                for data in self._running.chunks():
                    sink.write(data)

    def kill(self) -> None:
        """End it. Never raises."""
        self._stopped = True
        if self._running is not None:
            self._running.kill()


def schema_stream(tools: Tools, database: str, label: Optional[str], objects: Objects) -> ToolStream:
    """Tables and sequences without rows; the database's character set first."""
    names = [*objects.sequences, *(table.name for table in objects.tables)]  # a default may need a sequence
    head = f"ALTER DATABASE CHARACTER SET {objects.charset} COLLATE {objects.collation};\n"
    base = (*COMMON, *_extra(tools), "--no-data", "--skip-triggers", "--", database)
    calls = list(_calls(base, names))
    rewrite = partial(unbound, database=database, sequences=objects.sequences) if objects.sequences else None
    return ToolStream("schema", file_of(label, "schema.sql"), label, tools, calls, head, rewrite)


def objects_calls(
    tools: Tools, database: str, views: Sequence[str], ignored: Sequence[str] = ()
) -> list[tuple[str, ...]]:
    """Routines, triggers and histograms, but not of the ``ignored`` tables; then views, which may need the routines."""
    left_out = [f"--ignore-table={database}.{name}" for name in ignored]
    bare = (*COMMON, *_extra(tools), "--no-data", "--no-create-info", *left_out)
    more = ("--column-statistics=1",) if tools.histograms else ()  # they are made from rows, which are there by now
    calls = [(*bare, *more, "--triggers", "--routines", "--", database)]
    shown = (*COMMON, *_extra(tools), "--no-data", "--skip-triggers", "--", database)
    return [*calls, *_calls(shown, views)]


def trigger_calls(tools: Tools, database: str, tables: Sequence[str]) -> list[tuple[str, ...]]:
    """The triggers of some tables."""
    bare = (*COMMON, *_extra(tools), "--no-data", "--no-create-info", "--triggers")
    return list(_calls((*bare, "--", database), tables))


def events_calls(tools: Tools, database: str) -> list[tuple[str, ...]]:
    """The events.

    Raises ``UsageError`` for a database whose name the tools of both flavours quote wrongly when they dump events.
    """
    if "'" in database or "\\" in database:
        raise UsageError(
            f"database {database!r} has events, and the dump tools cannot dump events of a database"
            " with a quote or a backslash in its name",
            "give it another name, or choose its tables with source.tables: * (which leaves out its other objects)",
        )
    bare = (*COMMON, *_extra(tools), "--no-data", "--no-create-info", "--skip-triggers")
    return [(*bare, "--events", "--", database)]


def dump_of_tables(tools: Tools, database: str, tables: Sequence[str]) -> Command:
    """The dump of ``tables`` with definitions, rows and triggers, in one text."""
    rows = ("--single-transaction", "--quick", "--hex-blob", "--extended-insert", "--max-allowed-packet=1G")
    arguments = (*COMMON, *_extra(tools), *rows, "--triggers", "--", database, *tables)
    return tools.dump_command(arguments, f"the dump of tables of {database!r}")


def users_stream(tools: Tools, more: Sequence[str]) -> ToolStream:
    """Accounts and their privileges, as statements that leave accounts that are there as they are; then ``more``."""
    calls = [("--system=users", "--insert-ignore")]
    end = "".join(f"{statement};\n" for statement in more)
    return ToolStream("users", file_of(None, "users.sql"), None, tools, calls, rewrite=lambda text: text + end)


def _extra(tools: Tools) -> tuple[str, ...]:
    return MYSQL_ONLY if tools.flavour == "mysql" else ()


def _calls(base: tuple[str, ...], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for start in range(0, len(names), TABLES_EACH):
        yield (*base, *names[start : start + TABLES_EACH])


def picked(names: Sequence[str]) -> tuple[bytes, ...]:
    """What a statement begins with that inserts into one of the tables ``names``."""
    return tuple(MARK + quoted(name).encode() + b" " for name in names)
