#!/usr/bin/env bash
# ansible-test sanity, on a copy of what git knows: it wants the tree at ansible_collections/NAMESPACE/NAME.
# Arguments are passed on, for example: sanity.sh --test validate-modules
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
need_command git git "ansible-test and this script ask it which files belong to the project"

tree="$BUILD/ansible_collections/dbfleet/recovery"
rm -rf -- "$tree"
mkdir -p "$tree"
git ls-files -z --cached --others --exclude-standard |
  while IFS= read -r -d '' file; do if [ -e "$file" ]; then printf '%s\0' "$file"; fi; done |
  tar --create --null --files-from=- | tar --extract --directory "$tree"

# ansible-test gives pip to its own environments with a script that it downloads. Python carries pip
# already, so a script that uses that one takes its place; in a home of its own, since the user's other
# collections may want the original.
home="${XDG_CACHE_HOME:-$HOME/.cache}/dbfleet-ansible-test"
mkdir -p "$home/.ansible/test/cache" "$home/.config"
for version in $("$VENV/bin/python" - <<'PY'
import pathlib
import re

import ansible_test._internal as internal

source = (pathlib.Path(internal.__file__).parent / "python_requirements.py").read_text()
print(*sorted(set(re.findall(r"'(\d+\.\d+(?:\.\d+)?)'", source))))
PY
); do
  cat >"$home/.ansible/test/cache/get_pip_${version//./_}.py" <<'PY'
import ensurepip

ensurepip.bootstrap(upgrade=True, default_pip=True)
PY
done
for settings in .config/pip .pip .netrc; do
  if [ -e "$HOME/$settings" ] && ! [ -e "$home/$settings" ]; then ln -s -- "$HOME/$settings" "$home/$settings"; fi
done

python=$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
say "ansible-test sanity --python $python (installs what each test needs into $home)"
# What pip tells about each of the small environments is of no interest here.
pip_says='^(Collecting|Processing|Looking in|Using cached|Installing (collected|requirements)|Successfully installed)'
pip_says+='|^(Requirement already|WARNING: Location)|^ +(Downloading|Using cached|Preparing|━)'
cd -- "$tree" || exit
# The tree is inside a git checkout that ignores it: it gets a git of its own, which knows all its files.
git init --quiet
git add --all
PATH="$VENV/bin:$PATH" HOME="$home" \
  "$VENV/bin/ansible-test" sanity --python "$python" --requirements --color no "$@" 2>&1 |
  grep --line-buffered -vE "$pip_says"
