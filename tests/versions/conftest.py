"""The tests of other versions build on those of PostgreSQL 15 (run by scripts/dev/versions.sh: it fetches servers)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
