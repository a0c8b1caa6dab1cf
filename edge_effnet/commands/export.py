"""``edge-effnet export``: a checkpoint to files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from edge_effnet.commands.checkpoint import (
    CheckpointOptions,
    checkpoint_options,
    weights_option,
)
from edge_effnet.commands.options import channels, json_option, split
from edge_effnet.commands.terminal import (
    note,
    progress,
    write,
    write_json,
)
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.names import (
        IO,
        FormatName,
        OutputActivation,
        Precision,
        QuantizerName,
        RecipeName,
    )
    from edge_effnet.preprocess import CropMode, Interpolation

_FOREIGN = "ai-edge-quantizer"  # the one that foreign files go through


@click.command()
@click.argument("variant")
@weights_option
@checkpoint_options
@click.option(
    "--formats",
    default="tflite,onnx,openvino",
    metavar="LIST",
    help="Comma-separated [all three]; also coreml, executorch, ncnn (no int8).",
)
@click.option(
    "--precisions",
    default="fp32,int8",
    show_default=True,
    metavar="LIST",
    help="Of fp32,fp16,w8,dynamic,int8, comma-separated.",
)
@click.option(
    "--calibration",
    metavar="DIR",
    help="Photos to calibrate int8 on: about 100; of more, 128 spread over all folders.",
)
@click.option(
    "--recipe",
    default="default",
    show_default=True,
    help="Or best (twice the sample positions), fast (no photos needed).",
)
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
@click.option(
    "--max-drop",
    type=float,
    metavar="POINTS",
    help="Leave layers in float so that int8 files lose no more top-1 than this.",
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
    recipe: RecipeName,
    quantizer: QuantizerName,
    io: IO,
    per_tensor: bool,
    max_drop: float | None,
    avx2: bool,
    force: bool,
    threads: int | None,
    out: str,
    json_to: str | None,
) -> None:
    """Write a checkpoint of VARIANT to TFLite, ONNX and OpenVINO.

    VARIANT 'auto' finds it from the checkpoint. With 'auto' --weights may be the .onnx file of any
    image classifier, which keeps its own graph.
    """
    if weights.lower().endswith(".onnx"):
        if per_tensor or max_drop is not None:
            raise UsageError(
                "--per-tensor and --max-drop are for networks of the family, not for a foreign "
                ".onnx file: omit them"
            )
        _export_foreign(
            variant, weights, checkpoint, formats, precisions, calibration, quantizer, force, out,
            json_to,
        )  # fmt: skip
        return
    from edge_effnet.converters.export import export as export_model

    model = checkpoint.load(variant, weights)
    with progress() as report:
        paths = export_model(
            model,
            formats=cast("list[FormatName]", split(formats)),
            precisions=cast("list[Precision]", split(precisions)),  # checked by the verb
            calibration=calibration,
            out=out,
            recipe=recipe,
            quantizer=quantizer,
            io=io,
            per_tensor=per_tensor,
            max_drop=max_drop,
            avx2_safe=avx2,
            force=force,
            threads=threads or 0,
            progress=report,
            notify=note,
        )
    _tell(model.variant.name, paths, json_to)


def _export_foreign(
    variant: str,
    file: str,
    checkpoint: CheckpointOptions,
    formats: str,
    precisions: str,
    calibration: str | None,
    quantizer: str,
    force: bool,
    out: str,
    json_to: str | None,
) -> None:
    if variant != "auto":
        raise UsageError(
            f"an .onnx file holds a graph of its own, not weights of {variant}: export auto "
            f"--weights {file}"
        )
    if checkpoint.source or checkpoint.classes or quantizer not in ("edge-effnet", _FOREIGN):
        raise UsageError(
            "--source, --classes and --quantizer say nothing of a foreign .onnx file: omit them"
        )
    from edge_effnet.converters.foreign.export import Preparation, export

    preparation = Preparation(
        mean=None if checkpoint.mean is None else channels("--mean", checkpoint.mean),
        std=None if checkpoint.std is None else channels("--std", checkpoint.std),
        crop=checkpoint.crop,
        interpolation=cast("Interpolation | None", checkpoint.interpolation),
        crop_mode=cast("CropMode | None", checkpoint.crop_mode),
        output_activation=cast("OutputActivation | None", checkpoint.output_activation),
    )
    with progress() as report:
        paths = export(
            file,
            preparation,
            resolution=checkpoint.resolution,
            labels=checkpoint.labels,
            formats=split(formats),
            precisions=split(precisions),
            calibration=calibration,
            out=out,
            force=force,
            progress=report,
            notify=note,
        )
    _tell(Path(file).stem, paths, json_to)


def _tell(variant: str, paths: list[Path], json_to: str | None) -> None:
    files: list[dict[str, Any]] = [{"file": str(path), "size_bytes": _size(path)} for path in paths]
    if json_to != "-":
        write("".join(f"{item['file']}  {item['size_bytes'] / 1e6:.2f} MB\n" for item in files))
    if json_to:
        write_json({"variant": variant, "files": files}, json_to)


def _size(path: Path) -> int:
    from edge_effnet.formats import size_bytes

    if path.is_dir():
        return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    if path.suffix == ".param":
        return sum(part.stat().st_size for part in path.parent.glob(f"{path.stem}.*"))
    return size_bytes(path)
