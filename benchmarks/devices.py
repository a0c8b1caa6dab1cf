"""Model files on devices: what `evaluate`, `benchmark` and `compare` measure."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_effnet.benchmarks.records import Record, key
from edge_effnet.errors import DeviceError, MissingExtra, UsageError
from edge_effnet.files import PathLike
from edge_effnet.runtime.base import Runner
from edge_effnet.runtime.devices import automatic, finding, listing
from edge_effnet.runtime.devices.device import AUTO, CPU, Device
from edge_effnet.runtime.placement import Placement


@dataclass(frozen=True)
class FileOnDevice:
    """A model file and the name of the device that runs it."""

    path: str
    device: str = CPU

    @property
    def key(self) -> str:
        """The path; on another device than the CPU followed by its name."""
        return key(self.path, self.device)


def placement_of(runner: Runner) -> Placement | None:
    """Placement of an opened file; None on a CPU without a report of it.

    The package that reads the file may be missing, or the runtime reports no placement.

    Raises:
        MissingExtra, DeviceError: On another device, whose use cannot be proved.
    """
    try:
        return runner.placement()
    except (MissingExtra, DeviceError):
        if runner.info.device != CPU:
            raise
        return None


def unique(files: Sequence[PathLike | FileOnDevice]) -> list[FileOnDevice]:
    """``files`` in order, without duplicates; symbolic links are resolved to compare them."""
    first: dict[tuple[str, str], FileOnDevice] = {}
    for file in files:
        each = file if isinstance(file, FileOnDevice) else FileOnDevice(os.fspath(file))
        first.setdefault((os.path.realpath(each.path), each.device), each)
    return list(first.values())


def on_devices(
    paths: Sequence[str],
    devices: Sequence[str] = (CPU,),
    options: Mapping[str, str] | None = None,
    notify: Callable[[str], None] | None = None,
) -> list[FileOnDevice]:
    """Each file on each device that can take its format.

    Args:
        paths: Model files.
        devices: Names of devices, as for `edge_effnet.open`. For "auto" every device is measured.
        options: Settings of the drivers.
        notify: Called with a sentence per selected device of "auto", and per device that is left
            out for a format.

    Raises:
        DeviceError: A device takes none of the files.
    """
    pairs: list[FileOnDevice] = []
    listed: dict[str, list[Device]] = {}
    notify = notify or (lambda text: None)
    for name in dict.fromkeys(devices or (CPU,)):
        if name == CPU:
            pairs += [FileOnDevice(path) for path in paths]
            continue
        if name == AUTO:
            pairs += [_automatic(path, options or {}, notify) for path in paths]
            continue
        before, left_out = len(pairs), []
        for path in paths:
            suffix = Path(path).suffix.lower()
            if suffix not in listed:
                listed[suffix] = listing.devices(suffix, options)
            device = finding.match(name, suffix, listed[suffix])
            if device is not None:
                pairs.append(FileOnDevice(path, device.name))
            else:
                left_out.append(f"{path}: there is no device {name} for {suffix} files; left out")
        if paths and len(pairs) == before:
            first = Path(paths[0])
            raise finding.absent(name, first, listed[first.suffix.lower()])
        for text in left_out:
            notify(text)
    return unique(pairs)


def of_device(records: Sequence[Record], name: str) -> list[Record]:
    """The records of a device, by its name or kind; those of older releases are the CPU's.

    Raises:
        UsageError: No record is of that device, or all are of software adapters, which have no
            latency.
    """
    chosen = [
        each
        for each in records
        if name.lower() in ((each.device or CPU).lower(), finding.kind_of(each.device or CPU))
    ]
    if not chosen:
        there = ", ".join(sorted({each.device or CPU for each in records}))
        raise UsageError(f"no record is of the device {name!r}; the records are of {there}")
    if all(each.software for each in chosen):
        raise UsageError(
            f"all records of {name!r} are of software adapters or simulators, whose time means "
            "nothing; measure on the hardware"
        )
    return chosen


def _automatic(
    path: str, options: Mapping[str, str], notify: Callable[[str], None]
) -> FileOnDevice:
    from edge_effnet.threads import default_threads

    choice = automatic.choose(Path(path), options, default_threads())
    notify(f"{path}: {choice.device} is the fastest ({'; '.join(choice.trials)})")
    return FileOnDevice(path, choice.device)
