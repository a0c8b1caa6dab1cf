"""Progressive learning with adaptive regularisation (Tan & Le 2021, arXiv 2104.00298, section 4).

Training has M stages of equal length. Image size, RandAugment magnitude, mixup alpha and dropout
rate grow linearly over the stages (algorithm 1). Table 6 has their first and last values.

The authors' code differs from the paper (google/automl, efficientnetv2/main_tf2.py and
effnetv2_configs.py): the first stage of M has already grown by 1 / M of the image size, M and L
reach 384 pixels, and the last magnitude and dropout rate are 10 and 0.2 (S), 15 and 0.3 (M), 20 and
0.4 (L). This module follows the paper.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_effnet.variants import Variant


@dataclass(frozen=True)
class Regularisation:
    """Image size and regularisation of one stage.

    Attributes:
        image_size: Side of the training images in pixels.
        magnitude: Magnitude of RandAugment.
        mixup: Alpha of mixup; 0 for none.
        dropout: Dropout rate before the classifier.
    """

    image_size: int
    magnitude: float
    mixup: float
    dropout: float


@dataclass(frozen=True)
class Progression:
    """Linear growth from ``first`` to ``last`` over ``stages`` stages."""

    first: Regularisation
    last: Regularisation
    stages: int = 4

    @classmethod
    def constant(
        cls, image_size: int, magnitude: float, mixup: float, dropout: float
    ) -> Progression:
        """One stage with the same values throughout."""
        values = Regularisation(image_size, magnitude, mixup, dropout)
        return cls(values, values, stages=1)

    def stage(self, index: int) -> Regularisation:
        """Values of stage ``index``, from 0: S_i = S_0 + (S_e - S_0) i / (M - 1), and likewise phi.

        Sizes are rounded to whole pixels.
        """
        share = index / (self.stages - 1) if self.stages > 1 else 1.0

        def between(start: float, end: float) -> float:
            return start + (end - start) * share

        first, last = self.first, self.last
        return Regularisation(
            round(between(first.image_size, last.image_size)),
            between(first.magnitude, last.magnitude),
            between(first.mixup, last.mixup),
            between(first.dropout, last.dropout),
        )

    def epoch(self, number: int, epochs: int) -> Regularisation:
        """Values of epoch ``number``, from 0, if each stage has ``epochs`` / M epochs."""
        return self.stage(min(number * self.stages // epochs, self.stages - 1))


#: Table 6: first and last values by variant. The last mixup alpha of L is 0.5, as in the authors'
#: code; some copies of the table on the web have 0.4.
TABLE_6 = {
    f"efficientnetv2-{size}": Progression(
        Regularisation(128, 5, 0.0, 0.1), Regularisation(image_size, magnitude, mixup, dropout)
    )
    for size, image_size, magnitude, mixup, dropout in (
        ("s", 300, 15, 0.0, 0.3),
        ("m", 380, 20, 0.2, 0.4),
        ("l", 380, 25, 0.5, 0.5),
    )
}
_SMALLEST = "efficientnetv2-s"


def progression(variant: Variant, resolution: int) -> Progression:
    """The progression of ``variant`` for a network that is used at ``resolution`` pixels.

    EfficientNetV2-S, -M and -L at their published resolution have the values of table 6. Other
    networks have the regularisation of EfficientNetV2-S, and image sizes that grow from 128 / 300
    of ``resolution`` to ``resolution``.
    """
    if variant.name in TABLE_6 and resolution == variant.resolution:
        return TABLE_6[variant.name]
    table = TABLE_6.get(variant.name, TABLE_6[_SMALLEST])
    ratio = table.first.image_size / table.last.image_size
    first = Regularisation(
        round(resolution * ratio), table.first.magnitude, table.first.mixup, table.first.dropout
    )
    last = Regularisation(resolution, table.last.magnitude, table.last.mixup, table.last.dropout)
    return Progression(first, last, table.stages)
