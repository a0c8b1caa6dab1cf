"""`fine_tune`: train all layers of a network whose head was already trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edge_effnet.apps.training.fine_tuning import state as states
from edge_effnet.apps.training.fine_tuning.devices import (
    Processes,
    compute_threads,
    find_device,
    processes,
)
from edge_effnet.apps.training.fine_tuning.frozen_features import cached
from edge_effnet.apps.training.fine_tuning.layers import (
    has_batch_statistics,
    is_untrained,
    split,
    trainable,
)
from edge_effnet.apps.training.fine_tuning.loop import Diverged, Loop, Weights
from edge_effnet.apps.training.fine_tuning.photos import Photos, short_side
from edge_effnet.apps.training.fine_tuning.progressive import Regularisation
from edge_effnet.apps.training.fine_tuning.recipes import Recipe
from edge_effnet.apps.training.fine_tuning.settings import FineTuneSettings
from edge_effnet.apps.training.fine_tuning.teacher import load_teacher
from edge_effnet.apps.training.fine_tuning.validation import Validation
from edge_effnet.apps.training.fine_tuning.views import FreshViews, Views
from edge_effnet.apps.training.metrics import EpochMetrics
from edge_effnet.apps.training.samples import TrainingData
from edge_effnet.converters.frameworks.torch import Network, to_weights
from edge_effnet.errors import UsageError
from edge_effnet.files import make_folder
from edge_effnet.graph import Graph
from edge_effnet.model import Model
from edge_effnet.progress import Progress, ignore_progress, say

import torch  # isort: skip  (after the modules that check for the extra)

CACHING = "features of the frozen stages"


def fine_tune(
    model: Model,
    data: TrainingData,
    settings: FineTuneSettings,
    *,
    state: Path,
    start: Model | None = None,
    on_epoch: Callable[[EpochMetrics], None] = lambda row: None,
    progress: Progress = ignore_progress,
) -> Model:
    """Fine-tune a network on labelled photos.

    An interrupted call goes on from ``state`` after the last finished epoch, and its result equals
    that of an uninterrupted call bit for bit on a CPU. A larger ``settings.epochs`` extends a
    finished training. If ``torchrun`` started this process, all its processes train together.

    Args:
        model: The network, with a head for the classes of ``data``. BatchNorm may be folded if the
            recipe does not need batch statistics.
        data: The photos. The split ``train`` is learned, ``val`` chooses the epoch.
        settings: The user's choices.
        state: File of the state; written after each epoch.
        start: ``model`` with the classifier that the first epoch starts from; None for its own.
            The epochs are compared with ``model``.
        on_epoch: Called with the metrics of each epoch; when resuming, first of earlier epochs.
        progress: Called with the step's name, units done and units in all.

    Returns:
        The network with the weights of the best epoch, or ``model`` itself if no epoch was better
        than it on the validation photos.

    Raises:
        UsageError: The network does not fit the photos, the recipe or the device, or ``state``
            belongs to another training.
        ImageError: A photo cannot be read.
        ModelFileError: ``state`` is damaged.
        OutputError: The disk is full.
        MissingExtra: torch or timm is missing.
    """
    device = check(model, settings, data.class_names)
    _check_data(model, data)
    make_folder(state.parent)
    origin = model if start is None else start
    with _prepared(origin, data, settings, device, state.parent, progress) as prepared:
        loop = prepared.loop
        validation = Validation(
            [sample.path for sample in data.of("val")],
            data.labels("val"),
            model.info.preprocess,
            device,
            prepared.lower,
        )
        outcome = loop.run(
            prepared.views,
            validation,
            head=trainable(model, loop.graph, loop.recipe).to(device),
            state=state,
            identity=states.identity(origin, data, settings),
            on_epoch=on_epoch,
            progress=progress,
        )
        if outcome.stopped and loop.team.first:
            say(f"fine-tuning stopped: {outcome.stopped}")
        if outcome.weights is None:
            return model
        return _with_weights(model, loop.network, outcome.weights)


def retrain(
    model: Model,
    tuned: Model,
    data: TrainingData,
    settings: FineTuneSettings,
    *,
    state: Path,
    progress: Progress = ignore_progress,
) -> Model:
    """Fine-tune again with the validation photos, for all epochs.

    Validation has decided for fine-tuning, so its photos can be learned too. The accuracy on them
    then says nothing about new photos; that of ``tuned`` does. The epoch that was best before is
    not used: early epochs differ between trainings by more than they gain, as the learning rate is
    high.

    Args:
        model: The network that `fine_tune` started from: its ``start``, if there was one.
        tuned: The result of `fine_tune`.
        data: The photos.
        settings: The user's choices.
        state: State file of `fine_tune`; this function's own is beside it until it ends.
        progress: Called with the step's name, units done and units in all.

    Returns:
        The network trained on all photos but those of the split ``test``. It is ``tuned`` if that
        is ``model``, if the recipe does not ask for it, or if the loss diverges.

    Raises:
        ModelFileError: A state is damaged.
        OutputError: The disk is full.
    """
    if tuned is model or not settings.training_recipe.retrain:
        return tuned
    device = check(model, settings, data.class_names)
    samples = tuple(replace(s, split="train") if s.split == "val" else s for s in data.samples)
    everything = replace(data, samples=samples)
    with _prepared(model, everything, settings, device, state.parent, progress) as prepared:
        team = prepared.loop.team
        name = f"{state.stem}-retrain-{settings.total_epochs}{state.suffix}"
        resume_file = state.with_name(name)
        try:
            weights = prepared.loop.retrain(
                prepared.views,
                state=resume_file,
                identity=states.identity(model, everything, settings),
                progress=lambda step, done, total: progress(f"{step} on all photos", done, total),
            )
        except Diverged:
            return tuned
        if team.first:
            resume_file.unlink(missing_ok=True)
        return _with_weights(model, prepared.loop.network, weights)


@dataclass(frozen=True)
class _Prepared:
    """The loop of a training, its batches, and the frozen stages below the trained network."""

    loop: Loop
    views: Views
    lower: Network | None


@contextmanager
def _prepared(
    model: Model,
    data: TrainingData,
    settings: FineTuneSettings,
    device: torch.device,
    folder: Path,
    progress: Progress,
) -> Iterator[_Prepared]:
    """Join the other processes, split the network, and prepare the views of the photos."""
    recipe = settings.training_recipe
    if is_untrained(model):  # frozen stages would never be trained
        recipe = replace(recipe, frozen_stages=0)
    with compute_threads(settings.threads), processes(device) as team:
        lower_graph, graph = split(model.graph, recipe.frozen_stages)
        network = trainable(model, graph, recipe).to(device)
        lower = None if lower_graph is None else _frozen(model, lower_graph, device)
        progression = recipe.progression(model.variant, model.info.preprocess.size)
        loop = Loop(network, settings, recipe, progression, data.labels("train"), team)
        source = _source(model, data, settings, recipe, device, lower, progression.last)
        with _views(source, progression.last, graph, folder, team, progress) as views:
            yield _Prepared(loop, views, lower)


def _with_weights(model: Model, network: Network, trained: Weights) -> Model:
    """``model`` with the weights that were trained."""
    network.load_state_dict(trained)
    weights = {**model.weights, **to_weights(network)}
    return replace(
        model,
        weights={name: weights[name] for name in model.graph.parameter_shapes},
        info=replace(model.info, untrained=False),
    )


def check(
    model: Model, settings: FineTuneSettings, class_names: tuple[str, ...] | None = None
) -> torch.device:
    """Check everything that does not need the photos, so that bad settings are refused early.

    Args:
        model: The network, before or after its head was trained.
        settings: The user's choices.
        class_names: Names of the photos' classes; None if they are not known yet.

    Returns:
        The device.

    Raises:
        UsageError: The device is missing, the teacher has other classes, or BatchNorm is folded
            and the recipe needs its statistics.
        CheckpointError: The teacher cannot be read.
    """
    device = find_device(settings.device)
    recipe = settings.training_recipe
    if recipe.batch_statistics and not has_batch_statistics(model):
        raise UsageError(
            f"the recipe {recipe.name!r} trains with batch statistics, but BatchNorm is folded in "
            "these weights",
            hint="use recipe='default'",
        )
    if settings.teacher is not None:
        load_teacher(settings.teacher, class_names, torch.device("cpu"))
    return device


def _check_data(model: Model, data: TrainingData) -> None:
    """Raise `UsageError` if the network cannot be fine-tuned on the photos."""
    if model.info.labels != data.class_names:
        raise UsageError(
            f"the network has the classes {_shortened(model.info.labels)}, the photos have "
            f"{_shortened(data.class_names)}; train the head on these photos first"
        )
    if model.info.output_activation != "softmax" or model.classes != len(data.class_names):
        raise UsageError(
            "only networks with one softmax output per class can be fine-tuned; train a new head "
            "on these photos first"
        )
    for split_name, purpose in (("train", "to learn"), ("val", "to choose the best epoch")):
        if not any(sample.split == split_name for sample in data.samples):
            raise UsageError(f"no photo is in the split {split_name!r}, which is needed {purpose}")


def _shortened(names: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if names[most:] else "")


def _frozen(model: Model, graph: Graph, device: torch.device) -> Network:
    network = Network(graph, model.weights, model.variant).eval().requires_grad_(False)
    # torch's annotations of `to` have no overload with memory_format.
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _source(
    model: Model,
    data: TrainingData,
    settings: FineTuneSettings,
    recipe: Recipe,
    device: torch.device,
    lower: Network | None,
    last: Regularisation,
) -> FreshViews:
    """Views of the training photos, up to the size of ``last``."""
    preprocess = model.info.preprocess
    teacher = settings.teacher
    paths = [sample.path for sample in data.of("train")]
    return FreshViews(
        Photos(paths, short_side(max(last.image_size, preprocess.size), recipe.crop_scale[0])),
        data.labels("train"),
        recipe,
        preprocess,
        device,
        settings.seed,
        lower,
        None if teacher is None else load_teacher(teacher, data.class_names, device),
    )


@contextmanager
def _views(
    source: FreshViews,
    regularisation: Regularisation,
    graph: Graph,
    folder: Path,
    team: Processes,
    progress: Progress,
) -> Iterator[Views]:
    """Cached features if stages are frozen and one process trains; else ``source``."""
    if source.lower is None or team.count > 1:
        source.photos.preload()
        yield source
        return

    def report(done: int, total: int) -> None:
        progress(CACHING, done, total)

    with cached(source, regularisation, graph.input_shape, folder, report) as views:
        yield views
