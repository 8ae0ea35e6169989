#!/usr/bin/env bash
# Puts collections of others into .venv/collections: those that the roles use on Windows hosts, and those with which
# benchmarks compare.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" run
wanted=(ansible/windows community/windows community/mysql community/postgresql)
stamp="$VENV/.stamp-bundle"
want="$VENV ${wanted[*]} $(digest requirements/bundle.txt)"
if is_current "$stamp" "$want" && [ -d "$COLLECTIONS/ansible_collections/community/windows" ]; then
  exit 0
fi

need_command unzip unzip "takes the collections out of their bundle"
say "fetching ${wanted[*]} (pip, 54 MB): requirements/bundle.txt"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$VENV/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
  -d "$work" -r requirements/bundle.txt
mkdir -p "$COLLECTIONS"
patterns=()
for one in "${wanted[@]}"; do
  rm -rf "$COLLECTIONS/ansible_collections/${one:?}"
  patterns+=("ansible_collections/$one/*")
done
unzip -qo "$work"/*.whl "${patterns[@]}" -d "$COLLECTIONS"
printf '%s' "$want" >"$stamp"
