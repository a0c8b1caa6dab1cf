"""Tables of the EfficientNet papers: values computed from graphs, and the published values.

Sources: Tan & Le 2019, "EfficientNet", arXiv 1905.11946 v5 (tables 1, 2, 3, 5 and 7), and Tan & Le
2021, "EfficientNetV2", arXiv 2104.00298 v3 (tables 4 and 7). The authors' release publishes other
values (google/automl, efficientnetv2/README.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_effnet.benchmarks.papers.comparison import Cell, Row, Table, parse
from edge_effnet.benchmarks.papers.discrepancies import flops_cell, params_cell
from edge_effnet.benchmarks.papers.transfer import transfer
from edge_effnet.graph import Conv, Dense, GlobalAveragePool, Graph, Node
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from edge_effnet.scaling import compound, scale
from edge_effnet.variants import Variant

_V1 = "Tan & Le 2019, arXiv 1905.11946"
_V2 = "Tan & Le 2021, arXiv 2104.00298"


@dataclass(frozen=True)
class StageFacts:
    """One row of a table of stages; ``side`` is the input side of the stage in pixels."""

    operator: str
    side: int
    stride: int
    channels: int
    layers: int


def stages_of(graph: Graph, *, squeeze: bool) -> list[StageFacts]:
    """Stem, stages and head of a graph; with ``squeeze``, also the squeeze-excite ratio."""
    blocks: dict[str, dict[str, list[Node]]] = {}
    for node in graph:
        if node.name.startswith("stages."):
            _, stage, _, block, _ = node.name.split(".", 4)
            blocks.setdefault(stage, {}).setdefault(block, []).append(node)
    stem_conv, head = graph.by_name["stem.conv"], graph.by_name["head.conv"]
    stages = [_facts(graph, [stem_conv], _title(stem_conv), 1)]
    for stage_blocks in blocks.values():
        operators = {_operator(graph, nodes, squeeze) for nodes in stage_blocks.values()}
        first = next(iter(stage_blocks.values()))
        stages.append(_facts(graph, first, " or ".join(sorted(operators)), len(stage_blocks)))
    titles = [_title(node) for node in graph.nodes[graph.nodes.index(head) :]]
    return [*stages, _facts(graph, [head], " & ".join(filter(None, titles)), 1)]


def _title(node: Node) -> str:
    """The papers' name of a node outside the blocks; empty if the papers name none."""
    if isinstance(node, Conv):
        return f"Conv{node.kernel}x{node.kernel}"
    return {GlobalAveragePool: "Pooling", Dense: "FC"}.get(type(node), "")


def _facts(graph: Graph, nodes: list[Node], operator: str, layers: int) -> StageFacts:
    convolutions = [node for node in nodes if isinstance(node, Conv)]
    stride = max(node.stride for node in convolutions)
    side = graph.shapes[nodes[0].inputs[0]][1]
    return StageFacts(operator, side, stride, graph.shapes[nodes[-1].name][0], layers)


def _operator(graph: Graph, nodes: list[Node], squeeze: bool) -> str:
    """Kind, expansion, kernel and squeeze-excite ratio of a block, from its nodes."""
    layers = {n.name.rsplit(".", 1)[1]: n for n in nodes if isinstance(n, Conv) and n.kernel > 1}
    reduce = [n for n in nodes if isinstance(n, Conv) and n.name.endswith(".se.reduce")]
    channels = graph.shapes[nodes[0].inputs[0]][0]
    ((name, conv),) = layers.items()
    expansion = 1 if name == "fused" else conv.channels // channels
    kind = "MBConv" if conv.depthwise else "Fused-MBConv"
    text = f"{kind}{expansion}, k{conv.kernel}x{conv.kernel}"
    if squeeze and reduce:
        text += f", SE{reduce[0].channels / channels:g}"
    return text


def b0_stages() -> Table:
    """Table 1 of "EfficientNet" (Tan & Le 2019): the stages of EfficientNet-B0."""
    printed = (
        ("Conv3x3", 224, 32, 1),
        ("MBConv1, k3x3", 112, 16, 1),
        ("MBConv6, k3x3", 112, 24, 2),
        ("MBConv6, k5x5", 56, 40, 2),
        ("MBConv6, k3x3", 28, 80, 3),
        ("MBConv6, k5x5", 14, 112, 3),
        ("MBConv6, k5x5", 14, 192, 4),
        ("MBConv6, k3x3", 7, 320, 1),
        ("Conv1x1 & Pooling & FC", 7, 1280, 1),
    )
    rows = []
    facts = stages_of(build(get_variant("b0")), squeeze=False)
    for number, (stage, (operator, side, channels, layers)) in enumerate(
        zip(facts, printed, strict=True), 1
    ):
        cells = (
            Cell(stage.operator, operator),
            Cell(f"{stage.side}x{stage.side}", f"{side}x{side}"),
            Cell(str(stage.channels), str(channels)),
            Cell(str(stage.layers), str(layers)),
        )
        rows.append(Row(str(number), cells))
    columns = ("operator", "resolution", "channels", "layers")
    return Table("v1-1", "Stages of EfficientNet-B0", f"{_V1}, table 1", columns, tuple(rows))


