"""The progression against algorithm 1 and table 6 of arXiv 2104.00298."""

from __future__ import annotations

import pytest

from edge_effnet.apps.training.fine_tuning.progressive import Progression, progression
from edge_effnet.apps.training.fine_tuning.recipes import get_recipe
from edge_effnet.registry import get_variant

#: Table 6, as printed: min and max of image size, RandAugment, mixup alpha, dropout rate.
PRINTED = {
    "v2-s": ((128, 300), (5, 15), (0, 0), (0.1, 0.3)),
    "v2-m": ((128, 380), (5, 20), (0, 0.2), (0.1, 0.4)),
    "v2-l": ((128, 380), (5, 25), (0, 0.5), (0.1, 0.5)),
}


def of(name: str) -> Progression:
    variant = get_variant(name)
    return get_recipe("efficientnetv2").progression(variant, variant.resolution)


@pytest.mark.parametrize("name", PRINTED)
def test_algorithm_1_with_the_bounds_of_table_6(name: str) -> None:
    stages, epochs = 4, 350  # section 5.1: four stages of about 87 epochs
    plan = of(name)
    for number in range(epochs):
        i = min(number * stages // epochs, stages - 1)
        expected = [low + (high - low) * i / (stages - 1) for low, high in PRINTED[name]]
        values = plan.epoch(number, epochs)
        assert values.image_size == round(expected[0])
        assert (values.magnitude, values.mixup, values.dropout) == pytest.approx(expected[1:])
    lengths = [
        sum(plan.epoch(n, epochs) == plan.stage(stage) for n in range(epochs))
        for stage in range(stages)
    ]
    assert sum(lengths) == epochs
    assert set(lengths) == {87, 88}


def test_other_networks_end_at_their_own_resolution() -> None:
    plan = progression(get_variant("v2-b0"), 224)
    assert [plan.stage(i).image_size for i in range(4)] == [96, 139, 181, 224]
    assert plan.stage(3).dropout == 0.3
    assert progression(get_variant("v2-s"), 192).last.image_size == 192


@pytest.mark.parametrize(("name", "dropout"), [("b0", 0.2), ("b4", 0.4), ("b7", 0.5)])
def test_other_recipes_have_one_stage(name: str, dropout: float) -> None:
    variant = get_variant(name)
    plan = get_recipe("efficientnet").progression(variant, variant.resolution)
    assert {plan.epoch(n, 10) for n in range(10)} == {plan.last}
    assert (plan.last.image_size, plan.last.dropout) == (variant.resolution, dropout)


def test_fewer_epochs_than_stages_still_end_with_the_last() -> None:
    assert of("v2-m").epoch(0, 1).image_size == 128
    assert of("v2-m").epoch(3, 4).image_size == 380
