"""Report of a run: outcomes by kind, as a table and as JSON."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from fuzz.outcome import FAULTS, FINE, Outcome

_COLUMNS = ("mutants", *FINE, *FAULTS, "median_s", "longest_s", "memory_mb")


def summary(outcomes: Iterable[Outcome]) -> dict[str, dict[str, Any]]:
    """Kind -> number of mutants by outcome, median and longest time, largest memory."""
    kinds: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.kind].append(outcome)
    rows = {name: _row(members) for name, members in kinds.items()}
    return {**rows, "all": _row([each for members in kinds.values() for each in members])}


def _row(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    seconds = [each.seconds for each in outcomes] or [0.0]
    return {
        "mutants": len(outcomes),
        **{word: sum(each.word == word for each in outcomes) for word in (*FINE, *FAULTS)},
        "median_s": round(statistics.median(seconds), 4),
        "longest_s": round(max(seconds), 1),
        "memory_mb": max((each.memory for each in outcomes), default=0) >> 20,
    }


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The rows of `summary` as lines of text."""
    lines = [f"{'kind':<20}" + "".join(f"{name:>10}" for name in _COLUMNS)]
    lines += [
        f"{name:<20}" + "".join(f"{row[column]:>10}" for column in _COLUMNS)
        for name, row in rows.items()
    ]
    return "\n".join(lines)


def write(path: Path, seed: int, outcomes: Sequence[Outcome]) -> None:
    """Write the summary, and every fault, as JSON."""
    faults = [json.loads(each.to_line()) for each in outcomes if each.is_fault]
    content = {"seed": seed, "kinds": summary(outcomes), "faults": faults}
    path.write_text(json.dumps(content, indent=1) + "\n")
