"""Descriptions of variants and exported files, for `edge-effnet list` and `info`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_effnet.graph import Graph
from edge_effnet.network import build
from edge_effnet.printable import line
from edge_effnet.variants import Variant

if TYPE_CHECKING:
    from rich.table import Table

    from edge_effnet.model import Model


@dataclass(frozen=True)
class Description:
    """A variant, and its graph for parameter and multiply-add counts."""

    variant: Variant
    graph: Graph

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``--json``; ``flops`` are multiply-adds."""
        published = self.variant.published
        return {
            "name": self.variant.name,
            "short_name": self.variant.short_name,
            "params": self.graph.params,
            "flops": self.graph.multiply_adds,
            "input_size": self.graph.input_shape[1],
            "peak_activation_bytes_fp32": 4 * self.graph.peak_activation_elements,
            "peak_activation_bytes_int8": self.graph.peak_activation_elements,
            "published_top1": published and published.top1,
            "published_top1_int8": published and published.top1_int8,
            "published_source": published and published.source,
        }


def describe(variant: Variant, resolution: int | None = None) -> Description:
    """Description of ``variant`` with 1,000 classes, at ``resolution`` (None: its default)."""
    return Description(variant, build(variant, resolution=resolution))


def describe_file(path: str) -> dict[str, Any]:
    """The card of an exported file as plain data; raises `ModelFileError`."""
    from edge_effnet.runtime.opening import open_model

    classifier = open_model(path)
    info = classifier.runner.info
    return {
        "file": str(Path(path)),
        "batch": classifier.runner.input.batch,
        "card": json.loads(classifier.card.to_json()),
        "runtime": {"name": info.name, "version": info.version, "kernels": info.kernels},
    }


def describe_checkpoint(model: Model) -> dict[str, Any]:
    """A checkpoint as plain data: its network, preprocessing and labels."""
    info, graph = model.info, model.graph
    return {
        "variant": model.variant.name,
        "source": asdict(info.source) if info.source else None,
        "params": graph.params,
        "flops": graph.multiply_adds,
        "input_size": graph.input_shape[1],
        "preprocess": asdict(info.preprocess),
        "output_activation": info.output_activation,
        "multi_label": info.multi_label,
        "labels": list(info.labels),
    }


def checkpoint_sheet(path: str, content: Mapping[str, Any]) -> str:
    """The result of `describe_checkpoint` as lines of text."""
    source, side = content["source"], content["input_size"]
    lines = [
        path,
        f"  variant          {content['variant']}",
        f"  read as          {source['kind'] if source else 'unknown'}",
        f"  parameters       {content['params']:,}",
        f"  multiply-adds    {content['flops']:,}",
        f"  input            {side} x {side} RGB",
        f"  preprocessing    {_preparation(content['preprocess'])}",
        f"  classes          {_classes(content['labels'])}",
        f"  predictions      {content['output_activation']}"
        f"{', several labels' * content['multi_label']}",
    ]
    if source and source["sha256"]:
        lines.append(f"  sha256           {source['sha256']}")
    return "\n".join(map(line, lines))


def _preparation(preprocess: Mapping[str, Any]) -> str:
    """The preprocessing as text."""
    share = f"{preprocess['crop']:.1%} of the short side"
    mode = preprocess.get("crop_mode", "center")
    descriptions = {
        "center": f"centre crop {share}",
        "squash": "resized without the aspect ratio",
        "border": f"borders around {share}",
    }
    order = "resized, then " if preprocess.get("resize_first") and mode == "center" else ""
    return (
        f"{order}{descriptions[mode]}, {preprocess['interpolation']}, "
        f"mean {_triple(preprocess['mean'])}, std {_triple(preprocess['std'])}"
    )


def _classes(labels: Sequence[str]) -> str:
    return f"{len(labels):,}: {', '.join(labels[:3])}{', ...' * (len(labels) > 3)}"


