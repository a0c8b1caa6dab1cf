"""Normalisation as the input's quantization parameters; the first layer takes over the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edge_effnet.calibration.passes.input_normalization import (
    input_quant_params,
    share_input_normalization,
)
from edge_effnet.calibration.plan import QuantParams
from edge_effnet.preprocess import Preprocess
from support import tflite_models as small
from support.small_plans import IMAGENET

pytest.importorskip("skimage", reason="the photos")


def test_the_input_parameters_are_the_normalisation() -> None:
    assert input_quant_params(Preprocess(8, 1.0)) == QuantParams(1 / 128, 127)
    params = input_quant_params(Preprocess(8, 1.0, mean=(0.0,) * 3, std=(255.0,) * 3))
    assert params == QuantParams(float(np.float32(1 / 255)), 0)


def test_channels_normalised_apart_share_parameters() -> None:
    """The first layer takes over the rest: equal outputs away from the padded border."""
    model = small.model_of(small.SWISH)
    model = replace(model, info=replace(model.info, preprocess=IMAGENET))
    common = share_input_normalization(model)
    params = input_quant_params(IMAGENET)
    assert params == input_quant_params(common.info.preprocess)
    assert 103 <= params.zero_point <= 124
    pixels = small.photos(1)[0]
    expected = small.evaluate(model, small.normalised(model, pixels))
    found = small.evaluate(common, small.normalised(common, pixels))
    np.testing.assert_allclose(
        params.dequantize(pixels.transpose(2, 0, 1)), found["image"], atol=1e-5
    )
    np.testing.assert_allclose(  # SAME pads the bottom and the right alone
        found["stem.conv"][:, :-1, :-1], expected["stem.conv"][:, :-1, :-1], atol=1e-4
    )
    logits = model.graph.output
    noise = np.square(found[logits] - expected[logits]).sum()
    assert noise < 1e-3 * np.square(expected[logits]).sum()


def test_an_input_normalised_alike_stays_as_it_is() -> None:
    model = small.model_of(small.LITE)
    assert share_input_normalization(model) is model


def test_a_mean_between_two_pixel_values_is_made_up_for() -> None:
    model = small.model_of(small.LITE)
    halves = replace(model.info.preprocess, mean=(127.5,) * 3, std=(127.5,) * 3)
    model = replace(model, info=replace(model.info, preprocess=halves))
    common = share_input_normalization(model)
    assert set(common.info.preprocess.mean) <= {127.0, 128.0}
    pixels = small.photos(1)[0]
    one = small.evaluate(model, small.normalised(model, pixels))["stem.conv"]
    other = small.evaluate(common, small.normalised(common, pixels))["stem.conv"]
    np.testing.assert_allclose(one[:, :-1, :-1], other[:, :-1, :-1], atol=1e-4)
