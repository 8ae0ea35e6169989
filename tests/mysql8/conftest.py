"""The tests of MySQL 8 build on those of MariaDB (run by scripts/dev/mysql8.sh, which fetches the server)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