def file_sheet(content: Mapping[str, Any]) -> str:
    """The result of `describe_file` as lines of text."""
    card, runtime = content["card"], content["runtime"]
    source, quantized, side = card["source"], card["quantization"], card["preprocess"]["size"]
    lines = [
        content["file"],
        f"  variant          {card['variant']}, {card['precision']}",
        f"  input            {side} x {side} RGB, {card['input']}{_batch(content['batch'])}",
        f"  preprocessing    {_preparation(card['preprocess'])}",
        f"  classes          {_classes(card['labels'])}",
    ]
    if quantized:
        single = ", one scale a layer" if quantized["per_tensor"] else ""
        lines.append(
            f"  quantized by     {quantized['quantizer']}, recipe {quantized['recipe']}{single}"
        )
        if results := quantized.get("compared"):
            values = ", ".join(f"{each['quantizer']} {each['sqnr_db']:.1f} dB" for each in results)
            lines.append(f"  chosen from      {values} ({results[0]['photos']} photos)")
        if record := quantized["calibration"]:
            photos, candidates = record["photos"], record["given"]
            of = (
                f"{photos:,} of {candidates:,} photos"
                if photos < candidates
                else f"{photos:,} photos"
            )
            views = "" if record["samples"] == photos else f"{record['samples']:,} samples of "
            lines.append(f"  calibrated on    {views}{of}")
        if floats := quantized["floats"]:
            lines.append(
                f"  in float         {len(floats)} layers, {quantized['float_share']:.1%} of the "
                "multiply-adds"
            )
        if quantized["forced"]:
            lines.append("  forced           it disagrees with its float network")
    if source:
        lines.append(f"  weights          {source['file']} ({source['kind']})")
    lines.append(f"  written by       {card['toolkit']}")
    lines.append(f"  runs on          {runtime['name']} {runtime['version']}, {runtime['kernels']}")
    return "\n".join(map(line, lines))


def _batch(size: int) -> str:
    return "" if size == 1 else f", {size} images at once"


def _triple(values: Sequence[float]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else ",".join(f"{v:g}" for v in values)


def table(rows: Sequence[Description], width: int) -> Table:
    """Terminal table for ``width`` columns, one variant per row."""
    from rich import box
    from rich.table import Table

    narrow = width < 80
    rich_table = Table(box=box.SIMPLE_HEAD, padding=(0, 0) if narrow else (0, 1))
    rich_table.add_column("variant", no_wrap=True)
    for heading in ("params\nM", "MAdds\nM", "input\npx", "peak\nMB", "top-1\n%", "int8\n%"):
        rich_table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        published = row.variant.published
        rich_table.add_row(
            row.variant.short_name if narrow else row.variant.name,
            f"{row.graph.params / 1e6:.2f}",
            f"{row.graph.multiply_adds / 1e6:.0f}",
            str(row.graph.input_shape[1]),
            f"{4 * row.graph.peak_activation_elements / 1e6:.1f}",
            f"{published.top1:.1f}" if published else "",
            f"{published.top1_int8:.1f}" if published and published.top1_int8 else "",
        )
    rich_table.caption = "peak: activations in float32 (int8: a quarter); top-1 as published"
    return rich_table


def sheet(row: Description) -> str:
    """A variant with its stages as lines of text."""
    variant, graph = row.variant, row.graph
    side = graph.input_shape[1]
    lines = [
        f"{variant.name}  ({variant.short_name})",
        f"  input            {side} x {side} RGB",
        f"  parameters       {graph.params:,}",
        f"  multiply-adds    {graph.multiply_adds:,}",
        f"  peak activations {4 * graph.peak_activation_elements:,} bytes float32, "
        f"{graph.peak_activation_elements:,} int8",
        f"  width, depth     {variant.width:g}, {variant.depth:g}",
        f"  activation       {variant.activation}",
    ]
    if variant.published:
        int8 = variant.published.top1_int8
        quantized = f", {int8:g} % int8" if int8 else ""
        lines.append(
            f"  published top-1  {variant.published.top1:g} %{quantized}"
            f"  ({variant.published.source})"
        )
    lines.append("  stage  operator    kernel  stride  expansion  channels  repeats  SE")
    for index, stage in enumerate(variant.scaled_stages()):
        lines.append(
            f"  {index:>5}  {stage.operator:<10}  {stage.kernel:>6}  {stage.stride:>6}  "
            f"{stage.expansion:>9}  {stage.channels:>8}  {stage.repeats:>7}  {stage.se_ratio:g}"
        )
    return "\n".join(lines)
