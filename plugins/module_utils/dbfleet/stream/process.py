"""The one place that starts a process.

Tools get a list of arguments, never a shell; an environment of their own with ``LC_ALL=C`` and
without our settings; and secrets through a pipe, never through arguments or environment. Every
exit code is checked, and every child is gone before the caller goes on. A child that outlives
a killed parent ends by itself: its pipes are closed.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any, Callable, Optional, Union, cast

from ..errors import DbfleetError, KeyMaterialError, ToolError
from .installed import find_tool
from .line_ends import LineEnds, to_text_mode

if TYPE_CHECKING:
    import subprocess

CHUNK = 512 * 1024
LARGEST = 2 * 1024 * 1024  # bytes that pass at once: each handing on costs a turn of the interpreter, and memory
LAST_WORDS = 4096  # bytes kept of what a tool says on stderr
ANSWER_LIMIT = 64 * 1024 * 1024  # bytes of stdout that run() keeps
PIPE_SIZE = 1024 * 1024
F_SETPIPE_SZ = 1031  # fcntl(2) of Linux; named in Python from 3.10
# Dump tools write a few KiB at a time. A reader that takes each one as it comes spends more on waking up
# than on the data: after so many short reads in a row, it lets the pipe fill for a moment first.
SHORT_READ = 128 * 1024
SHORT_READS = 8
PAUSE = 0.001  # seconds

HIDDEN = ("DATABASE_URL", "DBFLEET_", "LANGUAGE")  # never handed to a tool: may hold our secrets


@dataclass(frozen=True)
class Secret:
    """What a tool must be told but nobody may see: handed over on a descriptor of its own.

    The number of the descriptor follows ``option``. Windows has no such descriptors for
    children: there ``file_option`` names ``path``, which must hold the same.
    """

    value: bytes = field(repr=False)
    option: str
    file_option: str
    path: str


@dataclass(frozen=True)
class Command:
    """A tool and its arguments; ``explain`` turns an exit code and last words into an error."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret: Optional[Secret] = None
    explain: Optional[Callable[[int, str], DbfleetError]] = None
    user: Optional[str] = None  # run as this user of the host, which only root can
    text: bool = False  # it reads and writes text: what its C runtime does to line ends on Windows is undone
    inherited: tuple[int, ...] = ()  # descriptors that it holds open as well, such as that of a lock

    @property
    def tool(self) -> str:
        """The tool's name."""
        return os.path.basename(self.argv[0])

    def failure(self, code: int, words: str) -> DbfleetError:
        """The error of exit status ``code`` (negative: ended by that signal)."""
        if self.explain is not None and code > 0:
            return self.explain(code, words)
        return ToolError(
            f"{self.tool} failed with {show_exit(code)}{': ' + last_lines(words) if words.strip() else ''}",
            "nothing of what it wrote was kept; cure what it says and start again",
        )


@dataclass(frozen=True)
class Finished:
    """A tool that ended well: what it said on stdout (unless that went elsewhere) and on stderr."""

    stdout: bytes
    stderr: str


def show_exit(code: int) -> str:
    """``exit status 1``, ``signal 9``."""
    return f"signal {-code}" if code < 0 else f"exit status {code}"


