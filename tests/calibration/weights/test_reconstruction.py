"""Bias correction of one layer: mean of each output channel, before and after the clip."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.calibration.activation_functions import CLIPS, ActivationFunction
from edge_effnet.calibration.weights.reconstruction import channel_bias_correction


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 2**31),
    st.floats(-2, 2),  # beyond a deviation of the targets, Newton's few steps can go astray
    st.sampled_from(["relu6", "relu"]),
)
def test_bias_correction_matches_the_mean_after_the_clip(
    seed: int, offset: float, kind: str
) -> None:
    rng = np.random.default_rng(seed)
    targets = rng.normal(1, 2, (3, 4000)).astype(np.float32)
    outputs = (targets + rng.normal(0, 0.1, targets.shape) + offset).astype(np.float32)
    clip = CLIPS[kind]
    shift = channel_bias_correction(outputs, targets, ActivationFunction(kind))
    goal = np.clip(targets, *clip)
    before = ((np.clip(outputs, *clip) - goal) ** 2).mean(axis=1)
    after = ((np.clip(outputs + shift[:, None], *clip) - goal) ** 2).mean(axis=1)
    assert (after <= before + 1e-7).all()
    gap = np.abs(np.clip(outputs + shift[:, None], *clip).mean(axis=1) - goal.mean(axis=1))
    assert (gap < 0.02 + 0.1 * abs(offset) ** 2).all()


def test_bias_correction_leaves_channels_that_are_always_clipped() -> None:
    outputs = np.full((1, 50), -4.0, np.float32)
    assert channel_bias_correction(outputs, outputs - 1, ActivationFunction("relu6")).tolist() == [
        0.0
    ]
