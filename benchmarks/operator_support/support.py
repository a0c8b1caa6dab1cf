"""Placement of a file's operators on a target: where each runs, and why not on the accelerator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class OperatorPlacement:
    """One operator: the ``name`` of its output tensor, its kind, and ``where`` it runs.

    ``why`` is the cause if it does not run on the accelerator.
    """

    name: str
    kind: str
    where: str
    why: str = ""


@dataclass(frozen=True)
class OperatorSupport:
    """Placement of all operators of one file on one target, in the order of the file.

    Attributes:
        file: The file.
        target: The target.
        judge: The runtime, compiler or published rules that determined the placement.
        accelerator: Name of the target's accelerator; empty if it has none.
        operators: The operators.
        estimates: Estimates of latency and memory, by name with unit.
        notes: Sentences for the user.
        has_integer_input: Whether the file is int8 and takes integers, so that another export does
            not place more operators.
    """

    file: str
    target: str
    judge: str
    accelerator: str
    operators: tuple[OperatorPlacement, ...]
    estimates: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    has_integer_input: bool = False

    @property
    def elsewhere(self) -> tuple[OperatorPlacement, ...]:
        """The operators that do not run on the accelerator."""
        if not self.accelerator:
            return ()
        return tuple(operator for operator in self.operators if operator.where != self.accelerator)

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {
            "file": self.file,
            "target": self.target,
            "judge": self.judge,
            "accelerator": self.accelerator or None,
            "operators": len(self.operators),
            "elsewhere": len(self.elsewhere),
            "figures": dict(self.estimates),
            "notes": list(self.notes),
            "placement": [vars(operator) for operator in self.operators],
        }

    def sheet(self) -> str:
        """Text lines: operators per kind, and each operator outside the accelerator."""
        lines = [f"{self.file} on {self.target}, by {self.judge}", ""]
        counts = Counter((operator.kind, operator.where) for operator in self.operators)
        width = max((len(kind) for kind, _ in counts), default=0)
        for (kind, where), count in counts.items():
            lines.append(f"  {count:>4}  {kind:<{width}}  {where}")
        lines.append("")
        if self.accelerator:
            there = len(self.operators) - len(self.elsewhere)
            lines.append(f"{there} of {len(self.operators)} operators on the {self.accelerator}")
        names_by_cause: dict[tuple[str, str], list[str]] = {}
        for operator in self.elsewhere:
            names_by_cause.setdefault((operator.kind, operator.why), []).append(operator.name)
        for (kind, why), names in names_by_cause.items():
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            lines.append(f"  {kind} {names[0]}{more}: {why}")
        if self.estimates:
            estimates = (f"{_short(value)} {unit}" for unit, value in self.estimates.items())
            lines.append("estimated: " + ", ".join(estimates))
        return "\n".join([*lines, *self.notes])


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
