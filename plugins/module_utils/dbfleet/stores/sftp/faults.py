"""What a server's refusal means for the people who read it.

SFTP version 3 has few words: a full disk, a quota and a name that is taken are all "Failure".
"""

from __future__ import annotations

from ...errors import AppendOnlyError, CapacityError, DbfleetError, NotFoundError, RepositoryError
from .packets import FAILURE, NO_SUCH_FILE, PERMISSION_DENIED, UNSUPPORTED, StatusError
from .protocol import Protocol

FULL = 1024 * 1024  # bytes: with less than that free, a failed write is taken for a full disk

DONE = {"read": "read", "write": "written", "remove": "removed", "lock": "locked"}
APPEND_ONLY = "an append-only account is meant to refuse this: let an account that may remove prune this repository"


def fault(protocol: Protocol, error: StatusError, path: str, verb: str) -> DbfleetError:
    """The error of a request that was to read, write, remove or lock ``path``."""
    message = f"{path} on {protocol.where} cannot be {DONE[verb]}"
    if error.code == PERMISSION_DENIED and verb == "remove":
        return AppendOnlyError(f"{message}: the server does not permit it", APPEND_ONLY)
    if error.code == PERMISSION_DENIED:
        return RepositoryError(f"{message}: permission denied", f"give the account the permission to {verb} there")
    if error.code == NO_SUCH_FILE:
        return NotFoundError(f"{path} on {protocol.where} does not exist", "list the repository to see what is there")
    if error.code == FAILURE and verb in ("write", "lock") and _is_full(protocol, path):
        return CapacityError(
            f"{message}: no space is left there", "free some room: shorten the retention and prune, or enlarge it"
        )
    reason = "the server cannot do this" if error.code == UNSUPPORTED else error.words or f"status {error.code}"
    return RepositoryError(f"{message}: {reason}", "the server says no more: check its disk, its quota and its log")


def _is_full(protocol: Protocol, path: str) -> bool:
    while True:
        try:
            room = protocol.room(path)
            return room is not None and (room.free < FULL or room.files == 0)
        except StatusError:
            parent = path.rpartition("/")[0]
            if not parent or parent == path:
                return False  # not told, or nothing to look at
            path = parent
