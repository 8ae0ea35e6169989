#!/usr/bin/env bash
# Makes the image of the test hosts: Debian with systemd as PID 1. It is built from Debian's packages, so no
# image registry is needed. DBFLEET_TEST_IMAGE names another image (with systemd, Python 3 and sshd) instead.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

default=localhost/dbfleet-systemd:bookworm
image=${DBFLEET_TEST_IMAGE:-$default}
need_podman "test hosts are containers"
if podman image exists "$image"; then
  exit 0
fi
if [ "$image" != "$default" ]; then
  say "pulling $image: the image of the test hosts"
  podman pull --quiet "$image"
  exit 0
fi

packages=systemd,systemd-sysv,dbus,python3,python3-apt,cron,sudo,openssh-server,iproute2,procps,gnupg,ca-certificates
debian_image "$image" bookworm "$packages" "the image of the test hosts" --change 'CMD=["/lib/systemd/systemd"]'
