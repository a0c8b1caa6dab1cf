"""Description of this machine, its CPU features, and the cores to pin threads to."""

from __future__ import annotations

import os
import platform
import re
import sys
from pathlib import Path

from edge_effnet.benchmarks.records import Host

#: CPU flags that determine the speed of 8-bit and 16-bit kernels. Without VNNI, 8-bit kernels may
#: also saturate.
FEATURES = (
    *("avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni"),
    *("avx512_bf16", "avx512_fp16", "amx_int8", "amx_bf16"),
    *("neon", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"),  # Arm
)
_DOT_PRODUCT = {"avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm"}
#: Environment variables that limit the threads of numerical libraries. Each library reads its
#: variable when it is loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_SETTINGS = re.compile(r"^(ONEDNN_|OMP_|KMP_|OV_|ORT_|XNNPACK_|DNNL_|TF_ENABLE_ONEDNN)")


def describe() -> Host:
    """Description of this machine; unknown fields are empty."""
    cpuinfo = _read("/proc/cpuinfo")
    return Host(
        cpu=_cpu_name(cpuinfo),
        machine=platform.machine(),
        cores=len(usable_cores()),
        features=cpu_features(cpuinfo),
        memory_mb=_memory_mb(),
        system=platform.platform(),
        python=platform.python_version(),
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip() or None,
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        settings={name: os.environ[name] for name in sorted(os.environ) if _SETTINGS.match(name)},
    )


def cpu_features(cpuinfo: str) -> tuple[str, ...]:
    """The `FEATURES` among the first core's flags in the text of /proc/cpuinfo."""
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    flags = set(match[1].split()) if match else set()
    return tuple(feature for feature in FEATURES if feature in flags)


def has_dot_product(features: tuple[str, ...]) -> bool:
    """Whether the CPU has an 8-bit dot-product instruction (four products per 32-bit lane)."""
    return not _DOT_PRODUCT.isdisjoint(features)


def usable_cores() -> list[int]:
    """Ids of the cores that this process may use, ascending."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def pick_cores(count: int) -> list[int]:
    """Ids of up to ``count`` usable cores: fastest kind first, distinct physical cores first.

    The list is shorter if this process may use fewer cores.
    """
    used_threads: dict[str, int] = {}
    ranked = []
    for core in usable_cores():
        folder = f"/sys/devices/system/cpu/cpu{core}"
        capacity = int(_read(f"{folder}/cpu_capacity").strip() or 0)
        siblings = _read(f"{folder}/topology/thread_siblings_list").strip() or str(core)
        rank = used_threads[siblings] = used_threads.get(siblings, -1) + 1
        ranked.append((-capacity, rank, core))
    return [core for _, _, core in sorted(ranked)[:count]]


def thread_variables(threads: int) -> dict[str, str]:
    """Environment variables that limit numerical libraries to ``threads`` threads."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


def peak_rss_mb() -> float | None:
    """Peak resident memory of this process in MiB; None if the system does not report it.

    On Linux this is VmHWM, because a child process inherits the ru_maxrss of its parent.
    """
    match = re.search(r"^VmHWM:\s*(\d+) kB", _read("/proc/self/status"), re.MULTILINE)
    if match:
        return int(match[1]) / 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)


def _cpu_name(cpuinfo: str) -> str:
    board = _read("/proc/device-tree/model").strip("\0 \n")
    match = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    return board or (match[1].strip() if match else "") or platform.processor() or "unknown"


def _memory_mb() -> int | None:
    match = re.search(r"^MemTotal:\s*(\d+) kB", _read("/proc/meminfo"), re.MULTILINE)
    return int(match[1]) // 1024 if match else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", errors="replace")
    except OSError:
        return ""
