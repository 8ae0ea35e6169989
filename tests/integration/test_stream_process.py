"""Promise 2 and 5 where processes start: every exit code counts, no secret shows, no child stays."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from isolation import shared_servers, tools_left

from dbfleet.errors import DamagedError, ToolError
from dbfleet.stream import process
from dbfleet.stream.process import Command, Secret, run

__all__ = ["shared_servers"]


def test_run_gives_answers_and_judges() -> None:
    echo = Command((sys.executable, "-c", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read())"))
    assert run(echo, stdin=b"data").stdout == b"data"
    assert run(echo, stdin=(b"x" * 100_000 for _chunk in range(100))).stdout == b"x" * 10_000_000
    pieces: list[bytes] = []
    assert run(echo, stdin=b"data", sink=pieces.append).stdout == b""
    assert b"".join(pieces) == b"data"
    with tempfile.TemporaryFile() as file:
        file.write(b"from a file")
        file.seek(0)
        assert run(echo, stdin=file).stdout == b"from a file"


def python(script: str) -> Command:
    return Command((sys.executable, "-c", script))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pipes of other systems are too small to wait for")
def test_small_writes_are_read_many_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "PAUSE", 0.2)
    pieces: list[bytes] = []
    script = (
        "import os, time\nfor number in range(400):\n    os.write(1, b'%04d' % number * 1000)\n    time.sleep(0.001)"
    )
    run(python(script), sink=pieces.append)
    assert b"".join(pieces) == b"".join(b"%04d" % number * 1000 for number in range(400))
    assert len(pieces) < 100


def test_run_keeps_only_the_last_words_of_a_talkative_tool() -> None:
    with pytest.raises(ToolError) as caught:
        run(python("import sys\nsys.stderr.write('noise\\n' * 500000 + 'the reason')\nsys.exit(7)"))
    assert "the reason" in caught.value.message
    assert "exit status 7" in caught.value.message
    assert len(caught.value.message) < 700


def test_run_ends_a_tool_that_takes_too_long() -> None:
    begin = time.monotonic()
    with pytest.raises(ToolError, match="within 0.2 seconds"):
        run(python("import time\ntime.sleep(30)"), timeout=0.2)
    assert time.monotonic() - begin < 5
    assert tools_left() == []


def test_run_tells_the_error_of_the_chunks_and_not_its_consequence() -> None:
    def chunks() -> Iterator[bytes]:
        yield b"good"
        raise DamagedError("the artifact is damaged")

    with pytest.raises(DamagedError):
        run(python("import sys\nsys.stdin.read()"), stdin=chunks())
    with pytest.raises(ToolError, match="stopped reading"):
        run(python("pass"), stdin=(b"x" * 2**20 for _chunk in range(20)))
    with pytest.raises(ToolError, match="exit status 5"):
        run(python("import sys\nsys.exit(5)"), stdin=(b"x" * 2**20 for _chunk in range(20)))
    assert tools_left() == []


def test_a_secret_reaches_the_tool_by_a_descriptor(tmp_path: Path) -> None:
    teller = tmp_path / "teller"
    script = "import os, sys\nprint(sys.argv[1], os.read(int(sys.argv[2]), 100).decode())"
    teller.write_text(f"#!{sys.executable}\n{script}")
    teller.chmod(0o755)
    command = Command((str(teller),), secret=Secret(b"hunter2", "--fd", "--file", "/p"))
    assert "hunter2" not in repr(command)
    assert run(command).stdout == b"--fd hunter2\n"
    before = len(os.listdir("/proc/self/fd"))
    run(command)
    assert len(os.listdir("/proc/self/fd")) == before


# --- tools that leave a server behind ---------------------------------------------------------

LEAVES = "import subprocess, sys; subprocess.Popen(['sleep', '30']); print('said'); sys.exit(%d)"


def test_a_server_that_holds_what_its_tool_wrote_to_is_not_waited_for() -> None:
    began = time.monotonic()
    with tempfile.TemporaryFile() as words:
        process.launch(python(LEAVES % 0), words, timeout=20)
        words.seek(0)
        assert words.read() == b"said\n"
    with tempfile.TemporaryFile() as words, pytest.raises(ToolError, match="exit status 3: said"):
        process.launch(python(LEAVES % 3), words, timeout=20)
    with tempfile.TemporaryFile() as words, pytest.raises(ToolError, match="did not end within 0.5 seconds"):
        process.launch(python("import time; time.sleep(60)"), words, timeout=0.5)
    assert time.monotonic() - began < 20


def test_a_tool_that_starts_a_server_ends_with_us(monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[int] = []
    start = process._start

    def started(*arguments: object) -> object:
        child = start(*arguments)  # type: ignore[arg-type]
        children.append(child.pid)
        real = child.wait

        def wait(timeout: float | None = None) -> int:
            if timeout is not None:
                raise KeyboardInterrupt
            return real()

        child.wait = wait  # type: ignore[method-assign]
        return child

    monkeypatch.setattr(process, "_start", started)
    with tempfile.TemporaryFile() as words, pytest.raises(KeyboardInterrupt):
        process.launch(python("import time; time.sleep(60)"), words, timeout=20)
    with pytest.raises(ProcessLookupError):
        os.kill(children[0], 0)
