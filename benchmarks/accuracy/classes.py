"""Results over all classes -> results over some: what a user with fewer classes may expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_effnet.benchmarks.accuracy.dataset import Finder
from edge_effnet.benchmarks.records import Record, Results
from edge_effnet.errors import UsageError
from edge_effnet.statistics import wilson


def restrict(results: Results, wanted: Sequence[str], name: str) -> Results:
    """Every record's top-1 and drop over the photos of the classes ``wanted`` (names or indices).

    The files still choose among all their classes. What cannot be told class by class (top-5,
    agreement, intervals of the drop) is left out. ``name`` is the results' in messages. Raises
    `UsageError` if they do not count by class, or have no photo of those classes.
    """
    counted = [record for record in results.records if record.class_images]
    if not counted or not results.classes:
        raise UsageError(
            f"{name} does not tell the classes apart; measure labelled photos again with "
            "'edge-effnet compare' or 'sweep'"
        )
    find = Finder(results.classes)
    chosen = sorted({find(label, "the chosen classes") for label in wanted})
    made = {record.file: _over(record, chosen) for record in counted}
    if not any(record.images for record in made.values()):
        raise UsageError(f"{name} has no photo of the {len(chosen)} chosen classes")
    return replace(results, records=tuple(_with_drop(record, made) for record in made.values()))


def _over(record: Record, chosen: Sequence[int]) -> Record:
    images = sum(record.class_images[index] for index in chosen)
    right = sum(record.class_right[index] for index in chosen)
    return record.with_(
        images=images,
        top1=right / images if images else None,
        top1_ci=wilson(right, images) if images else None,
        **dict.fromkeys(("top5", "top5_ci", "agreement", "agreement_ci", "sqnr_db")),
        **dict.fromkeys(("drop", "drop_ci", "lost", "gained")),
    )


def _with_drop(record: Record, made: dict[str, Record]) -> Record:
    other = made.get(record.reference or "")
    if other is None or other.top1 is None or record.top1 is None:
        return record
    return record.with_(drop=100 * (other.top1 - record.top1))
