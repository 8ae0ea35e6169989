#!/usr/bin/env bash
# The role repository on a machine with a kernel of its own: quotas of the file system, the sshd of the system, a
# reboot. Arguments are passed on to pytest. Needs root, for the network of the machine, which reaches nothing else.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

"$ROOT/scripts/dev/venv.sh" dev
"$ROOT/scripts/dev/collection.sh"
"$ROOT/scripts/dev/pyz.sh"
"$ROOT/scripts/dev/machine_image.sh"
need_command unshare util-linux "gives the tests a network of their own"
need_command ip iproute2 "makes the line to the machine"
say "pytest tests/machine (twenty minutes: the kernel runs as a process)"
export PATH="$VENV/bin:$PATH"
as_root unshare --net sh -c 'ip link set lo up && exec "$@"' sh "$VENV/bin/python" -m pytest tests/machine "$@"
