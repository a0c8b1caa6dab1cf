"""Accuracy restricted to some classes, from results with photo counts by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edge_effnet.benchmarks.accuracy.class_names import ClassFinder
from edge_effnet.benchmarks.records import Record, Results
from edge_effnet.errors import UsageError
from edge_effnet.statistics import wilson


def restrict(results: Results, wanted: Sequence[str], name: str) -> Results:
    """``results`` with top-1 and drop over the photos of the classes ``wanted`` only.

    The model still predicts among all its classes. Top-5, agreement and the interval of the drop
    become null, because results have no counts by class for them.

    Args:
        results: Results whose records have ``class_images`` and ``class_right``.
        wanted: Class names or indices.
        name: Name of the results in error messages.

    Returns:
        Results with one record per file that has counts by class.

    Raises:
        UsageError: No record has counts by class, or no photo is of a wanted class.
    """
    counted = [
        record for record in results.records if record.class_images and not record.multi_label
    ]
    if not counted or not results.classes:
        raise UsageError(
            f"{name} has no counts by class; measure labelled photos again with "
            "'edge-effnet compare' or 'sweep'"
        )
    find = ClassFinder(results.classes)
    chosen = sorted({find(label, "the chosen classes") for label in wanted})
    restricted = {record.key: _over(record, chosen) for record in counted}
    if not any(record.images for record in restricted.values()):
        raise UsageError(
            f"{name} has no photo of the {len(chosen)} chosen classes; choose among those "
            "that were measured"
        )
    return replace(
        results, records=tuple(_with_drop(record, restricted) for record in restricted.values())
    )


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


def _with_drop(record: Record, restricted: dict[str, Record]) -> Record:
    reference = restricted.get(record.reference or "")
    if reference is None or reference.top1 is None or record.top1 is None:
        return record
    return record.with_(drop=100 * (reference.top1 - record.top1))
