"""network.build: the Lite family as released, and the blocks of its relatives."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edge_effnet.errors import UsageError
from edge_effnet.graph import Activation, Add, BatchNorm, Conv, Graph, Mul
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from edge_effnet.variants import VARIANTS, Stage, Variant
from support.released_channels import CHANNELS, SCALED

#: Of the released models (their .pth files and TensorFlow's README agree).
PARAMETERS = {
    "lite0": 4_652_008,
    "lite1": 5_416_680,
    "lite2": 6_092_072,
    "lite3": 8_197_096,
    "lite4": 13_006_568,
}
BLOCKS = {"lite0": 16, "lite1": 21, "lite2": 21, "lite3": 24, "lite4": 30}
#: Millions, tensorflow/tpu's lite/README.md; its profiler counts batch normalisation too.
PUBLISHED = {"lite0": 407, "lite1": 631, "lite2": 899, "lite3": 1440, "lite4": 2640}
#: kernel, stride, expansion, repeats: table 1 of arXiv 1905.11946.
ROWS = [
    (3, 1, 1, 1), (3, 2, 6, 2), (5, 2, 6, 2), (3, 2, 6, 3), (5, 1, 6, 3), (5, 2, 6, 4), (3, 1, 6, 1)
]  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_released_models(name: str) -> None:
    assert build(get_variant(name)).params == PARAMETERS[name]


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_and_shortcuts(name: str) -> None:
    graph = build(get_variant(name))
    depthwise = [node for node in graph if isinstance(node, Conv) and node.depthwise]
    assert len(depthwise) == BLOCKS[name]
    # All but the first block of each of the seven stages have a shortcut.
    assert sum(isinstance(node, Add) for node in graph) == len(depthwise) - 7


def multiply_adds(name: str) -> int:
    """Counted along the paper's table, without the Graph."""
    variant = get_variant(name)
    side, channels = -(-variant.resolution // 2), 32
    total = side**2 * 32 * 27
    for index, (kernel, stride, expansion, repeats) in enumerate(ROWS):
        outputs = SCALED.get(variant.width, CHANNELS)[1 + index]
        repeats = repeats if index in (0, 6) else math.ceil(repeats * variant.depth)
        for block in range(repeats):
            wide = channels * expansion
            total += side**2 * channels * wide * (expansion != 1)
            side = -(-side // stride) if block == 0 else side
            total += side**2 * wide * (kernel**2 + outputs)
            channels = outputs
    return total + side**2 * channels * 1280 + 1280 * 1000


@pytest.mark.parametrize("name", PUBLISHED)
def test_multiply_adds(name: str) -> None:
    count = build(get_variant(name)).multiply_adds
    assert count == multiply_adds(name)
    assert 0.94 * PUBLISHED[name] < count / 1e6 < PUBLISHED[name]


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_halves_its_map_five_times(name: str) -> None:
    variant = VARIANTS[name]
    graph = build(variant)
    side = variant.resolution
    assert graph.input_shape == (3, side, side)
    for _ in range(5):
        side = -(-side // 2)
    assert graph.shapes["head.act"] == (variant.scaled_head, side, side)
    assert graph.shapes[graph.output] == (1000,)
    assert len({node.name for node in graph}) == len(graph.nodes)


def test_parameters_do_not_depend_on_the_resolution() -> None:
    small = build(get_variant("lite0"), resolution=64)
    assert small.params == PARAMETERS["lite0"]
    assert small.multiply_adds < build(get_variant("lite0")).multiply_adds / 10


def test_classes() -> None:
    graph = build(get_variant("lite0"), classes=10, resolution=32)
    assert graph.params == PARAMETERS["lite0"] - 990 * 1281
    assert graph.shapes["classifier"] == (10,)


#: Fused-MBConv with and without expansion, MBConv with and without, squeeze-excite, swish.
RELATIVE = Variant(
    name="relative",
    stages=(
        Stage("fused", 3, 1, 1, 16, 2),
        Stage("fused", 3, 2, 4, 24, 1),
        Stage("mbconv", 5, 2, 4, 32, 2, se_ratio=0.25),
        Stage("mbconv", 3, 1, 1, 32, 1, se_ratio=0.25),
    ),
    resolution=64,
    stem_channels=16,
    head_channels=64,
)


def test_relatives_have_the_parameters_that_their_tables_say() -> None:
    def conv(inputs: int, outputs: int, kernel: int) -> int:
        return inputs * outputs * kernel**2 + 2 * outputs  # with the BN's scale and shift

    def depthwise(channels: int, kernel: int) -> int:
        return channels * kernel**2 + 2 * channels

    def squeeze_excite(wide: int, squeezed: int) -> int:
        return wide * squeezed + squeezed + squeezed * wide + wide

    expected = conv(3, 16, 3)
    expected += 2 * conv(16, 16, 3)
    expected += conv(16, 64, 3) + conv(64, 24, 1)
    # Squeezed to a quarter of the block's input, not of the expanded map.
    expected += conv(24, 96, 1) + depthwise(96, 5) + squeeze_excite(96, 6) + conv(96, 32, 1)
    expected += conv(32, 128, 1) + depthwise(128, 5) + squeeze_excite(128, 8) + conv(128, 32, 1)
    expected += depthwise(32, 3) + squeeze_excite(32, 8) + conv(32, 32, 1)
    expected += conv(32, 64, 1) + 64 * 7 + 7
    assert build(RELATIVE, classes=7).params == expected


def test_relatives_blocks_are_made_of_the_right_nodes() -> None:
    graph = build(RELATIVE, classes=7)

    def layers(block: str) -> list[str]:
        start = f"stages.{block}."
        kept = [node for node in graph if node.name.startswith(start)]
        return [node.name.removeprefix(start) for node in kept if not isinstance(node, BatchNorm)]

    assert layers("0.blocks.0") == ["fused", "fused_act", "add"]
    assert layers("1.blocks.0") == ["expand", "expand_act", "project"]
    gate = ["se.pool", "se.reduce", "se.reduce_act", "se.expand", "se.gate", "se.scale"]
    deep = ["expand", "expand_act", "depthwise", "depthwise_act", *gate, "project"]
    assert layers("2.blocks.0") == deep
    assert layers("2.blocks.1") == [*deep, "add"]
    assert layers("3.blocks.0") == [*deep[2:], "add"]
    kinds = {node.name: node.kind for node in graph if isinstance(node, Activation)}
    assert {kind for name, kind in kinds.items() if name.endswith("gate")} == {"sigmoid"}
    assert {kind for name, kind in kinds.items() if not name.endswith("gate")} == {"swish"}
    scale = graph.by_name["stages.2.blocks.0.se.scale"]
    assert isinstance(scale, Mul)
    assert graph.shapes[scale.inputs[0]] == (96, 8, 8)
    assert graph.shapes[scale.inputs[1]] == (96, 1, 1)


def test_the_stride_is_the_first_blocks() -> None:
    graph = build(RELATIVE)
    strides = {n.name: n.stride for n in graph if isinstance(n, Conv) and n.stride != 1}
    assert strides == {
        "stem.conv": 2,
        "stages.1.blocks.0.expand": 2,
        "stages.2.blocks.0.depthwise": 2,
    }


def pads(graph: Graph, name: str) -> tuple[int, ...]:
    node = graph.by_name[name]
    assert isinstance(node, Conv)
    return node.pads


def test_paddings() -> None:
    same, symmetric = build(RELATIVE), build(RELATIVE, padding="symmetric")
    assert pads(same, "stem.conv") == (0, 0, 1, 1)
    assert pads(symmetric, "stem.conv") == (1, 1, 1, 1)
    assert pads(same, "stages.2.blocks.0.depthwise") == (1, 1, 2, 2)
    assert pads(symmetric, "stages.2.blocks.0.depthwise") == (2, 2, 2, 2)
    assert pads(same, "head.conv") == pads(symmetric, "head.conv") == (0, 0, 0, 0)
    odd = build(RELATIVE, resolution=65)
    assert pads(odd, "stem.conv") == (1, 1, 1, 1)


def test_epsilon_is_the_variants_or_the_sources() -> None:
    def epsilons(graph: Graph) -> set[float]:
        return {node.eps for node in graph if isinstance(node, BatchNorm)}

    assert epsilons(build(replace(RELATIVE, bn_eps=0.5))) == {0.5}
    assert epsilons(build(RELATIVE, bn_eps=1e-5)) == {1e-5}


@pytest.mark.parametrize("resolution", [31, 2049, 0, -224])
def test_unusable_resolutions(resolution: int) -> None:
    with pytest.raises(
        UsageError, match=f"a resolution of {resolution} is outside 32..2048 .* 224"
    ):
        build(get_variant("lite0"), resolution=resolution)


@pytest.mark.parametrize("classes", [0, -1])
def test_a_classifier_has_classes(classes: int) -> None:
    with pytest.raises(UsageError, match="at least 1 class"):
        build(get_variant("lite0"), classes=classes)


def test_the_stride_of_fused_blocks_can_be_late() -> None:
    """EdgeTPU-S as TensorFlow released it: the wide 3 x 3 convolutions run at the finer size."""
    variant = get_variant("edgetpu-s")
    early, late = build(variant), build(variant, fused_stride="project")
    assert early.parameter_shapes == late.parameter_shapes
    assert early.output == late.output
    assert round(early.multiply_adds / 1e9, 2) == 1.79
    assert round(late.multiply_adds / 1e9, 2) == 2.35
    assert build(get_variant("v2-b0")) == build(get_variant("v2-b0"), fused_stride="expand")
