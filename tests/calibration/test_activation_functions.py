"""Activation functions: values and derivatives of every kind."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from edge_effnet import forward
from edge_effnet.calibration.activation_functions import ActivationFunction
from edge_effnet.graph import Activation, Graph
from edge_effnet.variants import ActivationKind
from support import numpy_network

X = np.linspace(-7.03, 7.01, 200)
STEP = 1e-6


@pytest.mark.parametrize("kind", get_args(ActivationKind))
def test_values(kind: ActivationKind) -> None:
    expected = numpy_network.activation(kind, X)
    np.testing.assert_allclose(ActivationFunction(kind)(X), expected, atol=1e-12)
    graph = Graph("x", (len(X),), (Activation(name="y", inputs=("x",), kind=kind),))
    values = forward.logits(graph, {}, X[None].astype(np.float32))[0]
    np.testing.assert_allclose(values, expected, atol=1e-6)


@pytest.mark.parametrize("kind", get_args(ActivationKind))
def test_slopes_are_the_derivatives(kind: str) -> None:
    function = ActivationFunction(kind)
    difference = (function(X + STEP) - function(X - STEP)) / (2 * STEP)
    np.testing.assert_allclose(function.slope(X), difference, atol=1e-6)


@pytest.mark.parametrize("kind", get_args(ActivationKind))
def test_the_dtype_stays(kind: str) -> None:
    function, x = ActivationFunction(kind), X.astype(np.float32)
    assert function(x).dtype == function.slope(x).dtype == np.float32
