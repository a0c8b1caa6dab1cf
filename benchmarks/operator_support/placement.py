"""What a check finds: every operator of a file with where it runs, and why not where it should."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Placed:
    """One operator: its ``name`` (of the tensor it makes), its kind, and ``where`` it runs.

    ``why`` says what keeps it from the accelerator.
    """

    name: str
    kind: str
    where: str
    why: str = ""


@dataclass(frozen=True)
class Placement:
    """All operators of one file for one target, in the order of the file.

    ``judge`` is who decided. ``accelerator`` names where operators ought to run, empty if the
    target has no such place. ``figures`` are the judge's estimates, by their units.
    """

    file: str
    target: str
    judge: str
    accelerator: str
    operators: tuple[Placed, ...]
    figures: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def elsewhere(self) -> tuple[Placed, ...]:
        """The operators that do not run on the accelerator."""
        if not self.accelerator:
            return ()
        return tuple(placed for placed in self.operators if placed.where != self.accelerator)

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "file": self.file,
            "target": self.target,
            "judge": self.judge,
            "accelerator": self.accelerator or None,
            "operators": len(self.operators),
            "elsewhere": len(self.elsewhere),
            "figures": dict(self.figures),
            "notes": list(self.notes),
            "placement": [vars(placed) for placed in self.operators],
        }

    def sheet(self) -> str:
        """The same in lines of text: kinds counted, operators that run elsewhere named."""
        lines = [f"{self.file} on {self.target}, by {self.judge}", ""]
        counts = Counter((placed.kind, placed.where) for placed in self.operators)
        width = max((len(kind) for kind, _ in counts), default=0)
        for (kind, where), count in counts.items():
            lines.append(f"  {count:>4}  {kind:<{width}}  {where}")
        lines.append("")
        if self.accelerator:
            there = len(self.operators) - len(self.elsewhere)
            lines.append(f"{there} of {len(self.operators)} operators on the {self.accelerator}")
        reasons: dict[tuple[str, str], list[str]] = {}
        for placed in self.elsewhere:
            reasons.setdefault((placed.kind, placed.why), []).append(placed.name)
        for (kind, why), names in reasons.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"  {kind} {names[0]}{more}: {why}")
        if self.figures:
            told = (f"{_short(value)} {unit}" for unit, value in self.figures.items())
            lines.append("estimated: " + ", ".join(told))
        return "\n".join([*lines, *self.notes])


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
