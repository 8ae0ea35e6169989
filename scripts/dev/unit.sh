#!/usr/bin/env bash
# Unit tests. Arguments are passed on to pytest.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
say "pytest tests/unit"
exec "$VENV/bin/python" -m pytest tests/unit -n "${PYTEST_WORKERS:-auto}" "$@"
