"""``edge-effnet profile`` and ``predict``: a device's latency model, and predictions from it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

from edge_effnet.commands.options import device_options, json_option, split
from edge_effnet.commands.terminal import note, progress, write, write_json
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.benchmarks.prediction.measurement import Machine


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
    """Fit a latency model of this machine or a device; OUT then predicts every network.

    The Python of a device needs numpy, Pillow, and for each format its runtime and the packages
    that write it (flatbuffers and tflite; onnx).

    With --check further networks are timed, and the error of their prediction is reported.
    """
    import statistics

    from edge_effnet.benchmarks.prediction.measurement import measure_latency_model
    from edge_effnet.card import PRECISIONS
    from edge_effnet.converters.options import choose
    from edge_effnet.formats import RUNNABLE

    names = choose("format", split(formats), RUNNABLE)
    chosen = choose("precision", split(precisions), PRECISIONS)
    odd = [precision for precision in chosen if precision not in ("fp32", "fp16", "int8")]
    if odd:
        raise UsageError(f"{odd[0]} cannot be profiled; choose from fp32, fp16, int8")
    with progress() as report, _machine(device_name, python, ssh_config) as machine:
        model, errors = measure_latency_model(
            names, chosen, threads, machine=machine, check=split(check), progress=report
        )
    path = model.save(out)
    lines = []
    for runtime in model.runtimes:
        median, high = (100 * share for share in runtime.error)
        lines.append(
            f"{runtime.name}: {runtime.micro_benchmarks} micro-benchmarks, cross-validation error "
            f"{median:.1f} % (median), {high:.1f} % (95th percentile)"
        )
    relative = {key: 100 * (predicted / ms - 1) for key, (predicted, ms) in errors.items()}
    for key, (predicted, ms) in errors.items():
        lines.append(
            f"  {key}: predicted {predicted:.2f} ms, measured {ms:.2f} ({relative[key]:+.1f} %)"
        )
    if relative:
        sizes = [abs(value) for value in relative.values()]
        lines.append(
            f"networks: median error {statistics.median(sizes):.1f} %, largest {max(sizes):.1f} %"
        )
    if json_to != "-":
        write("\n".join([*lines, f"latency model in {path}", ""]))
    if json_to:
        checked = {key: {"predicted": a, "measured": b} for key, (a, b) in errors.items()}
        left_out = {runtime.name: list(runtime.error) for runtime in model.runtimes}
        write_json({"profile": str(path), "left_out": left_out, "checked": checked}, json_to)


def _machine(
    device_name: str, python: str, ssh_config: str | None
) -> AbstractContextManager[Machine]:
    from edge_effnet.benchmarks.prediction.measurement import LocalMachine
    from edge_effnet.benchmarks.remote import ssh
    from edge_effnet.benchmarks.remote.measure import remote_machine

    if device_name == "local":
        return nullcontext(LocalMachine())
    return remote_machine(ssh.parse(device_name, ssh_config), python)


@click.command()
@click.argument("variants", nargs=-1, metavar="VARIANT[@SIDE]...")
@click.option("--profile", "path", required=True, metavar="FILE", help="Of 'edge-effnet profile'.")
@json_option
def predict(variants: tuple[str, ...], path: str, json_to: str | None) -> None:
    """Predict the latency of networks on the device of a latency model [every variant]."""
    from edge_effnet.benchmarks.prediction.latency_model import folded_graph, load_latency_model
    from edge_effnet.registry import parse_variant
    from edge_effnet.variants import VARIANTS

    model = load_latency_model(path)
    rows: list[tuple[str, dict[str, float]]] = []
    for text in variants or VARIANTS:
        variant, side = parse_variant(text)
        graph = folded_graph(variant, side)
        times = {runtime.name: round(runtime.predict(graph), 4) for runtime in model.runtimes}
        rows.append((f"{variant.name}@{side}" if side else variant.name, times))
    note(f"predicted for {model.host.cpu}, {model.threads} thread(s)")
    if json_to != "-":
        heads = list(rows[0][1])
        lines = [f"{'ms':<26}" + "".join(f"{head:>15}" for head in heads)]
        for name, times in rows:
            lines.append(f"{name:<26}" + "".join(f"{time:>15.2f}" for time in times.values()))
        write("\n".join(lines) + "\n")
    if json_to:
        write_json([{"name": name, "latency_ms": times} for name, times in rows], json_to)
