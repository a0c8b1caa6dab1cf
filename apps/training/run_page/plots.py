"""Plots of a training: curves over its epochs, the head's candidates, and reliability."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from edge_effnet.apps.training.metrics import EpochMetrics, Stage
from edge_effnet.apps.training.run_page.reliability import Reliability
from edge_effnet.benchmarks.reporting.svg import COLOURS, plot

_HEIGHT = 3.1  # inches
_MARKERS_UP_TO = 40  # epochs; with more, the lines have no markers
_HISTOGRAM = 0.3  # part of the reliability plot's height that the histogram may take


def losses(epochs: Sequence[EpochMetrics]) -> str:
    """Training and validation loss of fine-tuning; "" for fewer than two epochs."""
    rows = _of("fine_tuning", epochs)
    if len(rows) < 2:
        return ""

    def draw(axes: Any) -> None:
        _draw_losses(axes, rows, "loss, nats")

    first, last = rows[0], rows[-1]
    description = (
        f"Loss over {len(rows)} epochs. Training: {first.train_loss:.3f} in the first epoch, "
        f"{last.train_loss:.3f} in the last."
    )
    known = [row.val_loss for row in rows if row.val_loss is not None]
    if known:
        description += (
            f" Validation: {known[0]:.3f} in the first epoch, lowest {min(known):.3f}, "
            f"{known[-1]:.3f} in the last."
        )
    return plot("losses", "Loss per epoch", description, _HEIGHT, draw)


def _draw_losses(
    axes: Any, rows: Sequence[EpochMetrics], label: str, *, logarithmic: bool = False
) -> None:
    _line(axes, [row.train_loss for row in rows], COLOURS["other"], "training")
    _line(axes, [row.val_loss for row in rows], COLOURS["onnx"], "validation")
    _epoch_axis(axes, rows)
    if logarithmic:
        from matplotlib.ticker import LogLocator

        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(tick_label)
        axes.minorticks_off()
    else:
        axes.set_ylim(bottom=0)
    axes.set_ylabel(label)


def tick_label(value: float, position: int | None = None) -> str:
    """Tick label of a logarithmic axis as a decimal number: 0.001, not 1e-03.

    Args:
        value: The number.
        position: Number of the tick, which matplotlib gives; not used.
    """
    digits = max(0, -math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}"


def divergences(epochs: Sequence[EpochMetrics]) -> str:
    """Divergence of the int8-aware network from the float one; "" for fewer than two epochs.

    The accuracy of these epochs is not shown: the float network may have learned the validation
    photos.
    """
    rows = _of("int8_aware", epochs)
    if len(rows) < 2:
        return ""

    def draw(axes: Any) -> None:
        _draw_losses(axes, rows, "divergence, nats", logarithmic=True)

    values = "; ".join(
        f"epoch {row.epoch}: training {row.train_loss:.2g}"
        + ("" if row.val_loss is None else f", validation {row.val_loss:.2g}")
        for row in rows
    )
    title = "Divergence of the int8-aware network"
    return plot("divergences", title, f"Divergence from float. {values}.", _HEIGHT, draw)


def accuracies(epochs: Sequence[EpochMetrics]) -> str:
    """Validation accuracy of fine-tuning per epoch, with the head's as a line.

    Returns:
        The plot; "" for fewer than two epochs with a validation accuracy.
    """
    rows = [row for row in _of("fine_tuning", epochs) if row.val_top1 is not None]
    if len(rows) < 2:
        return ""
    values = [100 * (row.val_top1 or 0.0) for row in rows]
    of_head = [
        100 * row.val_top1 for row in epochs if row.stage == "head" and row.val_top1 is not None
    ]
    head = max(of_head, default=None)

    def draw(axes: Any) -> None:
        _line(axes, values, COLOURS["onnx"], "validation")
        if head is not None:
            axes.axhline(head, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
            axes.annotate(
                "head alone", (1, head), xycoords=("axes fraction", "data"), xytext=(0, -4),
                textcoords="offset points", ha="right", va="top", color=COLOURS["muted"],
            )  # fmt: skip
        _epoch_axis(axes, rows)
        _percent_axis(axes, values if head is None else [*values, head])

    best = max(range(len(values)), key=lambda place: values[place])
    description = (
        f"Top-1 accuracy on the validation photos over {len(values)} epochs: {values[0]:.1f} % "
        f"after the first, highest {values[best]:.1f} % after epoch {best + 1}, "
        f"{values[-1]:.1f} % after the last."
    )
    if head is not None:
        description += f" The head alone reached {head:.1f} %."
    return plot("accuracies", "Validation accuracy per epoch", description, _HEIGHT, draw)


def head_candidates(epochs: Sequence[EpochMetrics]) -> str:
    """Loss of the head's candidates by inverse regularisation; "" for fewer than two."""
    rows = sorted(
        (row for row in epochs if row.stage == "head" and row.val_loss is not None),
        key=lambda row: row.learning_rate,
    )
    if len(rows) < 2:
        return ""
    strengths = [row.learning_rate for row in rows]

    def draw(axes: Any) -> None:
        for values, colour, label in (
            ([row.train_loss for row in rows], COLOURS["other"], "training"),
            ([row.val_loss for row in rows], COLOURS["onnx"], "validation"),
        ):
            axes.plot(strengths, values, color=colour, marker="o", markersize=4, label=label)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(tick_label)
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.set_xlabel("1 / regularisation")
        axes.set_ylabel("loss, nats")
        axes.grid(True)
        axes.legend(frameon=False)

    values = "; ".join(
        f"{row.learning_rate:.3g}: training {row.train_loss:.3f}, validation {row.val_loss:.3f}"
        for row in rows
    )
    return plot(
        "candidates", "Loss of the head by regularisation",
        f"Loss for each inverse regularisation. {values}.", _HEIGHT, draw,
    )  # fmt: skip


