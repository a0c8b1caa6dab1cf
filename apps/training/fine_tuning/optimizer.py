"""Optimizer, learning-rate schedule and weight average of a recipe, all of timm."""

from __future__ import annotations

from typing import Any

from edge_effnet.apps.training.fine_tuning.layers import parameter_groups
from edge_effnet.apps.training.fine_tuning.recipes import Recipe
from edge_effnet.converters.frameworks.torch import Network
from edge_effnet.errors import require

require("timm", "train")

import torch  # noqa: E402  (after the check, whose message names the extra)
from timm.optim import create_optimizer_v2  # noqa: E402
from timm.scheduler import CosineLRScheduler, StepLRScheduler  # noqa: E402
from timm.scheduler.scheduler import Scheduler  # noqa: E402
from timm.utils import ModelEmaV3  # noqa: E402

#: Further arguments of an optimizer. RMSProp: decay 0.9 and momentum 0.9 (Tan & Le 2019, 5.2).
_ARGUMENTS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "rmsproptf": {"alpha": 0.9, "momentum": 0.9},
}
#: The average's decay is (1 + n) / (10 + n) after n steps until it reaches the recipe's, as in
#: TensorFlow's ExponentialMovingAverage with ``num_updates``, which the authors' code uses.
_EMA_WARMUP: dict[str, Any] = {"use_warmup": True, "warmup_gamma": 9.0, "warmup_power": 1.0}


def make_optimizer(network: Network, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of ``recipe`` for the parameters of ``network``."""
    optimizer: torch.optim.Optimizer = create_optimizer_v2(
        parameter_groups(network, recipe),
        recipe.optimizer,
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        eps=recipe.optimizer_epsilon,
        **_ARGUMENTS[recipe.optimizer],
    )
    return optimizer


def make_scheduler(
    optimizer: torch.optim.Optimizer, recipe: Recipe, steps: int, epochs: int
) -> Scheduler:
    """The learning rate by step, for ``epochs`` epochs of ``steps`` steps."""
    warmup = min(round(recipe.warmup_epochs * steps), steps * epochs // 2)
    common: dict[str, Any] = {
        "warmup_t": warmup,
        "warmup_lr_init": recipe.learning_rate / max(warmup, 1),
        "t_in_epochs": False,
    }
    if recipe.schedule == "cosine":
        total = max(steps * epochs - warmup, 2)  # timm warns of a schedule of one step
        return CosineLRScheduler(optimizer, t_initial=total, warmup_prefix=True, **common)
    decay_steps = recipe.decay_epochs * steps
    return StepLRScheduler(
        optimizer,
        decay_t=decay_steps,
        decay_rate=recipe.decay_rate,
        warmup_prefix=False,
        **common,
    )


def make_average(network: Network, recipe: Recipe) -> ModelEmaV3:
    """The moving average of the weights of ``network``."""
    return ModelEmaV3(network, decay=recipe.ema_decay, **_EMA_WARMUP)


def learning_rate(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the classifier, which has the largest."""
    return max(float(group["lr"]) for group in optimizer.param_groups)
