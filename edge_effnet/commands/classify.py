"""``edge-effnet classify``: photos to names."""

from __future__ import annotations

import os

import click

from edge_effnet.commands.options import (
    json_option,
    preprocess_of,
    preprocess_options,
    without_weights,
)
from edge_effnet.commands.terminal import (
    note,
    write,
    write_json,
)
from edge_effnet.errors import ImageError


@click.command()
@click.argument("file")
@click.argument("images", nargs=-1, required=True)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Default: one a core.")
@preprocess_options
@json_option
def classify(
    file: str,
    images: tuple[str, ...],
    top: int,
    threads: int | None,
    size: int | None,
    crop: float | None,
    mean: str | None,
    std: str | None,
    json_to: str | None,
) -> None:
    """Say what IMAGES (photos or folders of them) show, with the exported FILE."""
    from edge_effnet.photo_files import list_images
    from edge_effnet.runtime.opening import open_model

    file, *rest = without_weights((file, *images))
    classifier = open_model(file, threads=threads, preprocess=preprocess_of(size, crop, mean, std))
    paths = [
        str(path)
        for image in rest
        for path in (list_images(image) if os.path.isdir(image) else [image])
    ]
    answers, broken = [], []
    for path in paths:
        try:
            answers.append((path, classifier(path, top=top)))
        except ImageError as error:
            broken.append(str(error))
    if not answers:
        more = f", and {len(broken) - 1} more" if len(broken) > 1 else ""
        raise ImageError(f"nothing to classify: {broken[0]}{more}; give other photos")
    for reason in broken:
        note(f"left out: {reason}")
    plain = classifier.card.output_activation == "none"
    if json_to != "-":
        for path, best in answers:
            lines = [
                f"  {value:g}  {label}" if plain else f"  {value:6.1%}  {label}"
                for label, value in best
            ]
            write("\n".join([path, *lines]) + "\n")
    if json_to:
        key = "value" if plain else "probability"
        rows = [
            {"file": path, "top": [{"label": label, key: value} for label, value in best]}
            for path, best in answers
        ]
        write_json(rows, json_to)
