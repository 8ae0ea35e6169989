"""The test builds on those of PostgreSQL 15 (run by scripts/dev/regression.sh: it fetches PostgreSQL's own suite)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
