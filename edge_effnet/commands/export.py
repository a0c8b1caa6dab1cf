"""``edge-effnet export``: conversion of a checkpoint to model files."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from edge_effnet.commands.checkpoint import (
    CheckpointOptions,
    checkpoint_options,
    variant_and_weights,
    weights_option,
)
from edge_effnet.commands.command import Command
from edge_effnet.commands.options import channels, items, json_option, threads_option
from edge_effnet.commands.terminal import (
    note,
    progress,
    write,
    write_json,
)
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.model import Model
    from edge_effnet.names import (
        IO,
        Batch,
        FormatName,
        OutputActivation,
        Precision,
        QuantizerName,
        RecipeName,
    )
    from edge_effnet.preprocess import CropMode, Interpolation


@click.command(
    cls=Command,
    examples=[
        "export lite0 --weights mine.pth --calibration photos/ --out out/",
        "export mine.keras --formats tflite --precisions fp16 --name mine",
    ],
)
@click.argument("variant", metavar="VARIANT|CHECKPOINT")
@weights_option
@checkpoint_options
@option("--formats", default="tflite,onnx,openvino")
@option("--precisions", default="fp32,int8")
@option("--calibration")
@option("--recipe", default="default")
@option("--quantizer", default="edge-effnet")
@option("--io", default="uint8")
@option("--batch", default="1")
@option("--contrib-ops")
@option("--softmax")
@option("--per-tensor")
@option("--max-drop")
@option("--float-budget", shown="4")
@option("--avx2/--no-avx2", default=True)
@option("--force")
@threads_option()
@option("--out", default=".")
@option("--name", shown="the variant's name")
@option("--overwrite")
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
    batch: str,
    contrib_ops: bool,
    softmax: bool,
    per_tensor: bool,
    max_drop: float | None,
    float_budget: float | None,
    avx2: bool,
    force: bool,
    threads: int | None,
    out: str,
    name: str | None,
    overwrite: bool,
    json_to: str | None,
) -> None:
    """Write a checkpoint to TFLite, ONNX and OpenVINO files.

    Give a variant with --weights, or only a checkpoint: then the variant is detected. The folder of
    a training is a checkpoint too: int8 files are calibrated on its training photos. The .onnx
    file of any other image classifier can be converted too, with its graph unchanged. The precision
    mixed is int8 with the noisiest layers in float. With --max-drop, as many layers as needed
    stay in float.
    """
    variant, weights = variant_and_weights(variant, weights)
    if weights.lower().endswith(".onnx"):
        budgeted = max_drop is not None or float_budget is not None
        if per_tensor or budgeted or contrib_ops:
            raise UsageError(
                "--per-tensor, --max-drop, --float-budget and --contrib-ops are for networks of "
                "the family, not for a foreign .onnx file: omit them"
            )
        _export_foreign(
            variant, weights, checkpoint, formats, precisions, calibration, quantizer, force, out,
            name, overwrite, _batch(batch), softmax, json_to,
        )  # fmt: skip
        return
    model = checkpoint.load(variant, weights)
    with progress() as report:
        paths = _exporter(weights, model)(
            formats=cast("list[FormatName]", items(formats)),
            precisions=cast("list[Precision]", items(precisions)),  # checked by `export_model`
            calibration=calibration,
            out=out,
            recipe=recipe,
            quantizer=quantizer,
            io=io,
            per_tensor=per_tensor,
            max_drop=max_drop,
            float_budget=float_budget,
            avx2_safe=avx2,
            force=force,
            threads=threads or 0,
            name=name,
            overwrite=overwrite,
            batch=_batch(batch),
            contrib_ops=contrib_ops,
            softmax=softmax,
            progress=report,
            notify=note,
        )
    _tell(model.variant.name, paths, json_to)


def _batch(text: str) -> Batch:
    """A number, or ``dynamic``; other text is refused by the export."""
    return int(text) if text.isdecimal() else cast("Batch", text)


def _exporter(weights: str, model: Model) -> Callable[..., list[Path]]:
    """The function that exports ``model``; of a run, its photos and int8 network are used."""
    from edge_effnet.checkpoints.canonical import RUN_FILE

    if Path(weights, RUN_FILE).is_file():
        from edge_effnet.apps.training.exporting import export_run
        from edge_effnet.apps.training.run import Run

        return partial(export_run, Run.open(weights), model)
    from edge_effnet.converters.export import export as export_model

    return partial(export_model, model)


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
    name: str | None,
    overwrite: bool,
    batch: Batch,
    softmax: bool,
    json_to: str | None,
) -> None:
    if variant != "auto":
        raise UsageError(
            f"an .onnx file holds a graph of its own, not weights of {variant}: export auto "
            f"--weights {file}"
        )
    if checkpoint.checkpoint_type or checkpoint.classes:
        raise UsageError(
            "--checkpoint-type and --classes do not apply to a foreign .onnx file: omit them"
        )
    source = click.get_current_context().get_parameter_source("quantizer")
    from edge_effnet.converters.foreign.export import export
    from edge_effnet.converters.foreign.preparation import Preparation

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
            labels=checkpoint.class_names,
            formats=items(formats),
            precisions=items(precisions),
            calibration=calibration,
            out=out,
            quantizer=None if source is click.core.ParameterSource.DEFAULT else quantizer,
            force=force,
            name=name,
            overwrite=overwrite,
            batch=batch,
            softmax=softmax,
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
    from glob import escape

    from edge_effnet.formats import size_bytes

    if path.is_dir():
        return sum(part.stat().st_size for part in path.rglob("*") if part.is_file())
    if path.suffix == ".param":
        return sum(part.stat().st_size for part in path.parent.glob(f"{escape(path.stem)}.*"))
    return size_bytes(path)