def last_lines(words: str, count: int = 3, limit: int = 500) -> str:
    """The last ``count`` lines of ``words`` that say anything, on one line of ``limit`` characters."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    return " / ".join(lines[-count:])[-limit:]


def run(
    command: Command,
    *,
    stdin: Union[bytes, IO[bytes], Iterable[bytes]] = b"",
    sink: Optional[Callable[[bytes], object]] = None,
    timeout: Optional[float] = None,
) -> Finished:
    """Run a tool to its end.

    ``stdin`` is bytes, an open file (a real one, with a descriptor) or chunks; ``sink`` takes
    stdout in chunks of up to 512 KiB, otherwise it is returned (64 MiB at most). Raises
    ``ToolError`` (or what the command explains) when the tool is missing, fails, stops reading
    before the end, says too much, or runs longer than ``timeout`` seconds.
    """
    file = cast("IO[bytes]", stdin) if hasattr(stdin, "fileno") else None
    with Filter(command, stdin=file) as child:
        alarm = threading.Timer(timeout, child.kill) if timeout is not None else None
        chunks = (stdin,) if isinstance(stdin, bytes) else stdin
        feeder = _Feeder(child, chunks) if file is None else None
        answer = bytearray()
        try:
            if alarm is not None:
                alarm.daemon = True
                alarm.start()
            while True:
                data = child.read()
                if not data:
                    break
                if sink is not None:
                    sink(data)
                    continue
                answer += data
                if len(answer) > ANSWER_LIMIT:
                    raise ToolError(f"{command.tool} wrote more than {ANSWER_LIMIT} bytes")
            if child.killed and timeout is not None and (feeder is None or feeder.failure is None):
                raise ToolError(f"{command.tool} did not end within {timeout:g} seconds")
            return Finished(bytes(answer), child.wait() if feeder is None else feeder.judge())
        finally:
            if alarm is not None:
                alarm.cancel()
            child.kill()
            if feeder is not None:
                feeder.thread.join()


class Filter:
    """A running tool: bytes in at :meth:`write`, bytes out at :meth:`read`, judged by :meth:`wait`.

    One thread may write while another one reads; :meth:`kill` may come from any. As a context
    manager it leaves no child behind.
    """

    def __init__(
        self,
        command: Command,
        *,
        stdin: Optional[IO[bytes]] = None,
        hear: Optional[Callable[[bytes], object]] = None,
    ) -> None:
        """``hear`` gets what the tool says on stderr, piece by piece as it comes, in a thread of its own."""
        self.command = command
        self.killed = False
        self._hear = hear
        self._child = _start(command, stdin)
        self._words = bytearray()
        self._ends = LineEnds() if command.text and sys.platform == "win32" else None
        self._short_reads = 0
        _widen(self._child.stdin)
        self._wide = _widen(self._child.stdout)
        self._listener = threading.Thread(target=self._listen, name=f"{command.tool}-stderr", daemon=True)
        self._listener.start()

    def write(self, data: bytes) -> None:
        """Feed ``data``. Raises ``OSError`` when the tool has stopped reading, ``ValueError`` when it reads a file."""
        if self._child.stdin is None:
            raise ValueError(f"{self.command.tool} reads a file: nothing can be written to it")
        view = memoryview(data if self._ends is None else to_text_mode(data))
        while view:
            view = view[self._child.stdin.write(view) :]

    def close_input(self) -> None:
        """Tell the tool that no more comes."""
        if self._child.stdin is not None:
            self._child.stdin.close()

    def read(self, size: int = CHUNK) -> bytes:
        """What the tool has written, up to ``size`` bytes; empty at the end. Waits for at least one."""
        if self._wide and self._short_reads >= SHORT_READS:
            time.sleep(PAUSE)
        data = cast("IO[bytes]", self._child.stdout).read(size)
        self._short_reads = self._short_reads + 1 if len(data) < min(size, SHORT_READ) else 0
        return data if self._ends is None else self._undone(self._ends, data, size)

    def _undone(self, ends: LineEnds, data: bytes, size: int) -> bytes:
        """``data`` with line ends as the tool meant them; empty only at the end."""
        while data:
            passed = ends.feed(data)
            if passed:
                return passed
            data = cast("IO[bytes]", self._child.stdout).read(size)
        return ends.rest()

    def chunks(self, size: int = CHUNK) -> Iterator[bytes]:
        """What it has still to write, up to its end, which is judged as by :meth:`wait`."""
        while data := self.read(size):
            yield data
        self.wait()

    def wait(self) -> str:
        """Wait for the tool's end; its words on stderr. Raises when it failed."""
        code = self._child.wait()
        self._listener.join(5)  # a grandchild may hold stderr open for longer
        words = bytes(self._words).decode("utf-8", "replace")
        if code != 0:
            raise self.command.failure(code, words)
        return words

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._child.pid

    @property
    def code(self) -> Optional[int]:
        """Its exit status (negative: the signal that ended it); ``None`` while it runs."""
        return self._child.poll()

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self.code is None

    def unheard(self) -> Optional[int]:
        """Bytes that the tool has said on stderr and nobody has read yet; ``None`` where that cannot be known."""
        if not sys.platform.startswith("linux") or self._child.stderr is None:
            return None
        import fcntl
        import termios

        try:
            answer = fcntl.ioctl(self._child.stderr.fileno(), termios.FIONREAD, b"\0" * 4)
        except (OSError, ValueError):  # it is closed
            return None
        return int.from_bytes(answer, sys.byteorder)

    def kill(self) -> None:
        """End the tool now. Never raises; does nothing to one that has ended."""
        if self._child.poll() is None:
            self.killed = True
            try:
                self._child.kill()
            except OSError:
                pass  # it ended in this moment
            self._child.wait()

    def __enter__(self) -> Filter:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave no child and no open pipe behind. Never raises."""
        self.kill()
        self._listener.join(5)
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()

    def _listen(self) -> None:
        """Keep the last words; read on, so that a talkative tool is never blocked."""
        with cast("IO[bytes]", self._child.stderr) as stream:
            while True:
                data = stream.read(LAST_WORDS)
                if not data:
                    return
                self._words += data
                del self._words[:-LAST_WORDS]
                if self._hear is not None:
                    self._hear(data)


class _Feeder:
    """Feeds chunks to a tool in a thread of its own."""

    def __init__(self, child: Filter, chunks: Iterable[bytes]) -> None:
        self._child = child
        self._chunks = chunks
        self._refused = False
        self.failure: Optional[BaseException] = None
        self.thread = threading.Thread(target=self._feed, name=f"{child.command.tool}-stdin", daemon=True)
        self.thread.start()

    def judge(self) -> str:
        """Wait for the tool's end; its words on stderr. Raises what failed first: chunks, tool, feeding."""
        self.thread.join()
        if self.failure is not None:
            raise self.failure
        words = self._child.wait()
        if self._refused:
            raise ToolError(f"{self._child.command.tool} stopped reading before the end of its input")
        return words

    def _feed(self) -> None:
        try:
            for data in self._chunks:
                try:
                    self._child.write(data)
                except OSError:
                    self._refused = True
                    return
        except BaseException as error:  # raised again by judge() in the caller's thread
            self.failure = error
            self._child.kill()
        finally:
            self._child.close_input()


