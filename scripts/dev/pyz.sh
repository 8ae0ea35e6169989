#!/usr/bin/env bash
# Builds build/dbfleet.pyz, the command for hosts without Ansible. Does nothing when nothing changed.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

stamp="$BUILD/.stamp-pyz"
want=$(digest plugins/module_utils/dbfleet scripts/build_pyz.py galaxy.yml)
if is_current "$stamp" "$want" && [ -f "$BUILD/dbfleet.pyz" ]; then
  exit 0
fi

say "building build/dbfleet.pyz"
mkdir -p "$BUILD"
python=$(find_python)
"$python" scripts/build_pyz.py
"$python" build/dbfleet.pyz --compile >/dev/null
printf '%s' "$want" >"$stamp"
