#!/usr/bin/env bash
# Boot systemd of a folder made by systemd_root.sh, in namespaces of its own but for the network:
# boot.sh FOLDER CGROUP. Everything ends with this process.   (as root)
set -euo pipefail
export ROOT=$1
# systemd wants a tree of control groups of its own.
tree=$(findmnt --noheadings --first-only --output TARGET --types cgroup2)
mkdir -p "$tree/$2"
echo $$ > "$tree/$2/cgroup.procs"
cp --dereference /etc/resolv.conf "$ROOT/etc/resolv.conf"
exec unshare --mount --pid --fork --kill-child --uts --ipc --cgroup --propagation private bash -c '
    set -e
    mount --bind "$ROOT" "$ROOT"
    cd "$ROOT"
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount -t cgroup2 cgroup2 sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs dev
    for name in null zero full random urandom tty; do
        touch "dev/$name"
        mount --bind "/dev/$name" "dev/$name"
    done
    mkdir dev/pts dev/shm
    mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
    mount -t tmpfs tmpfs dev/shm
    ln -s pts/ptmx dev/ptmx
    ln -s /proc/self/fd dev/fd
    mount -t tmpfs -o mode=755 tmpfs run
    hostname raspberrypi
    mkdir -p .old
    pivot_root . .old
    umount -l /.old
    exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        /lib/systemd/systemd --log-target=console --show-status=no
'
