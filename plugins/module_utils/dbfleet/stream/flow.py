"""How bytes go on: stages that hand chunks to the next one, and the threads between them.

Storing and reading use the same stages. Every queue is bounded, so memory does not grow with
the data; an error in any thread comes out at the next call in the thread that began the flow;
:meth:`Stage.abort` wakes everybody who waits.
"""

from __future__ import annotations

import abc
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Callable, Optional, Union

from ..errors import ToolError
from .process import CHUNK, Command, Filter

QUEUE = 4  # chunks that wait between two threads
PATIENCE = 5.0  # seconds that an abort waits for a thread that is busy elsewhere


class Abandoned(Exception):
    """Nobody wants the bytes any more. Never leaves this package."""


class Channel:
    """A bounded queue of chunks between two threads."""

    def __init__(self, limit: int = QUEUE) -> None:
        self._limit = limit
        self._chunks: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False
        self._failure: Optional[BaseException] = None

    def put(self, data: bytes) -> None:
        """Add a chunk; waits while the queue is full. Raises ``Abandoned`` once it was stopped."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._chunks) < self._limit or self._stopped)
            if self._stopped:
                raise Abandoned
            self._chunks.append(data)
            self._changed.notify_all()

    def end(self, failure: Optional[BaseException] = None) -> None:
        """No more chunks come; ``failure`` is raised to the reader after the last one."""
        with self._changed:
            self._ended, self._failure = True, failure
            self._changed.notify_all()

    def stop(self) -> None:
        """Drop everything and wake both sides."""
        with self._changed:
            self._stopped = True
            self._chunks.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or self._ended or self._stopped)
                if self._stopped:
                    raise Abandoned
                if not self._chunks:
                    if self._failure is not None:
                        raise self._failure
                    return
                data = self._chunks.popleft()
                self._changed.notify_all()
            yield data


class Worker:
    """Hands chunks to ``handle``, in order, in a thread of its own."""

    def __init__(self, handle: Callable[[bytes], None], name: str) -> None:
        self._channel = Channel()
        self._failure: Optional[BaseException] = None
        # The thread alone knows the handler, and forgets it at its end: no cycle keeps a codec's memory.
        self._thread = threading.Thread(target=self._work, args=(handle,), name=name, daemon=True)
        self._thread.start()

    def put(self, data: bytes) -> None:
        """Give the next chunk. Raises what ``handle`` raised for an earlier one."""
        try:
            self._channel.put(data)
        except Abandoned:
            if self._failure is not None:
                raise self._failure from None
            raise

    def finish(self) -> None:
        """Wait until every chunk was handled. Raises what ``handle`` raised."""
        self._channel.end()
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def abort(self) -> None:
        """Handle no more chunks. Never raises."""
        self._channel.stop()
        self._thread.join(PATIENCE)

    def _work(self, handle: Callable[[bytes], None]) -> None:
        try:
            for data in self._channel:
                handle(data)
        except BaseException as error:  # raised again in the thread that puts
            self._failure = error
            self._channel.stop()


class Stage(abc.ABC):
    """Takes chunks and hands what it makes of them to the next stage."""

    @abc.abstractmethod
    def write(self, data: bytes) -> None:
        """Take the next chunk."""

    @abc.abstractmethod
    def close(self) -> None:
        """All bytes were written: finish this stage and then the following ones. Raises if one failed."""

    @abc.abstractmethod
    def abort(self) -> None:
        """End this stage and the following ones now; no child, no thread stays. Never raises."""


class Codec(abc.ABC):
    """A transformation in this process; yields pieces of bounded size."""

    @abc.abstractmethod
    def feed(self, data: bytes) -> Iterable[bytes]:
        """What ``data`` becomes."""

    @abc.abstractmethod
    def finish(self) -> Iterable[bytes]:
        """What is left at the end. Raises ``DamagedError`` when the end is missing."""


class FilterStage(Stage):
    """A tool: a thread drains its stdout into ``following``.

    Two tools are not joined by a pipe of the operating system: what each one wrote is counted
    here, because a tool that exits 0 and wrote nothing must not be taken for a success, and the
    next one would turn that nothing into bytes.
    """

    def __init__(self, command: Command, following: Stage) -> None:
        self._following = following
        self._filter = Filter(command)
        self._passed = 0
        self._failure: Optional[BaseException] = None
        self._drainer = threading.Thread(target=self._drain, name=f"{command.tool}-stdout", daemon=True)
        self._drainer.start()

    def write(self, data: bytes) -> None:
        """Feed the tool. Raises its error, or the following stage's, when it has ended early."""
        try:
            self._filter.write(data)
        except OSError:
            self._settle()
            raise ToolError(f"{self._filter.command.tool} stopped reading before the end of its input") from None

    def close(self) -> None:
        """Wait for the tool's end and judge it."""
        self._settle()
        self._filter.close()
        if self._passed == 0:
            raise ToolError(
                f"{self._filter.command.tool} ended without an error but wrote nothing",
                f"check the command {self._filter.command.argv[0]} on this host",
            )
        self._following.close()

    def abort(self) -> None:
        """Kill the tool, then end what follows."""
        self._filter.kill()
        self._following.abort()
        self._drainer.join(PATIENCE)
        self._filter.close()

    def _settle(self) -> None:
        self._filter.close_input()
        self._drainer.join()
        if self._failure is not None:
            raise self._failure
        self._filter.wait()

    def _drain(self) -> None:
        try:
            while True:
                data = self._filter.read(CHUNK)
                if not data:
                    return
                self._passed += len(data)
                self._following.write(data)
        except BaseException as error:  # raised again by _settle() in the thread that writes
            self._failure = error
            self._filter.kill()


class CodecStage(Stage):
    """A codec, in a thread of its own: reading and writing go on beside it."""

    def __init__(self, codec: Codec, following: Stage) -> None:
        self._codec = codec
        self._following = following
        self._worker = Worker(self._turn, "codec")

    def write(self, data: bytes) -> None:
        """Give the codec a chunk."""
        self._worker.put(data)

    def close(self) -> None:
        """Wait for the codec, and hand on what is left in it."""
        self._worker.finish()
        for piece in self._codec.finish():
            self._following.write(piece)
        self._following.close()

    def abort(self) -> None:
        """End what follows, then the thread that may have waited for it."""
        self._following.abort()
        self._worker.abort()

    def _turn(self, data: bytes) -> None:
        for piece in self._codec.feed(data):
            self._following.write(piece)


class ChannelStage(Stage):
    """The end of a flow that another thread reads."""

    def __init__(self) -> None:
        self.channel = Channel()

    def write(self, data: bytes) -> None:
        """Queue a chunk."""
        self.channel.put(data)

    def close(self) -> None:
        """Nothing to finish: whoever began the flow ends the channel, with or without a failure."""

    def abort(self) -> None:
        """Wake the reader."""
        self.channel.stop()


Step = Union[Command, Codec]


def join(steps: Sequence[Step], last: Stage) -> Stage:
    """The first stage of ``steps`` one after the other, and then ``last``.

    Raises ``ToolError`` when a tool cannot be started; those that were, and ``last``, are ended.
    """
    stage = last
    try:
        for step in reversed(steps):
            stage = FilterStage(step, stage) if isinstance(step, Command) else CodecStage(step, stage)
    except BaseException:
        stage.abort()
        raise
    return stage
