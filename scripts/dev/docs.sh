#!/usr/bin/env bash
# Renders the reference of every module and role into build/docs, as a user would read it. A page that does not
# render is an error. scripts/build_docs.py, where it exists, writes the pages under docs/ first.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" run
if [ -f scripts/build_docs.py ]; then
  "$VENV/bin/python" scripts/build_docs.py
fi
"$ROOT/scripts/dev/collection.sh"
rm -rf -- "$BUILD/docs"
mkdir -p "$BUILD/docs"
count=0
for type in module role filter lookup inventory callback; do
  while read -r name _; do
    case $name in dbfleet.recovery.*) ;; *) continue ;; esac
    "$VENV/bin/ansible-doc" --type "$type" "$name" >"$BUILD/docs/${name##*.}_$type.txt"
    count=$((count + 1))
  done < <("$VENV/bin/ansible-doc" --type "$type" --list dbfleet.recovery 2>/dev/null)
done
say "$count pages in build/docs"
