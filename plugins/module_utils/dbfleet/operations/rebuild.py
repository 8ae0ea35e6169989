"""Building a backup's database from its chain: what restore and verify have in common."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Optional

from ..catalog import Catalog
from ..chain import resolve
from ..databases.base import Database, Restoration
from ..databases.registry import kind_of, open_database
from ..errors import DamagedError, UsageError
from ..model import Artifact, Finding, Job, Manifest, Source
from ..progress import Progress
from ..proof import compare
from ..stores.base import Store
from ..stream.pipeline import read_artifact
from ..stream.throttle import Throttle


def database_for(source: Source, manifest: Manifest) -> Database:
    """The database at ``source``, which must be of the backup's kind."""
    database = open_database(source, manifest.method)
    if database.engine != manifest.engine:
        raise UsageError(
            f"{manifest.id} is a backup of {manifest.engine}, the target is {database.engine}",
            f"name a {manifest.engine} target with --to",
        )
    return database


def scratch_database(job: Job, manifest: Manifest) -> Database:
    """A database of the backup's kind that is only used for trials."""
    proof = job.proof
    place = Source(proof.scratch_url, proof.scratch_password_file) if proof.scratch_url else None
    return kind_of(manifest).scratch(place, job.source.tools if job.source else None)


def parts(catalog: Catalog, manifest: Manifest) -> list[Artifact]:
    """The artifacts that a whole restore needs, in the order in which they are applied."""
    return [one for link in resolve(catalog.manifests, manifest.id) for one in _best(link)]


def _best(manifest: Manifest) -> list[Artifact]:
    forms = kind_of(manifest).forms(manifest.artifacts)
    if not forms:
        raise DamagedError(f"{manifest.id} has no artifact that a restore could use", "choose another backup")
    return forms[0]


def fill(
    restoration: Restoration,
    artifacts: Sequence[Artifact],
    job: Job,
    store: Store,
    progress: Progress,
    throttle: Optional[Throttle] = None,
) -> None:
    """Give ``restoration`` the raw bytes of ``artifacts``, checked as they pass."""
    throttle = throttle or Throttle(job.limits.bandwidth)
    for artifact in artifacts:
        progress.step(f"restoring {artifact.file}")
        progress.expect(artifact.raw_size_bytes)
        with read_artifact(store, artifact, job.encryption, throttle=throttle, progress=progress) as chunks:
            restoration.receive(artifact, chunks)
            for _chunk in chunks:  # the digests are compared at the end, which the database may not have needed
                pass


def problems(restoration: Restoration, manifest: Manifest, *, thorough: bool = False) -> list[Finding]:
    """What is wrong with the database that was built, measured against the manifest's proof."""
    expected = restoration.scope(manifest.proof)
    with ThreadPoolExecutor(max_workers=1) as pool:  # both read every page: side by side
        measuring = pool.submit(restoration.prove, expected)
        damage = restoration.check(thorough=thorough)
        if damage:
            return [Finding(manifest.id, line, "restore another backup") for line in damage]
        return compare(expected, measuring.result())
