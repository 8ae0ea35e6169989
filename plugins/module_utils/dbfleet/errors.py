"""The one exception tree: what failed, on which object, and what to do next.

Only a door (a module's ``main`` or the command) turns one of these into an exit;
everything below raises. ``kind`` is the stable word of the JSON output, ``exit_code``
the command's exit status (architecture, chapter 4).
"""

from __future__ import annotations


class DbfleetError(Exception):
    """Anything this project refuses or fails to do.

    ``message`` names the object and what happened to it in one line; ``remedy`` is the
    next step of the person who reads it.
    """

    kind = "failed"
    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = one_line(message)
        self.remedy = one_line(remedy)

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message

    def to_json(self) -> dict[str, str]:
        """``{"kind", "message", "remedy"}``, as ``--json`` prints it."""
        return {"kind": self.kind, "message": self.message, "remedy": self.remedy}


class UsageError(DbfleetError):
    """The request itself is wrong: an unknown key, an impossible value, a missing option."""

    kind = "usage"
    exit_code = 2


class NotFoundError(DbfleetError):
    """The source, the repository, the backup or the table that was named does not exist."""

    kind = "not_found"


class SourceError(DbfleetError):
    """The source cannot be read, is damaged, or is not what its URL says."""

    kind = "source"


class BusyError(DbfleetError):
    """Somebody else holds a lock that this operation needs."""

    kind = "busy"


class RepositoryError(DbfleetError):
    """The store refused or failed: missing, not writable, connection lost."""

    kind = "repository"


class CapacityError(RepositoryError):
    """There is not enough room, or writing would leave less than ``limits.min_free``."""

    kind = "capacity"


class AppendOnlyError(RepositoryError):
    """The store lets this account add, but not remove: what is there stays."""

    kind = "append_only"


class ToolError(DbfleetError):
    """An external tool is missing, too old, failed, or wrote nothing."""

    kind = "tool"


class KeyMaterialError(DbfleetError):
    """A passphrase, identity or recipient is missing or does not fit."""

    kind = "key"


class DamagedError(DbfleetError):
    """Stored bytes are not the bytes that were written."""

    kind = "damaged"


class ProofError(DbfleetError):
    """Two things that must be equal are not: a dump and its source, a restore and its backup."""

    kind = "proof"


class RefusedError(DbfleetError):
    """The request is clear, but doing it would destroy or overwrite something good."""

    kind = "refused"


class TimeoutExceededError(DbfleetError):
    """``limits.timeout`` has passed."""

    kind = "timeout"


def one_line(text: str) -> str:
    """``text`` on one line, control characters written as escapes, so that a name cannot forge output."""
    text = text.strip()
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char == " " else char.encode("unicode_escape").decode("ascii") for char in text
    )
