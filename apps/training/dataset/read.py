"""`read_training_data`: classes, checks and splits of a folder of photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge_effnet.apps.training.dataset.checks import (
    class_findings,
    counted,
    files_finding,
    grey_finding,
    split_findings,
)
from edge_effnet.apps.training.dataset.inspection import PhotoFacts, inspect_photos
from edge_effnet.apps.training.dataset.layout import LabelledPhoto, Layout, read_layout
from edge_effnet.apps.training.dataset.near_duplicates import groups, near_duplicates
from edge_effnet.apps.training.dataset.splits import split_photos
from edge_effnet.apps.training.samples import Finding, Sample, Split, TrainingData
from edge_effnet.benchmarks.accuracy.class_names import listed
from edge_effnet.errors import UsageError
from edge_effnet.files import is_utf8
from edge_effnet.progress import Progress, ignore_progress

#: Order in which one of several equal files is used: a test photo is not trained on.
_PRECEDENCE: dict[Split | None, int] = {"test": 0, "val": 1, "train": 2, None: 2}
_NAME_ERROR = "(its name is not UTF-8: rename it)"  # the files of a run are UTF-8


def read_training_data(
    photos: Path,
    *,
    labels: Path | None = None,
    class_names: Path | None = None,
    seed: int = 0,
    side: int = 224,
    balanced: bool = False,
    threads: int = 0,
    progress: Progress = ignore_progress,
) -> TrainingData:
    """Find classes, check every photo, and divide the photos into splits.

    Unreadable photos, extra copies of a file, and files that lie in two classes are left out; the
    findings say so. Photos that look alike stay in one split.

    Args:
        photos: Folder of photos, as `layout.read_layout` takes it.
        labels: CSV with the header ``file,label[,split]``.
        class_names: File of class names in index order.
        seed: Seed of the splits.
        side: Side of the network's input in pixels, to find photos that are smaller.
        balanced: Whether the user chose balanced sampling.
        threads: Decoding threads; 0 is one per core.
        progress: Called with (stage, done, total).

    Raises:
        ImageError: The folder has no photos.
        UsageError: The classes cannot be used, or have too few photos.
    """
    layout = read_layout(photos, labels, class_names)
    facts = [
        fact if is_utf8(photo.name) else replace(fact, error=_NAME_ERROR)
        for photo, fact in zip(
            layout.photos,
            inspect_photos([photo.path for photo in layout.photos], threads, progress),
            strict=True,
        )
    ]
    findings = list(_unusable(layout, facts))
    excluded = {name for finding in findings for name in finding.files}
    pairs = [
        (photo, fact)
        for photo, fact in zip(layout.photos, facts, strict=True)
        if photo.name not in excluded
    ]
    usable, usable_facts = [photo for photo, _ in pairs], [fact for _, fact in pairs]
    _check_counts(layout, usable)
    alike = near_duplicates(np.stack([f.hash for f in usable_facts if f.hash is not None]))
    splits = split_photos(
        [photo.class_name for photo in usable],
        groups(len(usable), alike),
        [photo.split for photo in usable],
        seed,
    )
    indices = {name: index for index, name in enumerate(layout.class_names)}
    samples = tuple(
        Sample(photo.path, photo.name, indices[photo.class_name], split)
        for photo, split in zip(usable, splits, strict=True)
    )
    data = TrainingData(layout.folder, layout.class_names, samples)
    _check_training_split(data)
    findings += _alike_findings(samples, alike, fixed=any(p.split for p in usable))
    findings += split_findings(data) + class_findings(data, balanced)
    findings += _appearance(samples, usable_facts, data.class_names, side)
    return TrainingData(layout.folder, layout.class_names, samples, tuple(findings))


def _unusable(layout: Layout, facts: Sequence[PhotoFacts]) -> Iterator[Finding]:
    """Findings whose files are left out."""
    photos = layout.photos
    pairs = list(zip(photos, facts, strict=True))
    broken = [(photo.name, fact.error) for photo, fact in pairs if fact.error]
    if broken:
        shown = listed(f"{name} {error}" for name, error in broken)
        yield Finding(
            "broken",
            f"{counted(len(broken), 'photo')} cannot be used and "
            f"{'is' if len(broken) == 1 else 'are'} left out: {shown}",
            tuple(name for name, _ in broken),
        )
    by_digest: dict[str, list[LabelledPhoto]] = {}
    for photo, fact in pairs:
        if not fact.error:
            by_digest.setdefault(fact.sha256, []).append(photo)
    copies, contradictions = [], []
    for same in by_digest.values():
        if len({photo.class_name for photo in same}) > 1:
            contradictions += [photo.name for photo in same]
        else:
            first = min(same, key=lambda photo: (_PRECEDENCE[photo.split], photo.name))
            copies += [photo.name for photo in same if photo is not first]
    for finding in (
        files_finding(
            "contradiction",
            contradictions,
            f"lie in two classes as equal files and are left out: {listed(contradictions)}",
        ),
        files_finding(
            "copy",
            copies,
            f"are copies of others and are left out: {listed(copies)}",
            f"is a copy of another and is left out: {listed(copies)}",
        ),
        files_finding(
            "outside",
            layout.outside,
            f"lie outside the class folders and are left out: {listed(layout.outside)}",
            f"lies outside the class folders and is left out: {listed(layout.outside)}",
        ),
    ):
        if finding:
            yield finding


def _check_counts(layout: Layout, photos: Sequence[LabelledPhoto]) -> None:
    """Raise `UsageError` for a class with fewer than two usable photos."""
    counts = Counter(photo.class_name for photo in photos)
    few = [f"{name} {counts[name]}" for name in layout.class_names if counts[name] < 2]
    if few:
        raise UsageError(
            f"{len(few)} of {len(layout.class_names)} classes have fewer than two usable photos "
            f"({listed(few)}): one to train on and one to validate with are the least, and 50 per "
            "class a good start"
        )


def _check_training_split(data: TrainingData) -> None:
    """Raise `UsageError` for a class without a training photo."""
    missing = [
        name
        for name, count in zip(data.class_names, data.counts("train"), strict=True)
        if count == 0
    ]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(data.class_names)} classes have no training photo "
            f"({listed(missing)}): add photos to the training split"
        )


def _alike_findings(
    samples: Sequence[Sample], alike: Sequence[tuple[int, int]], fixed: bool
) -> Iterator[Finding]:
    """Photos that look alike: across splits, across classes, and how many in all."""
    across = [pair for pair in alike if len({samples[i].split for i in pair}) > 1]
    files = sorted({samples[i].name for pair in across for i in pair})
    shown = listed(f"{samples[a].name} = {samples[b].name}" for a, b in across)
    finding = files_finding(
        "near-duplicate",
        files,
        f"look alike but lie in different splits, so the accuracy reads too high: {shown}",
    )
    if finding:
        yield finding
    differing = [pair for pair in alike if len({samples[i].label for i in pair}) > 1]
    files = sorted({samples[i].name for pair in differing for i in pair})
    shown = listed(f"{samples[a].name} = {samples[b].name}" for a, b in differing)
    finding = files_finding(
        "similar-classes",
        files,
        f"look alike but have different classes; check their labels: {shown}",
    )
    if finding:
        yield finding
    files = sorted({samples[i].name for pair in alike for i in pair} - set(files))
    if files and not fixed:
        finding = files_finding(
            "near-duplicate",
            files,
            "look like another one; those that do are in the same split",
            "looks like another one; both are in the same split",
        )
        if finding:
            yield finding


def _appearance(
    samples: Sequence[Sample],
    facts: Sequence[PhotoFacts],
    class_names: Sequence[str],
    side: int,
) -> Iterator[Finding]:
    """Grey, rotated and small photos."""
    names = [sample.name for sample in samples]
    rotated = [name for name, fact in zip(names, facts, strict=True) if fact.rotated]
    small = [
        name for name, fact in zip(names, facts, strict=True) if min(fact.width, fact.height) < side
    ]
    for finding in (
        grey_finding(samples, [fact.grey for fact in facts], class_names),
        files_finding(
            "rotated",
            rotated,
            "have an EXIF rotation and are turned upright, here and on devices",
            "has an EXIF rotation and is turned upright, here and on devices",
        ),
        files_finding(
            "small",
            small,
            f"are smaller than the input of {side} px and are enlarged",
            f"is smaller than the input of {side} px and is enlarged",
        ),
    ):
        if finding:
            yield finding
