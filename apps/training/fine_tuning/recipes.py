"""Fine-tuning recipes as plain data.

Sources:
  efficientnet     Tan & Le 2019, arXiv 1905.11946, section 5.2; what the paper leaves open is from
                   tensorflow/tpu, official/efficientnet/main.py and utils.py
  efficientnetv2   Tan & Le 2021, arXiv 2104.00298, section 5.1, algorithm 1 and table 6
  default          measured on the photos of five kinds of flowers (docs/training.md)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_effnet.apps.training.fine_tuning.progressive import TABLE_6, Progression, progression
from edge_effnet.errors import UsageError
from edge_effnet.variants import Variant

RecipeName = Literal["default", "efficientnet", "efficientnetv2"]


@dataclass(frozen=True)
class Recipe:
    """How a network is fine-tuned.

    Attributes:
        name: Name of the recipe.
        summary: One line for the user.
        epochs: Passes over the training photos.
        batch: Photos of one optimizer step, over all processes.
        optimizer: Name in timm's registry.
        learning_rate: Peak learning rate of the classifier at this ``batch``.
        weight_decay: Weight decay of weights with more than one dimension.
        layer_decay: Factor of the learning rate from each block to the block before it.
        schedule: ``cosine`` to 0, or ``exponential``: times ``decay_rate`` each ``decay_epochs``.
        decay_rate: Factor of the exponential schedule.
        decay_epochs: Epochs between two steps of the exponential schedule.
        warmup_epochs: Epochs of linear warm-up from 0.
        optimizer_epsilon: Epsilon of the optimizer's denominator.
        clip_norm: Largest gradient norm; None for no clipping.
        batch_statistics: Whether BatchNorm uses and updates batch statistics. Networks with folded
            BatchNorm need False.
        frozen_stages: Number of stages, counted from the input, that keep their weights; the first
            convolution belongs to them. 0 trains all layers.
        views: Augmented views per photo if stages are frozen; their features are cached. 0 draws
            new views each epoch.
        ema_decay: Decay of the moving average of the weights; the average is what is evaluated.
        label_smoothing: Probability that is spread over all classes.
        crop_scale: Smallest and largest area of random resized crops, as a fraction of the photo.
        policy: timm's name of the augmentation policy; ``{magnitude:.0f}`` is replaced.
        magnitude: Magnitude of RandAugment.
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of CutMix; 0 for none.
        dropout: Dropout rate before the classifier; None for the variant's.
        drop_connect: Stochastic-depth rate of the last block; None for the variant's.
        patience: Epochs without a better validation result before training stops; None to train
            all epochs.
        retrain: Whether the network is trained again with the validation photos, for all epochs, if
            an epoch beat the head.
        progressive: Whether image size and regularisation grow by `progression`.
        distillation: Weight of the teacher's loss, if there is a teacher; labels have the rest.
    """

    name: RecipeName
    summary: str
    epochs: int
    batch: int
    optimizer: Literal["adamw", "rmsproptf"]
    learning_rate: float
    weight_decay: float
    schedule: Literal["cosine", "exponential"]
    policy: str
    layer_decay: float = 1.0
    decay_rate: float = 0.97
    decay_epochs: float = 2.4
    warmup_epochs: float = 0.0
    optimizer_epsilon: float = 1e-8
    clip_norm: float | None = None
    batch_statistics: bool = False
    frozen_stages: int = 0
    views: int = 0
    ema_decay: float = 0.9999
    label_smoothing: float = 0.1
    crop_scale: tuple[float, float] = (0.08, 1.0)
    magnitude: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    dropout: float | None = None
    drop_connect: float | None = None
    patience: int | None = None
    retrain: bool = False
    progressive: bool = False
    distillation: float = 0.5

    def progression(self, variant: Variant, resolution: int) -> Progression:
        """Image size and regularisation of each epoch for ``variant`` at ``resolution`` pixels."""
        if self.progressive:
            return progression(variant, resolution)
        dropout = variant.dropout if self.dropout is None else self.dropout
        return Progression.constant(resolution, self.magnitude, self.mixup, dropout)


#: Photos of one step on a machine at hand; the papers' 2,048 and 4,096 need a pod of TPUs.
_BATCH = 32

DEFAULT = Recipe(
    name="default",
    summary="AdamW with layer-wise decayed rates; BatchNorm statistics stay as they are",
    epochs=8,
    batch=16,
    optimizer="adamw",
    learning_rate=2e-4,
    weight_decay=0.05,
    layer_decay=0.8,
    schedule="cosine",
    warmup_epochs=1.5,
    clip_norm=1.0,
    frozen_stages=3,
    views=10,
    ema_decay=0.98,
    # Smoothed labels undo the head's probabilities: in cross-validation on flowers5 the calibrated
    # loss of the fine-tuned Lite0 was above the head's (0.25 and 0.22), and 0.18 without smoothing.
    label_smoothing=0.0,
    crop_scale=(0.35, 1.0),
    policy="rand-m{magnitude:.0f}-n2-mstd0.5-inc1",
    magnitude=6.0,
    drop_connect=0.0,
    retrain=True,
)

EFFICIENTNET = Recipe(
    name="efficientnet",
    summary="Tan & Le 2019: RMSProp, AutoAugment, stochastic depth, dropout by variant",
    epochs=350,
    batch=_BATCH,
    optimizer="rmsproptf",
    learning_rate=0.256 * _BATCH / 2048,
    weight_decay=1e-5,
    schedule="exponential",
    warmup_epochs=5.0,
    optimizer_epsilon=1e-3,
    batch_statistics=True,
    # v0r is v0 without its posterizations to 0 bits, which Pillow refuses.
    policy="v0r",
    drop_connect=0.2,
)

EFFICIENTNETV2 = Recipe(
    name="efficientnetv2",
    summary="Tan & Le 2021: progressive learning with adaptive regularisation",
    epochs=350,
    batch=_BATCH,
    optimizer="rmsproptf",
    learning_rate=0.256 * _BATCH / 4096,
    weight_decay=1e-5,
    schedule="exponential",
    warmup_epochs=5.0,
    optimizer_epsilon=1e-3,
    batch_statistics=True,
    # TensorFlow's RandAugment does not clip magnitudes at 10, so timm's limit is lifted.
    policy="rand-m{magnitude:.0f}-n2-mmax30",
    magnitude=TABLE_6["efficientnetv2-s"].first.magnitude,
    drop_connect=0.2,
    progressive=True,
)

RECIPES: dict[str, Recipe] = {each.name: each for each in (DEFAULT, EFFICIENTNET, EFFICIENTNETV2)}


def get_recipe(name: str) -> Recipe:
    """The recipe ``name``; raises `UsageError` if there is none."""
    if name not in RECIPES:
        raise UsageError(f"unknown fine-tuning recipe {name!r}; known: {', '.join(RECIPES)}")
    return RECIPES[name]
