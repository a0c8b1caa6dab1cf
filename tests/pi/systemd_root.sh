#!/usr/bin/env bash
# A small Debian 12 (what Raspberry Pi OS 12 is) with systemd, apt and Python 3.11, for this
# machine's processor: boot.sh starts it.
# usage: systemd_root.sh FOLDER        (as root; 260 MB)
set -euo pipefail
root=$1
[ -e "$root/ready" ] && exit 0
command -v mmdebstrap >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends mmdebstrap
}
rm -rf "$root"
mkdir -p "$(dirname "$root")"
# Package lists stay: the guide's 'sudo apt install' needs them, as on a Pi.
mmdebstrap --quiet --variant=apt --skip=cleanup/apt/lists \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' \
    --include=systemd-sysv,dbus,sudo,python3,ca-certificates,mawk bookworm "$root"
echo raspberrypi > "$root/etc/hostname"
echo '127.0.0.1 localhost raspberrypi' > "$root/etc/hosts"
touch "$root/ready"
