"""``edge-effnet web``: static site that runs an exported file in the visitor's browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import json_option, preprocess_options, rule_options
from edge_effnet.commands.terminal import progress, write, write_json
from edge_effnet.commands.vocabulary import option

if TYPE_CHECKING:
    from edge_effnet.answers import Rule
    from edge_effnet.preprocess import Preprocess


@click.command(
    cls=Command,
    examples=[
        "web out/efficientnet-lite0-int8.tflite --out site/",
        "web birds-int8.onnx --title Birds --out birds.tar.gz",
    ],
)
@click.argument("file")
@option("--out", default="site")
@option("--title", shown="the model's name")
@rule_options
@preprocess_options
@json_option
def web(
    file: str,
    out: str,
    title: str | None,
    preprocess: Preprocess | None,
    rule: Rule,
    json_to: str | None,
) -> None:
    """Make a web site that runs a file in the browser.

    FILE is a .tflite or .onnx file. The site classifies pictures from the visitor's camera. npm
    fetches the browser's runtime, which becomes part of the site. Once loaded, the site works
    offline and can be installed. --out is a folder or a .tar.gz file.
    """
    from edge_effnet.apps.web.site import make

    with progress() as report:
        site = make(file, out, name=title, preprocess=preprocess, rule=rule, progress=report)
    if json_to != "-":
        write(
            f"{site['site']}: {site['files']} files, {site['bytes'] / 1e6:.1f} MB, "
            f"with {', '.join(site['packages'])}\n"
            f"try it: python3 -m http.server -d {site['site']} 8000, then http://localhost:8000\n"
        )
    if json_to:
        write_json(site, json_to)
