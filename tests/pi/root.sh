#!/usr/bin/env bash
# An emulated Raspberry Pi in a folder: this machine's Debian release (bookworm: what Raspberry Pi
# OS 12 is) for arm64 with its Python 3.11, for run.sh to run in qemu's user-mode emulation.
# usage: root.sh FOLDER        (as root; about 10 s and 110 MB)
set -euo pipefail
root=$1
[ -e "$root/ready" ] && exit 0
command -v qemu-aarch64-static >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends qemu-user-static
}
mkdir -p "$root"
root=$(cd "$root" && pwd)

# apt in a state of its own: this machine's packages and lists are not touched.
state=$root.apt
mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
: > "$state/status"
mkdir "$state/parts"
cp /etc/apt/sources.list.d/debian.sources "$state/parts/" 2>/dev/null ||
    cp /etc/apt/sources.list "$state/parts/debian.list"
cat > "$state/apt.conf" <<CONF
APT::Architecture "arm64";
APT::Architectures { "arm64"; };
APT::Install-Recommends "false";
Dir::State "$state";
Dir::State::status "$state/status";
Dir::State::lists "$state/lists";
Dir::Cache "$state/cache";
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$state/parts";
CONF
export APT_CONFIG=$state/apt.conf
apt-get -qq update
apt-get -qq -y --download-only install python3 libstdc++6 libgomp1 coreutils
for package in "$state"/cache/archives/*.deb; do
    dpkg-deb -x "$package" "$root"
done
rm -rf "$state"

cp "$(command -v qemu-aarch64-static)" "$root/usr/bin/"
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/home/pi"
# The runtimes read what the processor can do from here; the host's own says it is another.
for core in 0 1 2 3; do
    printf 'processor\t: %s\nBogoMIPS\t: 108.00\nFeatures\t: fp asimd evtstrm crc32 cpuid\n' "$core"
    printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\n'
    printf 'CPU part\t: 0xd08\nCPU revision\t: 3\n\n'
done > "$root/cpuinfo"
touch "$root/ready"
