"""The results page: method and tables of all measured networks, in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.benchmarks.suite.results.network_results import NetworkResults
from edge_effnet.benchmarks.suite.results.rows import (
    TITLES,
    detail_table,
    overview_table,
    random_table,
    standard_error,
)
from edge_effnet.registry import list_variants
from edge_effnet.variants import short_name

_WIDTH = 120
#: Share of the machine that other programs take without making the times rough.
_BUSY = 0.1
_IMAGENET = (
    "edge-effnet bench results lite0 b0=b0.pth --images imagenet/val --labels val.csv --out results"
)


def page(networks: Sequence[NetworkResults]) -> str:
    """The page as Markdown text.

    Args:
        networks: The measured networks, in the order of the page.
    """
    trained = [network for network in networks if network.method.trained]
    random = [network for network in networks if not network.method.trained]
    commands = list(dict.fromkeys(network.results.command for network in networks))
    parts = ["# Results\n", _introduction(trained, random, len(commands))]
    parts.append(f"```\n{chr(10).join(commands)}\n```\n")
    if trained:
        parts += ["## int8 beside the vendors' quantizers\n", _wrapped(_overview(trained))]
        parts.append(overview_table(trained).markdown())
        for network in trained:
            parts += [f"## {network.method.network}\n", _wrapped(_facts(network))]
            parts.append(detail_table(network).markdown())
    if random:
        parts += ["## Random weights\n", _wrapped(_random(random)), random_table(random).markdown()]
    parts += ["## Not measured\n", _wrapped(_missing(networks))]
    parts += ["## Method\n", _method(networks, trained), "## On ImageNet\n", _wrapped(_REPEAT)]
    parts.append(f"```\n{_IMAGENET}\n```\n")
    return "\n".join(parts)


def _missing(networks: Sequence[NetworkResults]) -> str:
    """The variants without rows, and those with random weights alone."""
    measured = {network.method.network.partition("@")[0] for network in networks}
    trained = {network.method.network.partition("@")[0] for network in networks
               if network.method.trained}  # fmt: skip
    absent = [short_name(name) for name in list_variants() if name not in measured]
    random = [short_name(name) for name in list_variants() if name in measured - trained]
    parts = [f"Variants with random weights only: {', '.join(random)}."] if random else []
    parts += [f"Variants not measured: {', '.join(absent)}."] if absent else []
    return " ".join(parts) or "All variants of the family have rows with trained weights."


def _introduction(
    trained: Sequence[NetworkResults], random: Sequence[NetworkResults], commands: int
) -> str:
    counts = [
        f"{len(group)} network{'s' if len(group) > 1 else ''} with {kind} weights"
        for group, kind in ((trained, "trained"), (random, "random"))
        if group
    ]
    return _wrapped(
        f"Accuracy, size and latency of the files of {' and '.join(counts)} in three formats, "
        "beside files of the vendors' quantizers from the same weights and calibration photos. "
        f"The page is written by {'these commands' if commands > 1 else 'this command'} with "
        "`--markdown FILE`:"
    )


def _overview(trained: Sequence[NetworkResults]) -> str:
    errors = [
        100 * standard_error(record.agreement, record.images)
        for network in trained
        for record in network.results.records
        if record.agreement is not None and record.precision in ("int8", "mixed")
    ]
    spread = f"{min(errors):.1f} to {max(errors):.1f}" if errors else formatting.NONE
    return (
        "Each cell has the top-1 agreement with float32 and the SQNR of the logits. One standard "
        f"error of an agreement is {spread} points."
    )


def _facts(network: NetworkResults) -> str:
    """Weights, photos, float accuracy, and the state of the machine."""
    method, results = network.method, network.results
    photos = results.photos.count if results.photos else 0
    split = f" (split `{results.photos.split}`)" if results.photos and results.photos.split else ""
    float_file = next((each for each in results.records if each.is_reference), None)
    top1 = formatting.percent(float_file.top1 if float_file else None)
    text = (
        f"Weights: {_weights(method.weights)}. Input: {method.resolution} x {method.resolution} "
        f"pixels. Quantized with {method.calibration_photos:,} calibration photos, evaluated on "
        f"{photos:,} others{split}. float32 has a top-1 accuracy of {top1} %."
    )
    conditions = results.conditions
    if method.threads is None:
        return text
    text += (
        f" Times: {method.threads} thread{'s' if method.threads > 1 else ''}, {method.runs} runs "
        f"of each file in {method.rounds} interleaved rounds"
    )
    if conditions and conditions.other_work is not None:
        text += f"; other programs took {100 * conditions.other_work:.0f} % of the machine"
        if conditions.other_work > _BUSY:
            text += ", so the times are rough"
    return f"{text}."


def _random(networks: Sequence[NetworkResults]) -> str:
    """How the networks with random weights are made and measured."""
    calibration = _numbers(network.method.calibration_photos for network in networks)
    photos = _numbers(
        network.results.photos.count for network in networks if network.results.photos
    )
    return (
        "For networks without trained weights here: SQNR of the logits in dB, of seeded random "
        "weights whose BatchNorm layers have the statistics of their inputs on photos. The "
        "residual branches have a small scale and the activations are nearly linear, so that w8 "
        f"has about 30 dB, as with trained weights. {calibration} calibration photos and {photos} "
        "others. Random weights do not predict the SQNR of trained ones: compare quantizers "
        "within a row only."
    )


def _numbers(values: Iterable[int]) -> str:
    return " or ".join(f"{value:,}" for value in sorted(set(values)))


def _weights(name: str) -> str:
    return "ImageNet" if name == "imagenet" else f"`{name}`"


def _method(networks: Sequence[NetworkResults], trained: Sequence[NetworkResults]) -> str:
    hosts = list(dict.fromkeys(_machine(network) for network in networks))
    items = [
        "Calibration photos and evaluated photos are different photos. All quantizers get the same "
        "calibration photos and run with their defaults, ONNX Runtime's with a scale per channel.",
        "Agreement is the share of photos with the same top-1 prediction as float32, with its "
        "standard error after adding one agreeing and one disagreeing photo.",
        "Drop is the loss of top-1 in percentage points, with a paired 95 % interval (Bonett and "
        "Price 2012) in brackets. A negative drop is a gain.",
        "SQNR is the signal-to-quantization-noise ratio of the logits: the energy of float32's "
        "logits divided by the energy of the difference from them, over all photos.",
        "Size is that of the file, for OpenVINO of .xml and .bin, in 10^6 bytes.",
        "Time is the file's latency divided by that of the fp32 file of the same format: the "
        "median of the ratios within a round, with the quartiles in brackets. All files of a "
        "format are timed in one run, in interleaved rounds, each in a process of its own. Our "
        "int8 and mixed files take uint8 pixels.",
        *_quantizer_items(networks),
        f"Machine: {'; '.join(hosts)}.",
    ]
    if not trained:
        items = [item for item in items if not item.startswith(("Agreement", "Drop", "Time"))]
    return "".join(
        textwrap.fill(f"- {item}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False) + "\n"
        for item in items
    )


def _quantizer_items(networks: Sequence[NetworkResults]) -> list[str]:
    """Versions of the vendors' packages, and the vendors without rows."""
    packages = {
        f"{TITLES[name]} ({package})"
        for network in networks
        for name, package in network.method.packages.items()
    }
    items = [f"Vendors' quantizers: {', '.join(sorted(packages))}."] if packages else []
    left_out: dict[str, list[str]] = {}
    for network in networks:
        for name, reason in network.method.left_out.items():
            left_out.setdefault(f"{TITLES[name]}: {reason}", []).append(network.method.network)
    items += [f"Left out for {', '.join(names)}: {why}." for why, names in left_out.items()]
    return items


def _machine(network: NetworkResults) -> str:
    host = network.results.host
    features = f" ({', '.join(host.features)})" if host.features else ""
    cores = f"{host.cores} core{'s' if host.cores > 1 else ''} used"
    return f"{host.cpu}{features}, {cores}, {network.results.toolkit}"


_REPEAT = (
    "`val.csv` has the header `file,label,split`, the split `calibration` for some hundred photos "
    "and `evaluation` for the others. A killed run continues when the command is repeated. "
    "Networks that are measured later into the same folder join the page."
)


def _wrapped(text: str) -> str:
    return textwrap.fill(text, _WIDTH, break_on_hyphens=False, break_long_words=False) + "\n"
