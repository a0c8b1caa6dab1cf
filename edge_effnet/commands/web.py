"""``edge-effnet web``: a static site that runs an exported file in the visitor's browser."""

from __future__ import annotations

import click

from edge_effnet.commands.options import json_option, preprocess_of, preprocess_options
from edge_effnet.commands.terminal import progress, write, write_json


@click.command()
@click.argument("file")
@click.option("--out", default="site", metavar="DIR|FILE.tar.gz", show_default=True)
@click.option("--name", metavar="TEXT", help="The site's title. Default: the model's.")
@preprocess_options
@json_option
def web(
    file: str,
    out: str,
    name: str | None,
    size: int | None,
    crop: float | None,
    mean: str | None,
    std: str | None,
    json_to: str | None,
) -> None:
    """Make a site that runs FILE (.tflite or .onnx) on the visitor's camera, in the browser.

    The browser's runtime is fetched with npm and served with the site. It works without a network
    once loaded, and can be installed.
    """
    from edge_effnet.apps.web.site import make

    described = preprocess_of(size, crop, mean, std)
    with progress() as report:
        made = make(file, out, name=name, preprocess=described, progress=report)
    if json_to != "-":
        write(
            f"{made['site']}: {made['files']} files, {made['bytes'] / 1e6:.1f} MB, "
            f"with {', '.join(made['packages'])}\n"
            f"try it: python3 -m http.server -d {made['site']} 8000, then http://localhost:8000\n"
        )
    if json_to:
        write_json(made, json_to)
