"""The tests of the virtual machine build on those of SQLite (run by scripts/dev/machine.sh, which makes its disk)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
