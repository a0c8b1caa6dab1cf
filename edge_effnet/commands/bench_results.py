"""``edge-effnet bench results``: every format, precision and recipe beside the vendors' files."""

from __future__ import annotations

from pathlib import Path

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import items, json_option, threads_option
from edge_effnet.commands.terminal import finding, note, progress, write, write_json
from edge_effnet.commands.vocabulary import option


@click.command(
    "results",
    cls=Command,
    examples=[
        "bench results lite0 --images photos/ --labels labels.csv",
        "bench results b4=random --images photos/ --labels labels.csv",
    ],
)
@click.argument("networks", nargs=-1, metavar="VARIANT[@SIDE][=CHECKPOINT]...")
@option("--images", required=True)
@option("--labels", shown="the folders' names")
@option("--split", default="evaluation")
@option("--calibration-split", default="calibration")
@option("--calibration", shown="the calibration split")
@option("--formats", default="tflite,onnx,openvino")
@option("--precisions", default="fp32,fp16,w8,int8,mixed")
@option("--recipes", default="default,best")
@option("--quantizer", multiple=True, shown="all")
@option("--latency/--no-latency", default=True)
@threads_option(1)
@option("--runs", default=60)
@option("--rounds", default=30)
@option("--workers", shown="one per core")
@option("--out", default="results")
@option("--markdown")
@json_option
def results(
    networks: tuple[str, ...],
    images: str,
    labels: str | None,
    split: str,
    calibration_split: str,
    calibration: str | None,
    formats: str,
    precisions: str,
    recipes: str,
    quantizer: tuple[str, ...],
    timing: bool,
    threads: int,
    runs: int,
    rounds: int,
    workers: int | None,
    out: str,
    markdown: str | None,
    json_to: str | None,
) -> None:
    """Measure files of all formats, precisions and recipes.

    Compares their agreement, drop, SQNR, size and latency with float32 and with the vendors'
    quantizers. Without names, Lite0, Lite1 and Lite2 are measured with ImageNet weights. For
    random weights, as in b4=random, only the SQNR is measured, with 64 calibration photos, on 100
    others. The same command continues a killed run. The page has all networks in --out.
    """
    from edge_effnet.benchmarks.latency.host import usable_cores
    from edge_effnet.benchmarks.suite.results import network_results, page
    from edge_effnet.benchmarks.suite.results.measure import measure
    from edge_effnet.benchmarks.suite.results.settings import Settings
    from edge_effnet.benchmarks.sweep.plan import Cell
    from edge_effnet.converters.vendors import VENDORS
    from edge_effnet.files import write_text

    settings = Settings(
        images=images,
        labels=labels,
        split=split,
        calibration_split=calibration_split,
        calibration=calibration,
        formats=tuple(items(formats)),
        precisions=tuple(items(precisions)),
        recipes=tuple(items(recipes)),
        quantizers=tuple(name for name in quantizer or VENDORS if name in VENDORS),
        timing=timing,
        threads=threads,
        runs=runs,
        rounds=rounds,
        workers=workers or len(usable_cores()),
    )
    cells = [Cell.parse(text) for text in networks or ("lite0", "lite1", "lite2")]
    folder = Path(out)
    with progress() as report:
        measured, failures = measure(cells, settings, folder, report, note)
    text = page.page(network_results.read_all(folder)) if measured or not failures else ""
    if markdown is not None and text:
        write_text(markdown, text)
    if json_to != "-":
        write(text if markdown is None else f"{markdown}\n")
    if json_to:
        write_json({"networks": [each.as_json() for each in measured]}, json_to)
    if failures:
        finding("; ".join(f"{name} failed: {error}" for name, error in failures.items()))
