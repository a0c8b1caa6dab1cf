"""Analysis: the sensitivities of a network's units, ranked, as a text table and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edge_effnet.calibration.fidelity import sqnr_db
from edge_effnet.calibration.sensitivity.measure import Sensitivity


@dataclass(frozen=True, repr=False)
class Analysis:
    """Sensitivities of all units of one plan.

    Attributes:
        variant: The network's variant.
        format: The format whose quantizer placement applies.
        recipe: The plan's recipe.
        samples: Number of photos measured on; with four or more photos they are not used for
            calibration.
        units: Sensitivities in the network's order.
    """

    variant: str
    format: str
    recipe: str
    samples: int
    units: tuple[Sensitivity, ...]

    def __repr__(self) -> str:
        return (
            f"Analysis({self.variant}, {self.format}, {len(self.units)} layers, "
            f"logits {self.sqnr_db:.1f} dB)"
        )

    @property
    def noise(self) -> float:
        """Noise energy of all units on the logits, divided by the logits' energy."""
        return sum(unit.noise for unit in self.units)

    @property
    def sqnr_db(self) -> float:
        """SQNR of the logits in dB on these photos if the whole network is quantized."""
        return self.units[-1].output_db

    @property
    def sum_db(self) -> float:
        """SQNR of the logits in dB by the sum of the units' noise.

        It is lower where later layers compensate the errors of earlier ones.
        """
        return sqnr_db(self.noise)

    @cached_property
    def ranked(self) -> tuple[Sensitivity, ...]:
        """The units, the noisiest first."""
        return tuple(sorted(self.units, key=lambda unit: -unit.noise))

    def share(self, unit: Sensitivity) -> float:
        """The unit's fraction of all noise, 0..1."""
        return unit.noise / self.noise if self.noise > 0 else 0.0

    def work(self, unit: Sensitivity) -> float:
        """The unit's fraction of all multiply-adds, 0..1."""
        return unit.multiply_adds / max(1, sum(other.multiply_adds for other in self.units))

    def rest(self, top: int) -> tuple[int, float, float]:
        """Count, noise fraction and multiply-add fraction of all but the noisiest ``top`` units."""
        others = self.ranked[top:]
        return len(others), sum(map(self.share, others)), sum(map(self.work, others))

    def headline(self) -> str:
        """One sentence with the number of units that cause half of the noise."""
        count, share = 0, 0.0
        while share < 0.5 and count < len(self.ranked):
            share += self.share(self.ranked[count])
            count += 1
        work = sum(self.work(unit) for unit in self.ranked[:count])
        return (
            f"{count} of {len(self.units)} layers make {share:.0%} of the noise, with {work:.1%} "
            "of the multiply-adds"
        )

    def sheet(self, top: int) -> str:
        """A text table of the ``top`` noisiest units, with one line for all other units."""
        shown = self.ranked[:top]
        width = max(len(name) for name in ("layer", *(unit.name for unit in shown)))
        lines = [
            f"{self.variant}, {self.format} int8, recipe {self.recipe}, {self.samples} photos: "
            f"logits {self.sqnr_db:.1f} dB, {self.sum_db:.1f} dB by the sum of the layers",
            self.headline(),
            "",
            f"{'layer':<{width}}  {'operator':<17} {'SQNR dB':>8} {'noise':>7} {'mult-adds':>10} "
            f"{'its output dB':>14}",
        ]
        lines += [
            f"{unit.name:<{width}}  {unit.kind:<17} {unit.sqnr_db:>8.1f} {self.share(unit):>7.1%} "
            f"{self.work(unit):>10.1%} {unit.output_db:>14.1f}"
            for unit in shown
        ]
        count, share, work = self.rest(top)
        if count:
            name = f"{count} others"
            lines.append(f"{name:<{width}}  {'':<17} {'':>8} {share:>7.1%} {work:>10.1%}")
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """All units as JSON, the noisiest first."""
        return {
            "variant": self.variant,
            "format": self.format,
            "recipe": self.recipe,
            "samples": self.samples,
            "sqnr_db": round(self.sqnr_db, 3),
            "sum_sqnr_db": round(self.sum_db, 3),
            "layers": [
                {
                    "name": unit.name,
                    "operator": unit.kind,
                    "tensors": list(unit.tensors),
                    "sqnr_db": round(unit.sqnr_db, 3),
                    "noise_share": round(self.share(unit), 6),
                    "multiply_adds": unit.multiply_adds,
                    "multiply_adds_share": round(self.work(unit), 6),
                    "output_sqnr_db": round(unit.output_db, 3),
                }
                for unit in self.ranked
            ],
        }


def worst(units: Sequence[Sensitivity], count: int = 3) -> str:
    """The ``count`` noisiest units as text: ``name (12.3 dB)``, the noisiest first."""
    ranked = sorted(units, key=lambda unit: -unit.noise)[:count]
    return ", ".join(f"{unit.name} ({unit.sqnr_db:.1f} dB)" for unit in ranked)
