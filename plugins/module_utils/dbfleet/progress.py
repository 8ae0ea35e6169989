"""What a long operation tells those who wait: which step, how many bytes of how many."""

from __future__ import annotations

from typing import Optional, Protocol


class Progress(Protocol):
    """Told of every step of an operation; may be called from several threads."""

    def step(self, text: str) -> None:
        """A new step begins, such as ``storing promptpilot_backup_20250823_103000.db.zst``."""

    def expect(self, total_bytes: Optional[int]) -> None:
        """How many more raw bytes are known to come; ``None`` when it cannot be said."""

    def advance(self, count: int) -> None:
        """``count`` more raw bytes have passed."""


class Silence:
    """A :class:`Progress` that says nothing."""

    def step(self, text: str) -> None:
        """Ignore the step."""

    def expect(self, total_bytes: Optional[int]) -> None:
        """Ignore the expectation."""

    def advance(self, count: int) -> None:
        """Ignore the bytes."""


SILENCE = Silence()
