#!/usr/bin/env bash
# Run a program of the emulated Pi: run.sh FOLDER PROGRAM [ARGUMENT...]   (as root)
# A mount namespace of its own: /proc, /sys and the Pi's cpuinfo are gone when the program ends.
set -euo pipefail
root=$1
shift
# qemu's default CPU computes int8 kernels wrongly: the model is named.
export QEMU_CPU=${QEMU_CPU:-cortex-a72}
exec unshare --mount bash -c '
    set -e
    root=$1; shift
    mount -t proc proc "$root/proc"
    mount --rbind /sys "$root/sys"
    mount --bind /dev "$root/dev"
    mount --bind "$root/cpuinfo" "$root/proc/cpuinfo"
    exec /usr/bin/env -i QEMU_CPU="$QEMU_CPU" PATH=/usr/sbin:/usr/bin:/bin HOME=/home/pi LANG=C.UTF-8 \
        PYTHONPATH="${PI_PYTHONPATH-}" PYTHONDONTWRITEBYTECODE=1 \
        chroot "$root" /usr/bin/qemu-aarch64-static "$@"
' run "$root" "$@"