def v2_s_stages() -> Table:
    """Table 4 of "EfficientNetV2" (Tan & Le 2021): the stages of EfficientNetV2-S."""
    printed = (
        ("Conv3x3", "2", 24, 1),
        ("Fused-MBConv1, k3x3", "1", 24, 2),
        ("Fused-MBConv4, k3x3", "2", 48, 4),
        ("Fused-MBConv4, k3x3", "2", 64, 4),
        ("MBConv4, k3x3, SE0.25", "2", 128, 6),
        ("MBConv6, k3x3, SE0.25", "1", 160, 9),
        ("MBConv6, k3x3, SE0.25", "2", 256, 15),
        ("Conv1x1 & Pooling & FC", "", 1280, 1),
    )
    rows = []
    facts = stages_of(build(get_variant("v2-s")), squeeze=True)
    for number, (stage, (operator, stride, channels, layers)) in enumerate(
        zip(facts, printed, strict=True)
    ):
        cells = (
            Cell(stage.operator, operator),
            Cell(str(stage.stride), stride) if stride else None,
            Cell(str(stage.channels), str(channels)),
            Cell(str(stage.layers), str(layers)),
        )
        rows.append(Row(str(number), cells))
    columns = ("operator", "stride", "channels", "layers")
    return Table("v2-4", "Stages of EfficientNetV2-S", f"{_V2}, table 4", columns, tuple(rows))


def family() -> Table:
    """Table 2 of "EfficientNet" (Tan & Le 2019): B0 to B7, and two ResNets with their ratios."""
    printed = {
        "b0": ("5.3M", "0.39B"),
        "b1": ("7.8M", "0.70B"),
        "b2": ("9.2M", "1.0B"),
        "b3": ("12M", "1.8B"),
        "b4": ("19M", "4.2B"),
        "b5": ("30M", "9.9B"),
        "b6": ("43M", "19B"),
        "b7": ("66M", "37B"),
    }
    # The paper's 4.1B is for the ResNet-50 with the stride in the 3 x 3 convolution. Its 11B is for
    # the original ResNet-152 of He et al. (11.3B).
    baselines = {
        "b0": ("resnet-50", "ResNet-50", "26M", "4.9x", "4.1B", "11x"),
        "b1": ("resnet-152-original", "ResNet-152", "60M", "7.6x", "11B", "16x"),
    }
    rows = []
    for name, (params, flops) in printed.items():
        ours = params_cell(get_variant(name), params), flops_cell(get_variant(name), flops)
        rows.append(Row(name.upper(), (ours[0], None, ours[1], None)))
        if name in baselines:
            known, title, *texts = baselines[name]
            variant = get_variant(known)
            theirs = params_cell(variant, texts[0]), flops_cell(variant, texts[2])
            ratios = [
                _ratio(baseline, cell, text)
                for baseline, cell, text in zip(theirs, ours, texts[1::2], strict=True)
            ]
            rows.append(Row(title, (theirs[0], ratios[0], theirs[1], ratios[1])))
    columns = ("params", "ratio", "FLOPs", "ratio of FLOPs")
    return Table("v1-2", "EfficientNet-B0 to B7", f"{_V1}, table 2", columns, tuple(rows))


def _ratio(baseline: Cell, reference: Cell, published: str) -> Cell:
    cell = Cell(float(baseline.computed) / float(reference.computed), published)
    if cell.agrees:
        return cell
    (above, _, _), (below, _, _) = parse(baseline.published), parse(reference.published)
    rounded = Cell(above / below, published)
    quotient = f"{baseline.published} / {reference.published} = {above / below:.2f}"
    if rounded.agrees:
        return replace(cell, note=f"the ratio of the rounded figures: {quotient}")
    return replace(cell, note=f"not reproduced: the rounded figures give {quotient}")


def _together(base: Variant) -> Variant:
    """The paper's example of compound scaling: depth 1.4, width 1.2, resolution 1.3."""
    return scale(base, depth=1.4, width=1.2, resolution=1.3)


