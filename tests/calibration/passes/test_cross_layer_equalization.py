"""Cross-layer equalization: the same function, narrower weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_effnet.calibration.passes.cross_layer_equalization import equalize
from edge_effnet.graph import Activation, Add, Conv, Dense
from edge_effnet.model import Model
from support import tflite_models as small

#: As EdgeTPU's: nothing clips from above.
RELU = replace(small.LITE, name="tiny-relu", activation="relu")
PICTURES = np.stack(small.photos(6))


def skewed(model: Model, seed: int, strength: float = 1.0) -> Model:
    """The same network with the rows of each layer of very different sizes."""
    rng = np.random.default_rng(seed)
    weights = dict(model.weights)
    for node in model.graph:
        if isinstance(node, Conv):
            factor = np.exp2(rng.normal(scale=strength, size=node.channels)).astype(np.float32)
            weights[f"{node.name}.weight"] = (
                weights[f"{node.name}.weight"] * factor[:, None, None, None]
            )
    return replace(model, weights=weights)


def spread(model: Model) -> float:
    """Bits that one scale a layer loses against one a channel, on average over all channels."""
    lost = []
    for node in model.graph:
        if isinstance(node, (Conv, Dense)):
            weight = np.abs(model.weights[f"{node.name}.weight"])
            peaks = weight.reshape(len(weight), -1).max(axis=1)
            lost.append(np.log2(peaks.max() / np.maximum(peaks, 1e-9)))
    return float(np.concatenate(lost).mean())


def outputs(model: Model, pictures: np.ndarray = PICTURES) -> np.ndarray:
    return np.stack(
        [
            small.evaluate(model, small.normalised(model, picture))[model.graph.output]
            for picture in pictures
        ]
    )


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), strength=st.sampled_from([0.5, 1.5]))
@pytest.mark.parametrize("variant", [small.LITE, RELU, small.SWISH], ids=lambda v: v.name)
def test_the_function_stays_the_same(variant: small.Variant, seed: int, strength: float) -> None:
    model = skewed(small.model_of(variant), seed, strength)
    pictures = PICTURES[:2]
    changed = equalize(model)
    before, after = outputs(model, pictures), outputs(changed, pictures)
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()


def test_max_pools_gates_and_shared_tensors() -> None:
    """A graph that no EfficientNet has: grouped layers, a relu beside an Add, dense layers."""
    model = skewed(small.baseline(), 3)
    changed = equalize(model)
    before, after = outputs(model), outputs(changed)
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()
    assert any(
        not np.array_equal(changed.weights[name], model.weights[name]) for name in model.weights
    )


@pytest.mark.parametrize(("variant", "bits"), [(small.LITE, 0.05), (RELU, 0.6)])
def test_one_scale_a_layer_loses_less(variant: small.Variant, bits: float) -> None:
    model = skewed(small.model_of(variant), 0)
    assert spread(equalize(model)) < spread(model) - bits


@pytest.mark.parametrize("variant", [small.LITE, small.SWISH], ids=lambda v: v.name)
def test_linear_tensors_alone(variant: small.Variant) -> None:
    """What a swish or a ReLU6 reads and makes keeps its values; the sums of blocks change."""
    model = skewed(small.model_of(variant), 0)
    changed = equalize(model)
    assert spread(changed) < spread(model)
    pixels = small.normalised(model, PICTURES[0])
    before, after = small.evaluate(model, pixels), small.evaluate(changed, pixels)
    different = set()
    for node in model.graph:
        same = np.allclose(before[node.name], after[node.name], rtol=1e-3, atol=1e-4)
        if isinstance(node, Activation):
            assert same, node.name
        elif not same:
            different.add(node.name)
    adds = {node.name for node in model.graph if isinstance(node, Add)}
    assert adds <= different


def test_dead_channels_stay_finite() -> None:
    model = small.model_of(small.LITE)
    weights = {name: values.copy() for name, values in model.weights.items()}
    for node in model.graph:
        if isinstance(node, Conv):
            weights[f"{node.name}.weight"][1] = 0
    model = replace(model, weights=weights)
    changed = equalize(model)
    assert all(np.isfinite(values).all() for values in changed.weights.values())
    np.testing.assert_allclose(outputs(changed), outputs(model), rtol=1e-3, atol=1e-4)
