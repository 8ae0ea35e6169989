"""Side by side with what people do by hand and with a peer, in one run: `make bench`.

Usage: run.py [--gib N] [--runs N] [--only NAME …] [--scratch DIR] [--markdown FILE]

How it is measured: contest.py. What is not installed is left out, and said.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import cluster_contests
import mysql_contests
import postgresql_contests
import repository_contests
import sqlite_contests
from contest import Bench, markdown


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the tables to this file")
    asked = parser.parse_args()
    scratch = asked.scratch or Path(tempfile.mkdtemp(prefix="dbfleet-bench-", dir="/var/tmp"))
    scratch.mkdir(exist_ok=True)
    try:
        bench = Bench(scratch.resolve(), asked.gib, asked.runs, asked.only)
        for contests in (sqlite_contests, postgresql_contests, cluster_contests, mysql_contests, repository_contests):
            contests.measure(bench)
        tables = markdown(bench)
        print(tables)
        if asked.markdown:
            asked.markdown.write_text(tables)
        if missed := [word for word in asked.only if not any(word in title for title in bench.groups)]:
            parser.exit(1, f"nothing was measured for {', '.join(missed)}: docs/benchmarks.md has what to ask for\n")
    finally:
        if asked.scratch is None:
            shutil.rmtree(scratch)


if __name__ == "__main__":
    main()
