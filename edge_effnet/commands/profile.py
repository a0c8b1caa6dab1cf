"""``edge-effnet profile`` and ``predict``: a device's prices of layers, and latencies from them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

from edge_effnet.commands.options import device_options, json_option, split
from edge_effnet.commands.terminal import note, progress, write, write_json
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.benchmarks.prediction.latency_model import Machine


@click.command()
@click.option("--formats", default="tflite,onnx,openvino", metavar="LIST", help="[all three]")
@click.option("--precisions", default="fp32,int8", show_default=True, metavar="LIST")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option(
    "--check", default="", metavar="LIST", help="Networks to time as well, as lite0,b1@192."
)
@click.option("--out", default="profile.json", metavar="FILE", show_default=True)
@device_options
@json_option
def profile(
    formats: str,
    precisions: str,
    threads: int,
    check: str,
    out: str,
    device_name: str,
    python: str,
    ssh_config: str | None,
    json_to: str | None,
) -> None:
    """Measure a small set of layers once, here or on a device; OUT then predicts every network.

    On a device its Python needs numpy, Pillow, and for each format its runtime and what writes it
    (flatbuffers and tflite; onnx).

    With --check some networks are timed too, and what the prediction misses them by is said.
    """
    import statistics

    from edge_effnet.benchmarks.prediction import latency_model
    from edge_effnet.converters.export import choose

    names, chosen = choose(split(formats), split(precisions))
    odd = [precision for precision in chosen if precision not in ("fp32", "fp16", "int8")]
    if odd:
        raise UsageError(f"{odd[0]} cannot be profiled; choose from fp32, fp16, int8")
    with progress() as report, _machine(device_name, python, ssh_config) as machine:
        made, errors = latency_model.measure(
            names, chosen, threads, machine=machine, check=split(check), progress=report
        )
    path = made.save(out)
    lines = []
    for coefficients in made.coefficients:
        median, high = (100 * share for share in coefficients.error)
        lines.append(
            f"{coefficients.format} {coefficients.precision}: {coefficients.probes} pieces, each predicted from the "
            f"others within {median:.1f} % (median), {high:.1f} % (95th percentile)"
        )
    missed = {key: 100 * (said / found - 1) for key, (said, found) in errors.items()}
    for key, (said, found) in errors.items():
        lines.append(
            f"  {key}: predicted {said:.2f} ms, measured {found:.2f} ({missed[key]:+.1f} %)"
        )
    if missed:
        lines.append(
            f"networks: median error {statistics.median(map(abs, missed.values())):.1f} %, largest "
            f"{max(map(abs, missed.values())):.1f} %"
        )
    if json_to != "-":
        write("\n".join([*lines, f"profile in {path}", ""]))
    if json_to:
        checked = {key: {"predicted": a, "measured": b} for key, (a, b) in errors.items()}
        errors_of = {f"{p.format} {p.precision}": list(p.error) for p in made.coefficients}
        write_json({"profile": str(path), "left_out": errors_of, "checked": checked}, json_to)


def _machine(
    device_name: str, python: str, ssh_config: str | None
) -> AbstractContextManager[Machine]:
    from edge_effnet.benchmarks.prediction import latency_model
    from edge_effnet.benchmarks.remote import measure, ssh

    if device_name == "local":
        return nullcontext(latency_model.Here())
    return measure.probing(ssh.parse(device_name, ssh_config), python)


@click.command()
@click.argument("variants", nargs=-1, metavar="VARIANT[@SIDE]...")
@click.option("--profile", "path", required=True, metavar="FILE", help="Of 'edge-effnet profile'.")
@json_option
def predict(variants: tuple[str, ...], path: str, json_to: str | None) -> None:
    """Predict the latency of networks on the device of a profile [every variant]."""
    from edge_effnet.benchmarks.prediction import latency_model
    from edge_effnet.benchmarks.sweep.sweep import Cell
    from edge_effnet.registry import get_variant
    from edge_effnet.variants import VARIANTS

    made = latency_model.load(path)
    cells = [Cell.parse(text) for text in variants or VARIANTS]
    rows: list[tuple[str, dict[str, float]]] = []
    for cell in cells:
        graph = latency_model.folded(get_variant(cell.variant), cell.side)
        times = {
            f"{p.format} {p.precision}": round(latency_model.predict(p, graph), 4)
            for p in made.coefficients
        }
        rows.append((cell.name, times))
    note(f"predicted for {made.host.cpu}, {made.threads} thread(s)")
    if json_to != "-":
        heads = list(rows[0][1])
        lines = [f"{'ms':<26}" + "".join(f"{head:>15}" for head in heads)]
        for name, times in rows:
            lines.append(f"{name:<26}" + "".join(f"{time:>15.2f}" for time in times.values()))
        write("\n".join(lines) + "\n")
    if json_to:
        write_json([{"name": name, "latency_ms": times} for name, times in rows], json_to)