def scaled_baselines() -> Table:
    """Table 3 of "EfficientNet" (Tan & Le 2019): scaled MobileNets and ResNet-50."""
    v1, v2, resnet = map(get_variant, ("mobilenet-v1", "mobilenet-v2", "resnet-50"))
    deep, wide = scale(resnet, depth=4), scale(resnet, width=2)
    flops = [build(variant).multiply_adds / 1e9 for variant in (deep, wide)]
    exchanged = (
        f"the article seems to have exchanged d = 4 and w = 2: {flops[0]:.1f}B and {flops[1]:.1f}B"
    )
    unnamed = "the article does not give this network's factors; here phi = 2 with those of B0"
    lines: list[tuple[str, Variant, str, str]] = [
        ("MobileNetV1", v1, "0.6B", ""),
        ("  width (w=2)", scale(v1, width=2), "2.2B", ""),
        ("  resolution (r=2)", scale(v1, resolution=2), "2.2B", ""),
        ("  d=1.4, w=1.2, r=1.3", _together(v1), "2.3B", ""),
        ("MobileNetV2", v2, "0.3B", ""),
        ("  depth (d=4)", scale(v2, depth=4), "1.2B", ""),
        ("  width (w=2)", scale(v2, width=2), "1.1B", ""),
        ("  resolution (r=2)", scale(v2, resolution=2), "1.2B", ""),
        ("  compound, as above", _together(v2), "1.3B", ""),
        ("ResNet-50", resnet, "4.1B", ""),
        ("  depth (d=4)", deep, "16.2B", exchanged),
        ("  width (w=2)", wide, "14.7B", exchanged),
        ("  resolution (r=2)", scale(resnet, resolution=2), "16.4B", ""),
        ("  compound", compound(resnet, 2), "16.7B", unnamed),
    ]
    rows = tuple(Row(name, (flops_cell(variant, *text),)) for name, variant, *text in lines)
    return Table("v1-3", "Scaled MobileNets and ResNet", f"{_V1}, table 3", ("FLOPs",), rows)


def scaled_b0() -> Table:
    """Table 7 of "EfficientNet" (Tan & Le 2019): B0 scaled by depth, width, resolution or all."""
    b0 = get_variant("b0")

    def beyond(letter: str, factor: float, variant: Variant) -> str:
        flops = build(variant).multiply_adds / 1e9
        return (
            f"more than four times the baseline, which {letter} cannot give; "
            f"{letter[0]} = {factor:g} would: {flops:.2f}B"
        )

    deep = beyond("d = 4", 4.5, scale(b0, depth=4.5))
    wide = beyond("w = 2", 2.2, scale(b0, width=2.2))
    large = beyond("r = 2", 2.2, scale(b0, resolution=2.2))
    rows = (
        Row("EfficientNet-B0", (flops_cell(b0, "0.4B"),)),
        Row("  depth (d=4)", (flops_cell(scale(b0, depth=4), "1.8B", deep),)),
        Row("  width (w=2)", (flops_cell(scale(b0, width=2), "1.8B", wide),)),
        Row("  resolution (r=2)", (flops_cell(scale(b0, resolution=2), "1.9B", large),)),
        Row("  d=1.4, w=1.2, r=1.3", (flops_cell(_together(b0), "1.8B"),)),
    )
    return Table("v1-7", "EfficientNet-B0 scaled", f"{_V1}, table 7", ("FLOPs",), rows)


def v2_family() -> Table:
    """Table 7 of "EfficientNetV2" (Tan & Le 2021): S, M and L; also the authors' release."""
    printed = {
        "v2-s": ("22M", "8.8B", "21.5M", "8.4B"),
        "v2-m": ("54M", "24B", "54.1M", "24.7B"),
        "v2-l": ("120M", "53B", "119.5M", "56.3B"),
    }
    rows = []
    for name, (params, flops, released_params, released_flops) in printed.items():
        variant = get_variant(name)
        cells = (
            params_cell(variant, params),
            flops_cell(variant, flops, _first_s() if name == "v2-s" else ""),
            params_cell(variant, released_params),
            flops_cell(variant, released_flops),
        )
        rows.append(Row(name.upper(), cells))
    columns = ("params", "FLOPs", "params, release", "FLOPs, release")
    source = f"{_V2}, table 7; release: google/automl, efficientnetv2/README.md"
    return Table("v2-7", "EfficientNetV2-S, M, L", source, columns, tuple(rows))


def _first_s() -> str:
    """Note on V2-S: the paper's first version had other channel counts at the end (24M parameters).

    The published FLOPs agree with the first version.
    """
    final = get_variant("v2-s")
    last = replace(final.stages[-1], channels=272)
    first = build(replace(final, stages=(*final.stages[:-1], last), head_channels=1792))
    return (
        "not reproduced; it may be that of the article's first version, an S of "
        f"{first.params / 1e6:.1f}M parameters (272 and 1792 channels at the end): "
        f"{first.multiply_adds / 1e9:.2f}B"
    )


#: Short name -> the function that computes the table.
TABLES: dict[str, Callable[[], Table]] = {
    "v1-1": b0_stages,
    "v1-2": family,
    "v1-3": scaled_baselines,
    "v1-5": transfer,
    "v1-7": scaled_b0,
    "v2-4": v2_s_stages,
    "v2-7": v2_family,
}
