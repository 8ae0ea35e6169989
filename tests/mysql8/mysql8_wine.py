"""MySQL 8.0 for tests: the server and its tools for Windows, under Wine.

The engine knows nothing of Wine: it finds ``mysqldump`` and ``mysql`` in a folder, as it would on any host.
What differs there is in the wrappers: the end of lines, and arguments that are not ASCII, which do not arrive.
"""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from mysql8_kinds import SETTINGS, Mysql8
from mysql_server import free_port
from waiting import wait_until

BUILD = Path(__file__).parents[2] / "build" / "mysql8"
PROGRAMS = BUILD / "package" / "server" / "bin"
PREFIX = BUILD / "prefix"
OWN_SETTINGS = """basedir=Z:{programs}
datadir=Z:{folder}/data
tmpdir=Z:{folder}
innodb_use_native_aio=0
innodb_flush_method=normal
lower_case_table_names=2
"""
WRAPPER = """#!/bin/bash
set -o pipefail
unset DISPLAY
export WINEPREFIX={prefix} WINEDEBUG=-all LC_ALL=C.UTF-8
program={program}
# Text that a program for Windows writes ends every line with CR LF.
lines() {{ LC_ALL=C sed 's/\\r$//'; }}
{call}
"""
# A receiver of the log is ended from outside, and writes files.
CALL_FOR_LONG = '[[ " $* " = *" --stop-never "* ]] && exec wine "$program" "$@"'
# Once in thousands of starts Wine ends a program with status 1 before it does anything. It is started again, with the
# same input; failures of the programs themselves are never silent.
CALL = """said=$(mktemp {folder}/said-XXXXXX)
input=/dev/null
{keep_input}
for attempt in 1 2 3; do
  wine "$program" "$@" <"$input" 2>"$said.err" | lines | tee "$said"
  code=${{PIPESTATUS[0]}}
  [ "$code" = 1 ] && [ ! -s "$said" ] && [ ! -s "$said.err" ] || break
done
cat "$said.err" >&2
exit "$code"
"""
# It reads text likewise, and takes a CR away from each line's end.
KEEP_INPUT = 'input="$said.in"; LC_ALL=C sed "s/$/\\r/" >"$input"'


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    return {**kept, "WINEPREFIX": str(PREFIX), "WINEDEBUG": "-all"}


class WineServer(Mysql8):
    """MySQL 8.0 for Windows."""

    readers = ("mysql",)  # of its tools, what reads its input
    authentication = "mysql_native_password"

    def __init__(self, settings: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dbfleet-test-mysql8-"))
        self.port = free_port()
        self.scratch = self.url("")
        self._process: subprocess.Popen[bytes] | None = None
        own = OWN_SETTINGS.format(programs=PROGRAMS.parent, folder=self.folder)
        (self.folder / "my.ini").write_text(SETTINGS.format(port=self.port) + own + settings)
        self.tools = str(self.folder / "tools")
        self._install_tools()
        atexit.register(self.remove)
        # initialisation does all its work, and then never ends
        self._run("--initialize-insecure", until="Bootstrapping complete", also="Shutdown completed")
        self.kill()
        self.start()

    def _install_tools(self) -> None:
        Path(str(self.tools)).mkdir()
        for name in (*self.clients, "mysqlbinlog"):
            path = Path(str(self.tools)) / name
            call = CALL.format(folder=self.folder, keep_input=KEEP_INPUT if name in self.readers else "")
            if name == "mysqlbinlog":
                call = f"{CALL_FOR_LONG}\n{call}"
            path.write_text(WRAPPER.format(prefix=PREFIX, program=PROGRAMS / f"{name}.exe", call=call))
            path.chmod(0o755)

    def start(self) -> None:
        self._run(until="ready for connections")
        wait_until(self.answers)

    def _run(self, *options: str, until: str, also: str = "") -> None:
        """Start the server, and wait until its log says so."""
        log = self.folder / "log"
        with open(log, "wb") as output:
            # its output must be a pipe, and nobody may wait for that pipe's end: helpers of Wine keep it open
            pump = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=output, stderr=output)
            self._process = subprocess.Popen(
                ["wine", str(PROGRAMS / "mysqld.exe"), f"--defaults-file=Z:{self.folder}/my.ini", "--no-monitor"]
                + ["--console", "--log-error-verbosity=3", *options],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=pump.stdin,
                stderr=pump.stdin,
            )
            assert pump.stdin is not None
            pump.stdin.close()
        deadline = time.monotonic() + 180
        while True:
            words = log.read_text(errors="replace")
            if until in words and also in words:
                return
            assert self._process.poll() is None and time.monotonic() < deadline, words[-3000:]
            time.sleep(0.1)

    def kill(self) -> None:
        """As a crash does."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def path(file: Path) -> str:
        return f"Z:{file}"

    def native(self, tool: str, *arguments: str, stdin: bytes = b"") -> bytes:
        assert all(argument.isascii() for argument in arguments), "Wine does not hand them on"
        return super().native(tool, *arguments, stdin=stdin)