def reliability_plot(measured: Reliability) -> str:
    """Accuracy over confidence with 95 % intervals, above a histogram of the confidences."""
    bins = measured.bins

    def draw(axes: Any) -> None:
        axes.plot([0, 100], [0, 100], color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)))
        most = max(one.photos for one in bins)
        axes.bar(
            [50 * (one.low + one.high) for one in bins],
            [100 * _HISTOGRAM * one.photos / most for one in bins],
            width=100 * (bins[0].high - bins[0].low) * 0.9,
            color=COLOURS["line"],
            zorder=1,
        )
        for one in bins:
            low, high = one.accuracy_ci
            place = 100 * one.confidence
            axes.plot(
                [place] * 2, [100 * low, 100 * high], color=COLOURS["onnx"], linewidth=1.1, zorder=2
            )
        axes.plot(
            [100 * one.confidence for one in bins],
            [100 * one.accuracy for one in bins],
            "o",
            color=COLOURS["onnx"],
            markersize=6,
            zorder=3,
            clip_on=False,
        )
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_xlabel("predicted probability, %")
        axes.set_ylabel("correct, %")
        axes.grid(True)

    values = "; ".join(
        f"probability {100 * one.confidence:.0f} %: {100 * one.accuracy:.0f} % of {one.photos} "
        f"photo{'s' * (one.photos != 1)} correct"
        for one in bins
    )
    return plot("reliability", "Accuracy by predicted probability", f"{values}.", 3.6, draw)


def _of(stage: Stage, epochs: Sequence[EpochMetrics]) -> list[EpochMetrics]:
    return [row for row in epochs if row.stage == stage]


def _line(axes: Any, values: Sequence[float | None], colour: str, label: str) -> None:
    """Draw values over the epochs 1, 2, ...; None leaves a gap."""
    numbers = [float("nan") if value is None else value for value in values]
    marker = "o" if len(values) <= _MARKERS_UP_TO else ""
    places = range(1, len(values) + 1)
    axes.plot(places, numbers, color=colour, marker=marker, markersize=4, label=label)


def _epoch_axis(axes: Any, rows: Sequence[EpochMetrics]) -> None:
    """Whole epochs, and the legend if there are several lines."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    axes.set_xlim(0.5, len(rows) + 0.5)
    axes.set_xlabel("epoch")
    axes.grid(True)
    if len(axes.get_legend_handles_labels()[0]) > 1:
        axes.legend(frameon=False)


def _percent_axis(axes: Any, values: Sequence[float]) -> None:
    """An axis of percent around the values that spans at least ten points."""
    middle, half = (min(values) + max(values)) / 2, (max(values) - min(values)) / 2
    half = max(5.0, 1.2 * half)
    top = min(middle + half, 100.0)
    axes.set_ylim(max(0.0, top - 2 * half), top)
    axes.set_ylabel("top-1, %")
