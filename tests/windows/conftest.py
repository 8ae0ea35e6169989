"""The servers that Windows hosts back up are those of the other tests."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("integration", "mysql8")]
