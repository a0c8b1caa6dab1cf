"""``edge-effnet profile`` and ``predict``: fit a device's latency model, and predict with it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import click

from edge_effnet.commands.command import Command
from edge_effnet.commands.options import (
    device_options,
    host_options,
    items,
    json_option,
    threads_option,
)
from edge_effnet.commands.terminal import note, progress, write, write_json
from edge_effnet.commands.vocabulary import option
from edge_effnet.errors import UsageError

if TYPE_CHECKING:
    from edge_effnet.benchmarks.prediction.measurement import Machine


@click.command(
    cls=Command,
    examples=[
        "profile --check lite0,b1@192",
        "profile --host ssh://pi@raspberrypi --out pi.json",
    ],
)
@option("--formats", default="tflite,onnx,openvino")
@option("--precisions", default="fp32,int8")
@threads_option(1)
@option("--check", default="", shown="none")
@device_options()
@option("--out", default="latency-model.json")
@host_options
@json_option
def profile(
    formats: str,
    precisions: str,
    threads: int,
    check: str,
    device: str,
    device_options: dict[str, str],
    out: str,
    host: str | None,
    python: str,
    ssh_config: str | None,
    json_to: str | None,
) -> None:
    """Fit a latency model of this machine or a device.

    The latency model predicts the latency of every EfficientNet. With --check, additional networks
    are timed to report the prediction error.

    --device fits the model of an accelerator. If the cross-validation error of its model is above
    15 %, it is written but not used for predictions.

    On another machine, Python needs numpy and Pillow. Each format also needs its runtime and the
    packages to write it (flatbuffers and tflite; onnx).
    """
    import statistics

    from edge_effnet.benchmarks.prediction.measurement import measure_latency_model
    from edge_effnet.card import PRECISIONS
    from edge_effnet.converters.options import choose
    from edge_effnet.formats import RUNNABLE

    names = choose("format", items(formats), RUNNABLE)
    chosen = choose("precision", items(precisions), PRECISIONS)
    odd = [precision for precision in chosen if precision not in ("fp32", "fp16", "int8")]
    if odd:
        raise UsageError(f"{odd[0]} cannot be profiled; choose from fp32, fp16, int8")
    with progress() as report, _machine(host, python, ssh_config) as machine:
        model, errors = measure_latency_model(
            names,
            chosen,
            threads,
            machine=machine,
            check=items(check),
            computes_on=device,
            device_options=device_options,
            progress=report,
        )
    path = model.save(out)
    lines = []
    for runtime in model.runtimes:
        median, high = (100 * share for share in runtime.error)
        lines.append(
            f"{runtime.name}: {runtime.micro_benchmarks} micro-benchmarks, cross-validation error "
            f"{median:.1f} % (median), {high:.1f} % (95th percentile)"
            + ": too large to predict latencies"
            * (not runtime.reliable)
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
        write_json({"latency_model": str(path), "left_out": left_out, "checked": checked}, json_to)


def _machine(
    host: str | None, python: str, ssh_config: str | None
) -> AbstractContextManager[Machine]:
    from edge_effnet.benchmarks.prediction.measurement import LocalMachine
    from edge_effnet.benchmarks.remote import ssh
    from edge_effnet.benchmarks.remote.measure import remote_machine

    if host is None:
        return nullcontext(LocalMachine())
    return remote_machine(ssh.parse(host, ssh_config), python)


@click.command(
    cls=Command,
    examples=[
        "predict --latency-model pi.json",
        "predict lite0 b4 v2-s@320 --latency-model pi.json",
    ],
)
@click.argument("variants", nargs=-1, metavar="[VARIANT[@SIDE]]...")
@option("--latency-model", required=True)
@json_option
def predict(variants: tuple[str, ...], latency_model: str, json_to: str | None) -> None:
    """Predict latencies with a latency model.

    Without VARIANT, all variants are predicted. SIDE is the input side in pixels.
    """
    from edge_effnet.benchmarks.prediction.latency_model import folded_graph, load_latency_model
    from edge_effnet.registry import parse_variant
    from edge_effnet.variants import VARIANTS

    model = load_latency_model(latency_model)
    rows: list[tuple[str, dict[str, float]]] = []
    for text in variants or VARIANTS:
        variant, side = parse_variant(text)
        graph = folded_graph(variant, side)
        times = {each.name: round(each.predict(graph), 4) for each in model.reliable}
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
