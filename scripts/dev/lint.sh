#!/usr/bin/env bash
# Style: Python (ruff), YAML (yamllint), Ansible content (ansible-lint, production profile), shell (shellcheck).
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
"$ROOT/scripts/dev/collection.sh"
"$ROOT/scripts/dev/bundled_collections.sh"
need_command git git "to know which files belong to the project"
PATH="$VENV/bin:$PATH"

say "ruff check"
ruff check --output-format concise .
say "ruff format --check"
ruff format --check .
say "every test can be collected"
for folder in tests/*/; do
  compgen -G "$folder"'test_*.py' >/dev/null || continue
  said=$(python -m pytest "$folder" --collect-only --quiet 2>&1) || die "$said"
done
say "yamllint"
yamllint --strict .
say "ansible-lint (production)"
ansible-lint --strict
say "shellcheck"
mapfile -d '' -t tracked < <(git ls-files -z --cached --others --exclude-standard)
scripts=()
for file in "${tracked[@]}"; do
  [ -f "$file" ] || continue
  case $file in
    *.sh) scripts+=("$file") ;;
    *.*/* | */*.* | *.*)
      if [ "$file" = .ci/run ]; then scripts+=("$file"); fi
      ;;
    *) if head -c 64 -- "$file" | head -n 1 | grep -qaE '^#!.*\b(ba)?sh\b'; then scripts+=("$file"); fi ;;
  esac
done
shellcheck "${scripts[@]}"
say "changelog fragments"
antsibull-changelog lint
