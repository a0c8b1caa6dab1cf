"""The search space: every shape is a variant that its name describes."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from edge_effnet.apps.training.search.space import Space
from edge_effnet.errors import UsageError
from edge_effnet.network import build
from edge_effnet.registry import get_variant

ALL: Any = ("depth", "width", "resolution", "kernel", "expansion")


@pytest.mark.parametrize("base", ["lite0", "b0", "v2-b0-hswish", "edgetpu-s", "v2-s-relu6-no-se"])
def test_samples_and_mutations_are_variants_with_names(base: str) -> None:
    space, random = Space(get_variant(base), ALL), Random(1)
    shape = space.sample(random)
    for _ in range(12):
        variant = space.variant(shape)
        assert get_variant(variant.name) == variant
        assert build(variant).multiply_adds > 0
        assert variant.activation == space.base.activation
        shape = space.mutate(shape, random)


@pytest.mark.parametrize(("dimension", "field"), [("depth", "depth"), ("width", "width"),
                                                  ("resolution", "side"), ("kernel", "kernels"),
                                                  ("expansion", "expansions")])  # fmt: skip
def test_only_the_dimensions_asked_for_change(dimension: Any, field: str) -> None:
    space, random = Space(get_variant("b0"), (dimension,)), Random(0)
    shapes = [space.sample(random) for _ in range(8)]
    shapes += [space.mutate(shape, random) for shape in shapes]
    for name in ("depth", "width", "side", "kernels", "expansions"):
        values = {getattr(shape, name) for shape in shapes}
        assert (len(values) > 1) == (name == field), name


def test_the_base_is_a_point_of_its_space() -> None:
    base = get_variant("v2-b0")
    assert build(Space(base, ALL).variant(Space(base, ALL).base_shape)) == build(base)
    assert build(Space(base).variant(Space(base).base_shape)) == build(base)


def test_bad_spaces_are_refused() -> None:
    wrong: Any = ("deepness",)
    with pytest.raises(UsageError, match="unknown dimension 'deepness'; known: depth, width"):
        Space(get_variant("b0"), wrong)
    with pytest.raises(UsageError, match="nothing to search"):
        Space(get_variant("b0"), ())
    with pytest.raises(UsageError, match="is a shape of lite0: search from that variant"):
        Space(get_variant("lite0-d0.8-w1-r192"))
