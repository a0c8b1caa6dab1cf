"""Learning rates against the papers, and the average against TensorFlow's formula."""

from __future__ import annotations

import pytest
import torch

from edge_effnet.apps.training.fine_tuning.optimizer import (
    learning_rate,
    make_average,
    make_optimizer,
    make_scheduler,
)
from edge_effnet.apps.training.fine_tuning.recipes import DEFAULT, EFFICIENTNET, Recipe
from edge_effnet.converters.frameworks.torch import build
from support.small_training import network


def rates(recipe: Recipe, steps: int, epochs: int) -> list[float]:
    optimizer = make_optimizer(build(network()), recipe)
    scheduler = make_scheduler(optimizer, recipe, steps, epochs)
    values = []
    for number in range(steps * epochs):
        scheduler.step_update(number)
        values.append(learning_rate(optimizer))
    return values


def test_the_2019_paper_decays_by_0_97_every_2_4_epochs() -> None:
    steps = 10
    values = rates(EFFICIENTNET, steps, 20)
    peak = 0.256 * EFFICIENTNET.batch / 2048
    assert max(values) <= peak
    assert values[: 5 * steps] == sorted(values[: 5 * steps])
    for number in range(5 * steps, 20 * steps):
        assert values[number] == pytest.approx(peak * 0.97 ** (number // (2.4 * steps)))


def test_rmsprop_is_tensorflows() -> None:
    """TensorFlow's RMSProp: ms <- 0.9 ms + 0.1 g^2, m <- 0.9 m + lr g / sqrt(ms + eps), w -= m."""
    model = build(network())
    optimizer = make_optimizer(model, EFFICIENTNET)
    parameter = model.get_parameter("classifier.bias")  # without weight decay
    expected, square, momentum = parameter.detach().clone(), torch.ones(3), torch.zeros(3)
    for gradient in (torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.1, 0.2, -0.3])):
        parameter.grad = gradient.clone()
        optimizer.step()
        square = 0.9 * square + 0.1 * gradient**2
        momentum = 0.9 * momentum + 0.004 * gradient / torch.sqrt(square + 1e-3)
        expected = expected - momentum
    assert torch.allclose(parameter, expected, atol=1e-7)


def test_cosine_falls_from_the_peak_to_zero() -> None:
    values = rates(DEFAULT, 10, 10)
    assert max(values) == pytest.approx(DEFAULT.learning_rate)
    assert values.index(max(values)) == round(10 * DEFAULT.warmup_epochs)
    assert values[-1] < 0.01 * max(values)


def test_the_average_follows_tensorflows_formula() -> None:
    average = make_average(build(network()), EFFICIENTNET)
    for step in (1, 5, 100, 10_000):
        expected = min(0.9999, (1 + step) / (10 + step))
        assert average.get_decay(step + 2) == pytest.approx(expected)
