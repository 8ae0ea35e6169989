#!/usr/bin/env bash
# Makes the disks of a machine for tests: Debian, with a kernel of its own (User Mode Linux), since what the role
# repository asks of a file system (quotas) and of a host (its sshd, a reboot) containers do not have.
# It is built from Debian's packages, into build/machine.
source "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

machine="$BUILD/machine"
packages=systemd,systemd-sysv,dbus,udev,kmod,python3,python3-apt,python3-paramiko,cron,sudo,openssh-server,iproute2
packages+=,procps,ca-certificates,quota,sqlite3,zstd,user-mode-linux
stamp="$machine/.complete"
want=$(digest scripts/dev/machine_image.sh)

need_command mmdebstrap mmdebstrap "builds the disk of the machine"
need_command linux.uml user-mode-linux "a kernel that runs as a process"
need_command mkfs.ext4 e2fsprogs "makes its file systems"
need_command ssh-keygen openssh-client "makes the key that it lets in"
is_current "$stamp" "$want" && exit 0

say "building the disk of the machine with Debian's packages (once, a minute)"
rm -rf "$machine"
mkdir -p "$machine"
ssh-keygen -q -t ed25519 -N '' -C 'tests' -f "$machine/key"
cat >"$machine/customize" <<'CUSTOMIZE'
#!/bin/sh
set -e
root=$1
install -d -m 700 "$root/root/.ssh"
install -m 600 "$(dirname "$0")/key.pub" "$root/root/.ssh/authorized_keys"
echo machine >"$root/etc/hostname"
cat >"$root/etc/fstab" <<FSTAB
/dev/ubda / ext4 defaults 0 1
/dev/ubdb /srv ext4 defaults,grpquota 0 2
FSTAB
mkdir -p "$root/lib/modules"
for modules in "$root"/usr/lib/uml/modules/*; do ln -s "/usr/lib/uml/modules/${modules##*/}" "$root/lib/modules/"; done
systemctl --root="$root" enable systemd-networkd.service
systemctl --root="$root" mask systemd-networkd-wait-online.service
CUSTOMIZE
chmod +x "$machine/customize"
# mmdebstrap runs hooks with the folder of the new system as their argument.
as_root mmdebstrap --quiet --variant=minbase --include="$packages" \
  --customize-hook="$machine/customize" bookworm "$machine/root"
as_root mkfs.ext4 -q -L root -d "$machine/root" "$machine/root.img" 3G
# Quotas that the file system itself keeps (ext4(5)): no files to make, no check after a crash.
as_root mkfs.ext4 -q -L backups -O quota -E quotatype=grpquota "$machine/backups.img" 1G
as_root rm -rf "$machine/root"
printf '%s' "$want" >"$stamp"
