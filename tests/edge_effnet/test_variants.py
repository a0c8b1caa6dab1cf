"""Variants: names, and the scaling of channels and repeats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.errors import UsageError
from edge_effnet.registry import get_variant
from edge_effnet.variants import (
    VARIANTS,
    Published,
    Stage,
    Variant,
    round_filters,
    round_repeats,
)
from support.released_channels import CHANNELS, SCALED

LITE = [f"efficientnet-lite{number}" for number in range(5)]


def test_lite_is_there_and_keys_are_names() -> None:
    assert set(LITE) <= set(VARIANTS)
    assert all(variant.name == name for name, variant in VARIANTS.items())


@pytest.mark.parametrize("name", VARIANTS)
def test_every_spelling_finds_its_variant(name: str) -> None:
    variant = VARIANTS[name]
    for spelling in (name, variant.short_name, name.upper(), name.replace("-", "_")):
        assert get_variant(spelling) is variant
    assert get_variant(f" tf_{name.replace('-', '_')} ") is variant  # timm's name
    assert get_variant(variant) is variant


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("lite", r"lite\d"), ("light0", "lite0"), ("efficientnet-lite-3", "efficientnet-lite3")],
)
def test_an_unknown_name_gets_the_nearest(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"unknown variant '{typed}'; did you mean .*{meant}"):
        get_variant(typed)


@pytest.mark.parametrize("typed", ["", "swin_xlarge", "🦆"])
def test_a_name_like_no_other_points_to_the_list(typed: str) -> None:
    with pytest.raises(UsageError, match=r"list_variants\(\) lists them"):
        get_variant(typed)


def test_resolutions_and_dropout_of_the_release() -> None:
    """efficientnet_lite_builder.py: width, depth, resolution, dropout."""
    found = [(v.width, v.depth, v.resolution, v.dropout) for v in map(get_variant, LITE)]
    assert found == [
        (1.0, 1.0, 224, 0.2),
        (1.0, 1.1, 240, 0.2),
        (1.1, 1.2, 260, 0.3),
        (1.2, 1.4, 280, 0.3),
        (1.4, 1.8, 300, 0.3),
    ]


def test_published_accuracy_has_a_source() -> None:
    for variant in VARIANTS.values():
        assert isinstance(variant.published, Published)
        assert 50 < variant.published.top1 < 100
        assert variant.published.source
        assert (variant.published.top1_int8 or 0) < variant.published.top1


# As in the released checkpoints of B2, B3, B4 and B7.
REPEATS = {
    1.1: (2, 3, 4, 5),
    1.2: (2, 3, 4, 5),
    1.4: (2, 3, 5, 6),
    1.8: (2, 4, 6, 8),
    3.1: (4, 7, 10, 13),
}


@pytest.mark.parametrize("width", SCALED)
def test_channels_of_the_released_networks(width: float) -> None:
    assert tuple(round_filters(channels, width) for channels in CHANNELS) == SCALED[width]


@pytest.mark.parametrize("depth", REPEATS)
def test_repeats_of_the_released_networks(depth: float) -> None:
    assert tuple(round_repeats(repeats, depth) for repeats in (1, 2, 3, 4)) == REPEATS[depth]


def test_width_of_one_changes_nothing() -> None:
    assert [round_filters(channels, 1.0) for channels in CHANNELS] == list(CHANNELS)


widths = st.floats(0.1, 4.0)
divisors = st.sampled_from([1, 4, 8, 16])
counts = st.integers(1, 256)


@given(counts, widths, divisors)
def test_rounded_filters_are_near_and_divisible(count: int, width: float, divisor: int) -> None:
    rounded = round_filters(count * divisor, width, divisor)
    assert rounded % divisor == 0
    assert rounded > 0
    scaled = count * divisor * width
    assert 0.9 * scaled <= rounded <= max(divisor, scaled + divisor)


@given(counts, counts, widths, widths, divisors)
def test_more_channels_or_width_never_give_fewer(
    one: int, other: int, narrow: float, wide: float, divisor: int
) -> None:
    few, many = sorted([one * divisor, other * divisor])
    narrow, wide = sorted([narrow, wide])
    assert round_filters(few, narrow, divisor) <= round_filters(many, wide, divisor)


@given(st.integers(1, 20), st.floats(1.0, 4.0))
def test_repeats_round_up(repeats: int, depth: float) -> None:
    scaled = repeats * depth
    assert scaled <= round_repeats(repeats, depth) < scaled + 1 + 1e-9  # of 1 + an ulp, too


def test_lite_keeps_its_stem_head_and_ends() -> None:
    variant = get_variant("lite4")
    assert (variant.scaled_stem, variant.scaled_head) == (32, 1280)
    stages = variant.scaled_stages()
    assert [stage.repeats for stage in stages] == [1, 4, 4, 6, 6, 8, 1]
    assert [stage.channels for stage in stages] == list(SCALED[1.4][1:-1])


def test_what_is_not_fixed_is_scaled() -> None:
    row = Stage("fused", 5, 2, 4, 40, 2, 0.25)
    variant = Variant("made-up", (row, row, row), 64, width=1.4, depth=1.8)
    assert (variant.scaled_stem, variant.scaled_head) == (48, 1792)
    assert variant.scaled_stages() == (Stage("fused", 5, 2, 4, 56, 4, 0.25),) * 3
