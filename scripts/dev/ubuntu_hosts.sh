#!/usr/bin/env bash
# Molecule on hosts with Ubuntu 24.04, where packages are named and conflict in other ways than on Debian. Usage:
# ubuntu_hosts.sh [SCENARIO...], of databases when none is named.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

require_ubuntu "no role was tested on Ubuntu"
export DBFLEET_TEST_IMAGE=localhost/dbfleet-systemd:noble
exec "$ROOT/scripts/dev/molecule.sh" "${@:-databases}"
