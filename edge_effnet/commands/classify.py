"""``edge-effnet classify``: class names for photos."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from edge_effnet.answers import THRESHOLD
from edge_effnet.commands.command import Command
from edge_effnet.commands.options import (
    device_options,
    items,
    json_option,
    preprocess_options,
    threads_option,
    without_weights,
)
from edge_effnet.commands.terminal import (
    note,
    write,
    write_json,
)
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import ImageError
from edge_effnet.printable import line

if TYPE_CHECKING:
    from edge_effnet.preprocess import Preprocess


@click.command(
    cls=Command,
    examples=[
        "classify out/efficientnet-lite0-int8.tflite cat.jpg dog.jpg",
        "classify my.onnx photos/ --resolution 224 --mean 127 --std 128",
    ],
)
@click.argument("file")
@click.argument("images", nargs=-1, required=True)
@option("--top", default=5)
@option("--threshold", default=THRESHOLD)
@threads_option()
@device_options()
@option("--allow-operators", default="")
@preprocess_options
@json_option
def classify(
    file: str,
    images: tuple[str, ...],
    top: int,
    threshold: float,
    threads: int | None,
    device: str,
    device_options: dict[str, str],
    allow_operators: str,
    preprocess: Preprocess | None,
    json_to: str | None,
) -> None:
    """Classify photos with an exported file.

    IMAGES are photos or folders of photos.
    """
    from edge_effnet.answers import check_threshold
    from edge_effnet.photo_files import list_images
    from edge_effnet.runtime.opening import open_model

    check_threshold(threshold)
    file, *rest = without_weights((file, *images))
    classifier = open_model(
        file,
        threads=threads,
        preprocess=preprocess,
        allow_operators=items(allow_operators),
        device=device,
        device_options=device_options,
    )
    if classifier.device_choice:
        note(
            f"{classifier.runner.info.device} is the fastest: {'; '.join(classifier.device_choice)}"
        )
    paths = [
        str(path)
        for image in rest
        for path in (list_images(image) if os.path.isdir(image) else [image])
    ]
    predictions, broken = [], []
    for path in paths:
        try:
            predictions.append((path, classifier(path, top=top, threshold=threshold)))
        except ImageError as error:
            broken.append(str(error))
    if not predictions:
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise ImageError(f"nothing to classify: {broken[0]}{more}; give other photos")
    for reason in broken:
        note(f"left out: {reason}")
    plain = classifier.card.output_activation == "none"
    if json_to != "-":
        for path, best in predictions:
            lines = [
                f"  {value:g}  {label}" if plain else f"  {value:6.1%}  {label}"
                for label, value in best
            ]
            lines = lines or [f"  no label has a probability of {threshold:g}"]
            write("\n".join(map(line, [path, *lines])) + "\n")
    if json_to:
        key = "value" if plain else "probability"
        rows = [
            {"file": path, "top": [{"label": label, key: value} for label, value in best]}
            for path, best in predictions
        ]
        write_json(rows, json_to)
