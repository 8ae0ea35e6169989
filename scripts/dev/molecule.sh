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
    set -- "${scenario%/molecule.yml}" "$@"
  done
fi

# Hosts of a scenario wait for each other and for their schedulers: as many run side by side as there are cores.
# Every line of output begins with the name of its scenario.
run() {
  local started=$SECONDS
  say "molecule test --scenario-name $1"
  molecule test --scenario-name "$1" </dev/null 2>&1 || return
  say "molecule test --scenario-name $1 passed in $((SECONDS - started)) s"
}

at_a_time=${MOLECULE_SCENARIOS:-$(nproc)}
declare -A running=()
failed=()

reap() { # wait for one scenario to end
  local pid status=0
  wait -n -p pid "${!running[@]}" || status=$?
  [ "$status" -eq 0 ] || failed+=("${running[$pid]}")
  unset "running[$pid]"
}

for scenario in "$@"; do
  [ "${#running[@]}" -lt "$at_a_time" ] || reap
  run "$scenario" > >(sed -u "s/^/$scenario | /") &
  running[$!]=$scenario
done
while [ "${#running[@]}" -gt 0 ]; do reap; done
[ "${#failed[@]}" -eq 0 ] || die "molecule failed for: ${failed[*]}"
