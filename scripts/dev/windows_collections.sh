#!/usr/bin/env bash
# Puts the collections for Windows hosts, which the roles use there, into .venv/collections.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" run
stamp="$VENV/.stamp-windows-collections"
want="$VENV $(digest requirements/windows-collections.txt)"
if is_current "$stamp" "$want" && [ -d "$COLLECTIONS/ansible_collections/community/windows" ]; then
  exit 0
fi

need_command unzip unzip "takes the collections out of their bundle"
say "fetching ansible.windows and community.windows (pip, 54 MB): requirements/windows-collections.txt"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$VENV/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
  -d "$work" -r requirements/windows-collections.txt
rm -rf "$COLLECTIONS"/ansible_collections/{ansible,community}/windows
mkdir -p "$COLLECTIONS"
unzip -qo "$work"/*.whl 'ansible_collections/ansible/windows/*' 'ansible_collections/community/windows/*' -d "$COLLECTIONS"
printf '%s' "$want" >"$stamp"
