"""Log for a server that recovers, a few files at a time, through its ``restore_command``.

The command is a few lines of ``sh`` that ask for a file and wait for it; this process, which has the
keys and the way to the storage, puts it there. So the server's user needs neither, the log is never
unpacked as a whole, and the server that is handed over later knows nothing of this program.
"""

from __future__ import annotations

import os
import shlex
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Callable, Optional

AHEAD = 3  # files that are made ready before they are asked for
POLL = 0.05
BEAT = 1.0
# $1: the name of the file; $2: where to put it. Exit codes above 125 end the recovery, 1 is the end of the log.
SCRIPT = """\
feed=${0%/*}
grep -qxF -e "$1" "$feed/names" || exit 1
: >"$feed/wanted/$1" || exit 200
turns=0
beat=none
while :; do
  if [ -e "$feed/ready/$1" ]; then
    cp "$feed/ready/$1" "$2" && exit 0
    exit 200
  fi
  [ -e "$feed/failed" ] && exit 200
  now=$(cat "$feed/beat" 2>/dev/null)
  if [ "$now" = "$beat" ]; then turns=$((turns + 1)); else turns=0; beat=$now; fi
  [ "$turns" -gt 600 ] && exit 201
  sleep 0.1
done
"""


class LogFeed:
    """Answers the requests of the server whose user is ``owner`` in ``folder``; a context, gone afterwards."""

    def __init__(
        self,
        folder: str,
        names: Sequence[str],
        others: Sequence[str],
        fetch: Callable[[str, str], None],
        owner: Optional[tuple[int, int]],
    ) -> None:
        self._folder = folder
        self._names = list(names)
        self._others = list(others)
        self._fetch = fetch
        self._owner = owner
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log-feed", daemon=True)
        self.failure: Optional[BaseException] = None
        self.served: list[str] = []

    def command(self) -> str:
        """The value of ``restore_command``."""
        script = shlex.quote(os.path.join(self._folder, "hand")).replace("%", "%%")
        return f"sh {script} %f %p"

    def __enter__(self) -> LogFeed:
        os.mkdir(self._folder, 0o755)
        for name in ("wanted", "ready", "making"):
            os.mkdir(os.path.join(self._folder, name), 0o755)
        self._write("names", "".join(f"{name}\n" for name in [*self._names, *self._others]))
        self._write("hand", SCRIPT)
        if self._owner is not None:
            os.chown(os.path.join(self._folder, "wanted"), *self._owner)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        import shutil

        self._stop.set()
        self._thread.join()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, name: str, text: str) -> None:
        path = os.path.join(self._folder, "making", name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), "w", encoding="ascii") as file:
            os.chmod(path, 0o644)
            file.write(text)
        os.replace(path, os.path.join(self._folder, name))

    def _work(self) -> None:
        try:
            beat, last = 0.0, -1
            while not self._stop.wait(POLL):
                if time.monotonic() - beat > BEAT:
                    beat = time.monotonic()
                    self._write("beat", f"{beat}\n")
                for name in sorted(os.listdir(os.path.join(self._folder, "wanted"))):
                    self._make_ready(name)
                    self.served.append(name)
                    with suppress(FileNotFoundError):
                        os.remove(os.path.join(self._folder, "wanted", name))
                    if name in self._names:
                        last = self._names.index(name)
                self._go_ahead(last)
        except BaseException as error:  # told by whoever waits for the server
            self.failure = error
            with suppress(OSError):
                self._write("failed", "")

    def _go_ahead(self, last: int) -> None:
        """Have the file that was asked for last and the next ones ready, and no others."""
        near = set(self._names[max(0, last) : last + 1 + AHEAD])
        for name in os.listdir(os.path.join(self._folder, "ready")):
            if name in self._names and name not in near:
                os.remove(os.path.join(self._folder, "ready", name))
        for name in self._names[last + 1 : last + 1 + AHEAD]:
            if not os.path.exists(os.path.join(self._folder, "ready", name)):
                self._make_ready(name)
                return  # one at a time: somebody may ask for another one

    def _make_ready(self, name: str) -> None:
        ready = os.path.join(self._folder, "ready", name)
        if os.path.exists(ready) or name not in {*self._names, *self._others}:
            return
        making = os.path.join(self._folder, "making", name)
        self._fetch(name, making)
        os.chmod(making, 0o644)  # the folder that all of this is in lets nobody else in
        os.replace(making, ready)
