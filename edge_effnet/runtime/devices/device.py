"""`Device`: what computes an exported file, with its name in ``device=`` and ``--device``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: Kinds of devices; each is also a name that selects the first hardware device of its kind.
Kind = Literal["cpu", "gpu", "npu", "edgetpu"]
CPU, AUTO = "cpu", "auto"
#: ``device_options``: settings of the driver, by name.
DeviceOptions = Mapping[str, str]


@dataclass(frozen=True)
class Device:
    """A device that a runtime of this machine lists.

    Attributes:
        name: Name that `edge_effnet.open` accepts, for example "gpu", "GPU.0" or "qnn".
        kind: Its kind.
        runtime: Package of the runtime.
        title: Full name for people.
        software: Whether it is a software adapter or a simulator, which computes on the CPU.
    """

    name: str
    kind: Kind
    runtime: str
    title: str
    software: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({self.title}{', software' if self.software else ''})"
