"""Line ends of text on Windows, where a tool's C runtime puts a CR before every LF that the tool writes.

It takes one away again from what the tool reads. Both is undone, so that an artifact has the same bytes wherever it
was made, and restores to the same database. A runtime in binary mode is told by the first line of its output, which
dump tools write themselves.
"""

from __future__ import annotations

from typing import Optional


class LineEnds:
    """Takes chunks at :meth:`feed`, and gives them back as they were meant; :meth:`rest` is what comes last."""

    def __init__(self) -> None:
        self._translated: Optional[bool] = None  # not known before the first line's end
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What can be told of ``data`` so far."""
        if self._translated is False:
            return data
        data = self._held + data
        self._held = b""
        if self._translated is None:
            end = data.find(b"\n")
            if end < 0:
                self._held = data
                return b""
            self._translated = data[end - 1 : end] == b"\r" if end else False
            if not self._translated:
                return data
        if data.endswith(b"\r"):
            self._held, data = b"\r", data[:-1]
        return data.replace(b"\r\n", b"\n")

    def rest(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return held


def to_text_mode(data: bytes) -> bytes:
    """What a tool must be given that is to read ``data``."""
    return data.replace(b"\n", b"\r\n")
