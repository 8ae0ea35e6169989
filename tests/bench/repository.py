"""A repository with many backups, for timing the catalog: manifests of the usual size, tiny artifacts.

Usage: repository.py FOLDER COUNT
"""

import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "plugins" / "module_utils"))

from dbfleet import manifests, names  # noqa: E402
from dbfleet.model import Artifact, Manifest, Proof, SourceIdentity, TableProof  # noqa: E402

TABLES = ("prompts", "pipelines", "pipeline_steps", "executions", "attachments", "prompt_history")


def make(folder: Path, count: int) -> None:
    """Write ``count`` backups, one an hour, the newest one an hour old."""
    folder.mkdir(parents=True)
    newest = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=1)
    previous = None
    for number in range(count):
        moment = newest - timedelta(hours=count - 1 - number)
        identity = names.backup_id("app", moment)
        artifacts = []
        for role in ("db", "sql"):
            file = f"{identity}.{role}.zst"
            (folder / file).write_bytes(b"x")
            artifacts.append(Artifact(file, role, 1, "0" * 64, 4096, "0" * 64, "zstd"))
        manifest = Manifest(
            id=identity,
            name="app",
            engine="sqlite",
            method="logical",
            type="full",
            source=SourceIdentity("host", "/var/lib/app/app.db", "3.40.1", "0" * 32),
            started_at=moment,
            consistent_at=moment,
            finished_at=moment + timedelta(seconds=3),
            artifacts=tuple(artifacts),
            proof=Proof("rows", {table: TableProof(1000) for table in TABLES}, "0" * 64),
            tools={"dbfleet": "0.1.0", "sqlite": "3.40.1"},
            restore_with=tuple(f"zstd -dc {artifact.file} > restored.{artifact.role}" for artifact in artifacts),
            previous=previous,
            notes=("WAL mode: read beside the writers, none of them waited",),
        )
        manifest = manifests.seal(replace(manifest))
        previous = manifest.digest
        (folder / names.manifest_file(identity)).write_bytes(manifests.encode(manifest))


if __name__ == "__main__":
    make(Path(sys.argv[1]), int(sys.argv[2]))
