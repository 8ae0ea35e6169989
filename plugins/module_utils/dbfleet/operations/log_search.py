"""``log-archive find``: which transaction it was, so that a restore can end just before it."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any, Optional

from ..databases.log_formats import log_format_of
from ..databases.logs import Found, LogFormat, Wanted
from ..errors import UsageError
from ..log_catalog import LogShelf
from ..model import Job
from ..scratch import scratch_folder
from ..units import to_text
from .log_files import choose_shelf, engine_of, write_file
from .lookup import open_repository

MOST = 1000  # transactions that are told: those who find more must ask for less


def find(
    job: Job, wanted: Wanted, *, since: Optional[datetime] = None, until: Optional[datetime] = None
) -> dict[str, Any]:
    """``{"found": […], "more": …}``: the transactions in the log archive that are ``wanted``, the oldest first.

    At most :data:`MOST`, the newest ones; ``more`` are those before them. Raises ``UsageError`` where nothing is
    asked for or the engine's log cannot tell, ``DamagedError`` for a file of the log that is.
    """
    if not wanted.kinds and wanted.table is None and wanted.text is None:
        raise UsageError("nothing is looked for", "give --kind, --table or --text")
    form = log_format_of(engine_of(job))
    store = open_repository(job)
    shelf = choose_shelf(job, store, form)
    found: list[Found] = []
    count = 0
    with scratch_folder() as folder:
        for name in _files(form, shelf, since, until):
            path = os.path.join(folder, "log")
            write_file(job, shelf, name, path)
            for one in form.search(name, path, wanted):
                if (since is None or one.moment >= since) and (until is None or one.moment <= until):
                    found.append(one)
                    count += 1
            found = found[-MOST:]
            os.remove(path)
    return {"found": [_to_json(one) for one in found], "more": count - len(found)}


def _files(form: LogFormat, shelf: LogShelf, since: Optional[datetime], until: Optional[datetime]) -> list[str]:
    """The files that may hold something of that time, the oldest first."""
    names = [name for name in {*shelf.names(), *shelf.unfinished()} if form.kind(name) == "segment"]
    kept = []
    for name in sorted(names, key=form.sort_key):
        record = shelf.record(name)
        early = since is not None and record.last_time is not None and record.last_time < since
        late = until is not None and record.first_time is not None and record.first_time > until
        if not (early or late):
            kept.append(name)
    return kept


def _to_json(one: Found) -> dict[str, Any]:
    return {
        "position": one.position,
        "transaction": one.transaction,
        "time": to_text(one.moment),
        "changes": list(one.changes),
        "statements": list(one.statements),
    }
