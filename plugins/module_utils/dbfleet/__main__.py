"""``python3 -m dbfleet``."""

from __future__ import annotations

if __name__ == "__main__":
    from dbfleet.cli import main

    raise SystemExit(main())
