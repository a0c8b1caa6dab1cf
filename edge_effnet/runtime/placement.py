"""`Placement`: which operators of an opened file run on its device, by the runtime's own report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_effnet.errors import DeviceError
from edge_effnet.runtime.operators import Operator

_SHOWN = 3


@dataclass(frozen=True)
class Placement:
    """Operators and multiply-adds of one opened file on its device.

    Attributes:
        device: Full name of the device, for example "SwiftShader Device (Subzero)".
        operators: Number of operators.
        on_device: Number of operators that run on the device.
        multiply_adds: Multiply-adds of one inference at batch 1.
        multiply_adds_on_device: Multiply-adds that run on the device.
        fallback: Operators that run elsewhere, as "KIND name"; those with the most multiply-adds
            come first.
        source: The report that the placement is from.
        software: Whether the device is a software adapter or a simulator: it computes on the CPU,
            and its latency says nothing about the hardware.
    """

    device: str
    operators: int
    on_device: int
    multiply_adds: int
    multiply_adds_on_device: int
    fallback: tuple[str, ...] = ()
    source: str = ""
    software: bool = False

    @property
    def share(self) -> float:
        """Share 0..1 of the multiply-adds on the device; of the operators if none multiplies."""
        if self.multiply_adds:
            return self.multiply_adds_on_device / self.multiply_adds
        return self.on_device / self.operators if self.operators else 1.0

    @property
    def complete(self) -> bool:
        """Whether every operator runs on the device."""
        return self.on_device == self.operators

    def __str__(self) -> str:
        kind = " (software: its latency means nothing)" if self.software else ""
        text = (
            f"{self.on_device} of {self.operators} operators and {self.share:.1%} of the "
            f"multiply-adds on {self.device}{kind}"
        )
        return f"{text}; elsewhere: {self.fallback_text()}" if self.fallback else text

    def require_use(self, path: str, device: str) -> None:
        """Refuse a device that runs nothing of the file ``path``.

        Raises:
            DeviceError: All multiply-adds fall back to the CPU; the message names the operators.
        """
        if self.share == 0:
            raise DeviceError(
                f"{device} runs nothing of {path}: all multiply-adds fall back to the CPU "
                f"({self.fallback_text()})",
                hint="export another precision for it, or use device='cpu'",
            )

    def fallback_text(self) -> str:
        """The first operators of `fallback` as text."""
        rest = self.operators - self.on_device - _SHOWN
        more = f" and {rest} more" if rest > 0 else ""
        return ", ".join(self.fallback[:_SHOWN]) + more


def placement(
    operators: Sequence[Operator],
    on_device: Iterable[bool],
    device: str,
    source: str,
    software: bool = False,
) -> Placement:
    """`Placement` of ``operators``, of which those marked in ``on_device`` run on ``device``."""
    marks = list(on_device)
    pairs = list(zip(operators, marks, strict=True))
    elsewhere = sorted(
        (each for each, here in pairs if not here), key=lambda each: -each.multiply_adds
    )
    return Placement(
        device=device,
        operators=len(operators),
        on_device=sum(marks),
        multiply_adds=sum(each.multiply_adds for each in operators),
        multiply_adds_on_device=sum(each.multiply_adds for each, here in pairs if here),
        fallback=tuple(f"{each.kind} {each.name}" for each in elsewhere),
        source=source,
        software=software,
    )
