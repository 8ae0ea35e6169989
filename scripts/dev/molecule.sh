#!/usr/bin/env bash
# Molecule: every scenario, or those named. Usage: molecule.sh [SCENARIO...], or for one step of one scenario:
# molecule.sh converge|verify|idempotence|login|destroy… -s SCENARIO
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
"$ROOT/scripts/dev/collection.sh"
need_command ssh openssh-client "Ansible reaches the test hosts as it reaches real ones"

export CONTAINERS_CONF="${CONTAINERS_CONF:-$ROOT/.config/podman/containers.conf}"
export MOLECULE_GLOB='molecule/*/molecule.yml'
export PATH="$VENV/bin:$PATH" PY_COLORS=0
"$ROOT/scripts/dev/molecule_image.sh"

case ${1:-} in
  create | prepare | converge | idempotence | side-effect | verify | cleanup | destroy | login | list | syntax | reset)
    exec molecule "$@"
    ;;
esac
if [ $# -eq 0 ]; then
  shopt -s nullglob
  for scenario in molecule/*/molecule.yml; do
    scenario=${scenario#molecule/}
    set -- "$@" "${scenario%/molecule.yml}"
  done
fi
for scenario in "$@"; do
  say "molecule test --scenario-name $scenario"
  molecule test --scenario-name "$scenario"
done
