"""Which log a job's backups need to be brought forward: what prune keeps, and sync copies."""

from __future__ import annotations

from collections.abc import Collection

from ..databases.logs import LogFormat
from ..log_catalog import LogShelf
from ..model import Manifest


def usable(form: LogFormat, backup: Manifest) -> bool:
    """Whether the log can be applied to what the backup restores."""
    return backup.engine == form.engine and form.fits(backup)


def needless(form: LogFormat, shelf: LogShelf, backups: Collection[Manifest]) -> set[str]:
    """Names of the log files on ``shelf`` that none of ``backups``, all that a repository has of the job, needs.

    None where no usable backup of the shelf's server is among them, unless the newest one is of another server.
    """
    everything = {*shelf.names(), *shelf.unfinished()}
    newest = max((one for one in backups if one.source.server_identity), key=lambda one: one.id[-15:], default=None)
    theirs = [one for one in backups if one.source.server_identity == shelf.lineage]
    if not theirs:
        return everything if newest is not None else set()
    positions = [one.position for one in theirs if usable(form, one)]
    if not positions:
        return set()
    last = max((name for name in everything if form.kind(name) == "segment"), key=form.sort_key, default=None)
    return {name for name in everything if name != last and not form.is_needed(shelf, name, positions)}
