"""``edge-effnet convert-weights``: conversion of any checkpoint to safetensors."""

from __future__ import annotations

import click

from edge_effnet.commands.checkpoint import CheckpointOptions, checkpoint_options
from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option
from edge_effnet.commands.terminal import write, write_json
from edge_effnet.commands.vocabulary import option


@click.command(
    "convert-weights",
    cls=Command,
    examples=[
        "convert-weights mine.pth mine.safetensors --class-names labels.txt",
        "convert-weights model.keras b0.safetensors --variant b0",
    ],
)
@click.argument("checkpoint_file", metavar="IN")
@click.argument("target", metavar="OUT.safetensors")
@option("--variant", default="auto", shown="found from the tensors")
@checkpoint_options
@option("--overwrite")
@json_option
def convert_weights(
    checkpoint_file: str,
    target: str,
    variant: str,
    checkpoint: CheckpointOptions,
    overwrite: bool,
    json_to: str | None,
) -> None:
    """Convert a checkpoint to safetensors.

    The tensors get this project's canonical names. The file records variant, padding, preprocessing
    and class names, so it can be read without options.
    """
    from edge_effnet.checkpoints.canonical import check_target, refuse_other_checkpoint, save

    path = check_target(target)
    model = checkpoint.load(variant, checkpoint_file)
    if not overwrite:
        refuse_other_checkpoint(path, model)
    path = save(model, target)
    source = model.info.source
    kind = source.kind if source else "unknown"
    if json_to != "-":
        write(f"{path}  {model.variant.name} from {kind}, {model.classes} classes\n")
    if json_to:
        content = {
            "file": str(path),
            "variant": model.variant.name,
            "source": kind,
            "classes": model.classes,
        }
        write_json(content, json_to)
