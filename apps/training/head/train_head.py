"""`train_head`: a network with a new classifier, fitted to the features of the photos."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge_effnet.apps.training.head.features import photo_features, pooled
from edge_effnet.apps.training.head.regression import LinearHead, best, candidates, fit
from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.errors import UsageError
from edge_effnet.graph import Dense
from edge_effnet.heads import CLASSIFIER
from edge_effnet.model import Model
from edge_effnet.progress import Progress

#: Largest C of the classifier that fine-tuning starts from. With a weaker penalty it is certain of
#: nearly all training photos, so that the other layers get gradients from few of them.
START_C = 0.1


@dataclass(frozen=True)
class TrainedHead:
    """Result of `train_head`.

    Attributes:
        model: The network with the classifier fitted to the training photos. Accuracy on the
            validation photos and fine-tuning start from it.
        final: The network with the classifier fitted to the training and validation photos, with
            the same regularisation. It is exported if the head is the last stage.
        epochs: One row per candidate of the regularisation.
        c: The chosen inverse regularisation.
        start: The network with a classifier of C at most `START_C`. Fine-tuning starts from it.
    """

    model: Model
    final: Model
    epochs: tuple[EpochMetrics, ...]
    c: float
    start: Model


def train_head(
    model: Model,
    data: TrainingData,
    *,
    cache: Path,
    balanced: bool = False,
    prior: LinearHead | None = None,
    threads: int = 0,
    on_epoch: Callable[[EpochMetrics], None],
    progress: Progress,
) -> TrainedHead:
    """Replace the classifier of ``model`` by multinomial logistic regression on its features.

    Args:
        model: The base network; its own classifier is discarded.
        data: The photos.
        cache: Folder of cached features.
        balanced: Whether every class has the same total weight in the loss.
        prior: Classifier that the penalty pulls towards, one row per class; None for zero.
        threads: Compute threads; 0 is one per core.
        on_epoch: Called with the metrics of each candidate of the regularisation.
        progress: Called with (stage, done, total).

    Raises:
        UsageError: There are no validation photos.
        ImageError: A photo cannot be read.
        MissingExtra: ONNX Runtime or scikit-learn is not installed.
        OutputError: The cache cannot be written.
    """
    train, val = data.of("train"), data.of("val")
    if not val:
        raise UsageError("a training needs validation photos to choose the regularisation on")
    paths = [sample.path for sample in (*train, *val)]
    features = photo_features(model, paths, cache, threads=threads, progress=progress)
    of_train, of_val = features[: len(train)], features[len(train) :]
    labels_train, labels_val = data.labels("train"), data.labels("val")
    classes = len(data.class_names)
    results = candidates(
        (of_train, labels_train),
        (of_val[:, 0], labels_val),
        classes,
        balanced=balanced,
        prior=prior,
        progress=lambda done, total: progress("fit the classifier", done, total),
    )
    side = model.info.preprocess.size
    epochs = tuple(
        EpochMetrics(
            "head", index, each.train_loss, each.val_loss, each.val_top1, each.c, side, each.seconds
        )
        for index, each in enumerate(results, start=1)
    )
    for epoch in epochs:
        on_epoch(epoch)
    chosen = best(results)
    start = next(each for each in reversed(results) if each.c <= min(chosen.c, START_C))
    final = fit(
        features,
        np.concatenate([labels_train, labels_val]),
        classes,
        chosen.c,
        balanced=balanced,
        prior=prior,
    )
    return TrainedHead(
        with_head(model, chosen.head, data.class_names),
        with_head(model, final, data.class_names),
        epochs,
        chosen.c,
        with_head(model, start.head, data.class_names),
    )


def with_head(model: Model, head: LinearHead, class_names: tuple[str, ...]) -> Model:
    """``model`` with average pooling and ``head`` instead of its own head.

    Args:
        model: The network.
        head: The classifier, one row per class.
        class_names: Names of the classes in index order.
    """
    backbone = pooled(model.graph)
    dense = Dense(name=CLASSIFIER, inputs=(backbone.output,), units=len(class_names))
    graph = replace(backbone, nodes=(*backbone.nodes, dense))
    weights = {
        **model.weights,
        f"{CLASSIFIER}.weight": head.weight.astype(np.float32),
        f"{CLASSIFIER}.bias": head.bias.astype(np.float32),
    }
    info = replace(model.info, labels=class_names, output_activation="softmax", multi_label=False)
    return Model(model.variant, graph, {n: weights[n] for n in graph.parameter_shapes}, info)