def launch(command: Command, words: IO[bytes], *, timeout: float) -> None:
    """Run a tool that leaves a server behind, to the tool's end.

    The server may hold what the tool wrote to: that is the file ``words``, no pipe that would end with the server.
    Raises as :func:`run`.
    """
    import subprocess  # pylint: disable=ansible-bad-function

    child = _start(command, subprocess.DEVNULL, words)
    try:
        code = child.wait(timeout)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{command.tool} did not end within {timeout:g} seconds") from None
    finally:
        if child.poll() is None:  # also where something else ends us
            child.kill()
            child.wait()
    words.seek(0)
    said = words.read(ANSWER_LIMIT)[-LAST_WORDS:].decode("utf-8", "replace")
    if code != 0:
        raise command.failure(code, said)


def _start(
    command: Command, stdin: Union[IO[bytes], int, None], words: Optional[IO[bytes]] = None
) -> subprocess.Popen[bytes]:
    """Start the tool with pipes on stdout and stderr, unless ``words`` takes both, and on stdin unless it is given."""
    import subprocess  # pylint: disable=ansible-bad-function

    argv = [find_tool(command.argv[0]), *command.argv[1:]]
    descriptors: list[int] = []
    try:
        if command.secret is not None:
            option, descriptors = _hand_over(command.secret)
            argv[1:1] = option
        try:
            child = subprocess.Popen(  # pylint: disable=ansible-bad-function
                argv,
                stdin=subprocess.PIPE if stdin is None else stdin,
                stdout=subprocess.PIPE if words is None else words,
                stderr=subprocess.PIPE if words is None else subprocess.STDOUT,
                bufsize=0,
                env=_environment(command.environment),
                **_identity(command.user),
                pass_fds=(*descriptors, *command.inherited),
                creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # Windows: no console pops up
            )
        except (OSError, ValueError) as error:
            raise ToolError(f"{command.tool} could not be started: {error}", f"check {argv[0]}") from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    return child


def _hand_over(secret: Secret) -> tuple[list[str], list[int]]:
    """The arguments that name the secret, and the descriptors that the child must inherit."""
    if sys.platform == "win32":
        return [secret.file_option, secret.path], []
    if len(secret.value) > LAST_WORDS:  # it must fit into the pipe before anybody reads it
        raise KeyMaterialError(f"the secret in {secret.path} is longer than {LAST_WORDS} bytes")
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(secret.value)
    return [secret.option, str(reader)], [reader]


def _identity(user: Optional[str]) -> dict[str, Any]:
    """What makes a child another user with that user's groups alone."""
    if user is None:
        return {}
    import pwd

    try:
        account = pwd.getpwnam(user)
    except KeyError:
        raise ToolError(f"there is no user {user!r} on this host", "install the database's server package") from None
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": [], "cwd": "/"}


def _environment(extra: Mapping[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(HIDDEN)}
    return {**kept, "LC_ALL": "C", **extra}


def _widen(pipe: Optional[IO[bytes]]) -> bool:
    """Let more bytes wait in a pipe: fewer switches between the processes. Whether there is room for them."""
    if pipe is None or not sys.platform.startswith("linux"):
        return False
    import fcntl

    try:
        fcntl.fcntl(pipe.fileno(), F_SETPIPE_SZ, PIPE_SIZE)
    except OSError:
        return False  # the user's share of pipe memory is used up, or the kernel does not know it
    return True
