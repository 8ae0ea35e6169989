"""Repositories with many backups, and the start of the command."""

import shlex
import subprocess
import sys

from contest import HERE, Bench, Contestant, dbfleet


def measure(bench: Bench, counts: tuple[int, ...] = (10_000, 100_000)) -> None:
    """Listing and planning in repositories with many backups."""
    for count in (count for count in counts if bench.wants(f"a repository of {count} backups")):
        folder = bench.scratch / f"repository{count}"
        if not folder.exists():
            subprocess.run([sys.executable, HERE / "repository.py", folder, str(count)], check=True)
        bench.group(
            f"a repository of {count} backups",
            Contestant("dbfleet list", dbfleet("list", f"--repository {folder} --name app")),
            Contestant("dbfleet prune --dry-run", dbfleet("prune", f"--dry-run --repository {folder} --name app")),
        )
    (bench.scratch / "empty").mkdir(exist_ok=True)
    bench.group(
        "start-up",
        Contestant("dbfleet --version", dbfleet("--version", "")),
        Contestant("dbfleet list of an empty repository", dbfleet("list", "--repository empty --name app")),
        Contestant("python3 -c pass", f"{shlex.quote(sys.executable)} -c pass"),
    )
