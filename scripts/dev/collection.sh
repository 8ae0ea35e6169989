#!/usr/bin/env bash
# Builds the collection into build/ and installs it into .venv/collections. Does nothing when nothing changed.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" run

shopt -s nullglob
stamp="$VENV/.stamp-collection"
sources=(galaxy.yml COPYING README.md CHANGELOG.* meta changelogs docs plugins roles playbooks scripts)
want="$VENV $(digest "${sources[@]}")"
if is_current "$stamp" "$want" && [ -f "$COLLECTIONS/ansible_collections/dbfleet/recovery/MANIFEST.json" ]; then
  exit 0
fi

mkdir -p "$BUILD"
rm -f "$BUILD"/dbfleet-recovery-*.tar.gz "$stamp"
say "building the collection and installing it into .venv/collections"
"$VENV/bin/ansible-galaxy" collection build --force --output-path "$BUILD" >/dev/null
archives=("$BUILD"/dbfleet-recovery-*.tar.gz)
"$VENV/bin/ansible-galaxy" collection install "${archives[0]}" -p "$COLLECTIONS" --force --offline >/dev/null
# Ansible also looks for collections where Python looks for modules: so .venv/bin/ansible-playbook finds
# this one without any setting.
site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
printf '%s\n' "$COLLECTIONS" >"$site/dbfleet-collections.pth"
printf '%s' "$want" >"$stamp"
