"""Photos whose label is probably wrong, by confident learning.

Source: C. Northcutt, L. Jiang, I. Chuang, Confident Learning: Estimating Uncertainty in Dataset
Labels, JAIR 70, 2021 (arXiv 1911.00068), section 3.1.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from edge_effnet.apps.training.metrics import Prediction


def suspected_labels(*groups: Sequence[Prediction]) -> list[Prediction]:
    """Photos that the network puts into another class with that class's usual confidence.

    1. The threshold of a class is the mean probability that its own photos get for it.
    2. A photo is suspected if it is predicted as another class with a probability of at least that
       class's threshold.

    Args:
        groups: Predictions, a group per network that predicted them: each group has thresholds of
            its own. A network that has learned a wrong label finds nothing wrong with it, so the
            predictions should be those of networks that have not seen the photo.

    Returns:
        The suspected photos, largest difference of the two classes' probabilities first.
    """
    suspected = [one for group in groups for one in _suspected(group)]
    return sorted(suspected, key=lambda one: (one.label_probability - one.probability, one.file))


def _suspected(predictions: Sequence[Prediction]) -> list[Prediction]:
    probabilities: defaultdict[str, list[float]] = defaultdict(list)
    for one in predictions:
        probabilities[one.label].append(one.label_probability)
    thresholds = {label: sum(values) / len(values) for label, values in probabilities.items()}
    return [
        one
        for one in predictions
        if one.prediction != one.label
        # A class without photos of its own has no threshold, and cannot be the true class.
        and one.probability >= thresholds.get(one.prediction, 2.0)
    ]
