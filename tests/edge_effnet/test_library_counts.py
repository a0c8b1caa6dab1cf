"""Parameters and multiply-adds of every variant, against what the libraries and authors count."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_effnet.network import build
from edge_effnet.registry import get_variant
from edge_effnet.variants import VARIANTS
from support import RECORDED

COUNTS = json.loads((RECORDED / "library_counts.json").read_text())


def test_every_variant_is_counted_by_a_library() -> None:
    assert set(VARIANTS) <= set(COUNTS["params"])


@pytest.mark.parametrize("name", COUNTS["params"])
def test_parameters_are_the_librarys(name: str) -> None:
    ours = build(get_variant(name)).params
    assert dict.fromkeys(COUNTS["params"][name], ours) == COUNTS["params"][name]


@pytest.mark.parametrize("name", COUNTS["gflops"]["entries"])
def test_multiply_adds_are_what_torchvision_counts(name: str) -> None:
    entry = COUNTS["gflops"]["entries"][name]
    ours = build(get_variant(name), resolution=entry["side"]).multiply_adds / 1e9
    assert ours == pytest.approx(entry["gflops"], abs=0.0005001)  # they print three decimals


@pytest.mark.parametrize("name", COUNTS["readme"]["entries"])
def test_multiply_adds_are_within_one_percent_of_the_authors(name: str) -> None:
    printed = COUNTS["readme"]["entries"][name].removesuffix("B")
    decimals = len(printed.partition(".")[2])
    ours = build(get_variant(name)).multiply_adds / 1e9
    assert abs(ours - float(printed)) < max(0.01 * float(printed), 0.5 * 10**-decimals)


KERAS = {
    entry.removeprefix("keras:"): (name, count)
    for name, counts in COUNTS["params"].items()
    for entry, count in counts.items()
    if entry.startswith("keras:")
}


@pytest.mark.exhaustive
@pytest.mark.parametrize("application", KERAS)
def test_keras_still_counts_so(application: str) -> None:
    from support.keras_models import keras

    model = getattr(keras.applications, application)(weights=None)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == KERAS[application][1]
