"""Observations about the photos, stated with counts before the training starts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from edge_effnet.apps.training.samples import Finding, FindingKind, Sample, Split, TrainingData
from edge_effnet.benchmarks.accuracy.class_names import listed
from edge_effnet.label_files import name_key

#: A class with fewer training photos is too small for a dependable accuracy.
TINY = 20
#: Ratio of the largest to the smallest class from which balanced sampling is offered.
IMBALANCE = 3.0
#: Share of grey photos in a class, and its distance from the other classes, worth a finding.
_GREY_SHARE = 0.05


def counted(count: int, noun: str) -> str:
    """``1 photo``, ``2 photos``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def class_findings(data: TrainingData, balanced: bool) -> list[Finding]:
    """Tiny classes, imbalance and names that differ only in spelling.

    Args:
        data: The photos in their splits.
        balanced: Whether the user chose balanced sampling.
    """
    counts = data.counts("train")
    names = data.class_names
    findings = []
    tiny = [index for index, count in enumerate(counts) if count < TINY]
    if tiny:
        sizes = listed(f"{names[index]} {counts[index]}" for index in tiny)
        findings.append(
            Finding(
                "tiny-class",
                f"{len(tiny)} of {len(names)} classes have fewer than {TINY} training photos "
                f"({sizes}): more photos of these raise the accuracy most",
            )
        )
    most, least = max(counts), min(counts)
    if most >= IMBALANCE * least:
        large, small = names[counts.index(most)], names[counts.index(least)]
        remedy = (
            "rare classes are drawn as often as frequent ones"
            if balanced
            else "balanced=True draws rare classes as often as frequent ones"
        )
        findings.append(
            Finding(
                "imbalance",
                f"the largest class has {most / max(least, 1):.0f} times the training photos of "
                f"the smallest ({large} {most:,}, {small} {least:,}): {remedy}",
            )
        )
    spelled: dict[str, list[str]] = {}
    for name in names:
        spelled.setdefault(name_key(name), []).append(name)
    for alike in spelled.values():
        if len(alike) > 1:
            findings.append(
                Finding(
                    "spelling",
                    f"the classes {listed(map(repr, alike))} differ only in spelling: merge their "
                    "folders if they are one class",
                )
            )
    return findings


def split_findings(data: TrainingData) -> list[Finding]:
    """Small or missing validation and test splits."""
    findings = []
    purposes: dict[Split, str] = {"val": "validation", "test": "test"}
    for split, purpose in purposes.items():
        counts = data.counts(split)
        total = sum(counts)
        missing = [data.class_names[index] for index, count in enumerate(counts) if not count]
        if total == 0:
            findings.append(
                Finding(
                    "split",
                    f"there are no {purpose} photos: the accuracy on the validation photos is "
                    "optimistic, because they decide when the training stops",
                )
            )
        elif missing:
            findings.append(
                Finding("split", f"the {purpose} split has no photo of {listed(missing)}: add some")
            )
        elif split == "test" and total < 100:
            error = 100 * math.sqrt(0.25 / total)
            findings.append(
                Finding(
                    "split",
                    f"with {counted(total, 'test photo')} one standard error of the accuracy is up "
                    f"to {error:.0f} points",
                )
            )
    return findings


def grey_finding(
    samples: Sequence[Sample], grey: Sequence[bool], class_names: Sequence[str]
) -> Finding | None:
    """Grey photos, with the classes that have many of them; None without grey photos.

    Args:
        samples: The photos.
        grey: Whether each of them is grey.
        class_names: Names of the classes in index order.
    """
    files = tuple(sample.name for sample, is_grey in zip(samples, grey, strict=True) if is_grey)
    if not files:
        return None
    totals = Counter(sample.label for sample in samples)
    counts = Counter(s.label for s, is_grey in zip(samples, grey, strict=True) if is_grey)
    overall = len(files) / len(samples)
    skewed = [
        f"{class_names[label]} {count} of {totals[label]}"
        for label, count in counts.most_common()
        if count > 2 and count / totals[label] > max(2 * overall, _GREY_SHARE)
    ]
    verb = "has" if len(files) == 1 else "have"
    message = f"{len(files)} of {counted(len(samples), 'photo')} {verb} no colour"
    if skewed:
        message += (
            f", most in {listed(skewed)}: the network may recognise the missing colour instead of "
            "the class"
        )
    return Finding("grey", message, files)


def files_finding(
    kind: FindingKind, files: Iterable[str], message: str, single: str = ""
) -> Finding | None:
    """A finding that lists ``files``; None if ``files`` is empty.

    Args:
        kind: The kind of finding.
        files: Names of the photos.
        message: What follows the number of several photos.
        single: What follows "1 photo", if one file can be a finding.
    """
    names = tuple(files)
    if not names:
        return None
    text = single if single and len(names) == 1 else message
    return Finding(kind, f"{counted(len(names), 'photo')} {text}", names)
