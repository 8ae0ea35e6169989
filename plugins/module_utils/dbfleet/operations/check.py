"""``check``: is a job file a job that this command could run? Connects to nothing."""

from __future__ import annotations

from ..config import Layer, check_for_backup, job_from_layer
from ..databases.registry import open_database
from .backup import check_fits
from .lookup import open_repository


def check(layer: Layer) -> None:
    """Raise ``UsageError`` for what no backup could be made of."""
    job = job_from_layer(layer)
    database = open_database(check_for_backup(job), job.method)
    check_fits(job, database)
    open_repository(job)
