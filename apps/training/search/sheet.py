"""Text of a search: the Pareto front, the choice, and the next command."""

from __future__ import annotations

import shlex

from edge_effnet.apps.training.search.search import SearchResult, Trial
from edge_effnet.checkpoints.built_in_weights import WEIGHT_PACKAGES
from edge_effnet.registry import original_of
from edge_effnet.variants import Variant

_MOST_ROWS = 12  # of the Pareto front; --json has all


def sheet(result: SearchResult, *, accuracy: str, device: str, next_command: str) -> str:
    """The result in lines of text.

    Args:
        result: The search; at least one trial.
        accuracy: One line on the origin of the accuracies.
        device: Format, precision and CPU of the predicted latency.
        next_command: Command to show for the chosen network; empty if none is within the target.
    """
    best, front = result.best, _thinned(result.front)
    shown = front if best is None or best in front else sorted([*front, best], key=_latency)
    width = max(len(trial.variant.short_name) for trial in shown)
    lines = [
        f"{len(result.trials)} networks, {len(result.front)} on the Pareto front",
        f"latency: predicted ({device})",
        f"accuracy: {accuracy}",
        "",
        f"  {'variant':<{width}}  {'px':>4}  {'ms':>7}  {'top-1 %':>7}  {'reward':>7}  "
        f"{'M params':>8}  {'M multiply-adds':>15}",
    ]
    lines += [_row(trial, width, trial is best, result.target_ms) for trial in shown]
    lines.append("")
    if best is None:
        return "\n".join([*lines, f"no network is within {result.target_ms:g} ms", ""])
    lines += [
        f"* highest reward within {result.target_ms:g} ms ({result.objective}); > over the budget",
        f"next: {next_command}",
        "",
    ]
    return "\n".join(lines)


def _latency(trial: Trial) -> float:
    return trial.latency_ms


def _thinned(front: list[Trial]) -> list[Trial]:
    """At most `_MOST_ROWS` trials of the front, at about equal distances, with both ends."""
    count = min(_MOST_ROWS, len(front))
    if count < 2:
        return front
    return [front[round(i * (len(front) - 1) / (count - 1))] for i in range(count)]


def _row(trial: Trial, width: int, chosen: bool, target_ms: float) -> str:
    mark = "*" if chosen else ">" if trial.latency_ms > target_ms else " "
    return (
        f"{mark} {trial.variant.short_name:<{width}}  {trial.variant.resolution:>4}  "
        f"{trial.latency_ms:>7.2f}  {100 * trial.top1:>7.1f}  {trial.reward:>7.4f}  "
        f"{trial.params / 1e6:>8.2f}  {trial.multiply_adds / 1e6:>15,.0f}"
    )


def train_command(variant: Variant, weights: str, photos: str = "photos/") -> str:
    """The command that trains ``variant``.

    Args:
        variant: The network.
        weights: Checkpoint of the original variant; ``imagenet`` is left out if it is installed by
            a package, and becomes a placeholder otherwise.
        photos: Folder of the photos.
    """
    words = ["edge-effnet", "train", photos, "--variant", variant.short_name]
    if weights != "imagenet":
        words += ["--weights", weights]
    elif original_of(variant)[0].name not in WEIGHT_PACKAGES:
        words += ["--weights", "CHECKPOINT"]
    return shlex.join([*words, "--out", "run/"])
