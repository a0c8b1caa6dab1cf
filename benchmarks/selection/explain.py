"""Text of a selection: the choice, the runner-up, the excluded files, and a plot of the front."""

from __future__ import annotations

import statistics

from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.benchmarks.selection.checkpoints_at_hand import CHECKPOINT
from edge_effnet.benchmarks.selection.select import MEASURES, Candidate, Selection
from edge_effnet.formats import title_of
from edge_effnet.variants import VARIANTS, short_name

_HEIGHT = 12  # height of the plot in lines
_MARGIN = 7  # width of the vertical axis's labels in characters
_FARTHEST = 4  # the plot's latency axis ends at this multiple of the budget
_FEWEST = 3  # minimum number of plotted points, even beyond that multiple
_NAMED = 4  # files named per excluding limit
_LISTED = 9  # files listed with predicted and measured latency; of more, only the summary


def explain(selection: Selection, width: int = 80) -> str:
    """The selection as lines of text of about ``width`` characters at most."""
    lines = [*_choice_lines(selection), *_prediction_lines(selection)]
    groups: dict[str, list[Candidate]] = {}
    for item in selection.excluded:
        groups.setdefault("; ".join(item.broken), []).append(item.candidate)
    for limits, candidates in groups.items():
        names = ", ".join(name(candidate) for candidate in candidates[:_NAMED])
        more = f" and {len(candidates) - _NAMED} more" if len(candidates) > _NAMED else ""
        lines.append(f"excluded   {limits}: {names}{more}")
    return "\n".join([*lines, "", *_plot(selection, width)]) + "\n"


def name(candidate: Candidate) -> str:
    """``lite0 TFLite int8``, with a non-default input side and with several threads if any."""
    record = candidate.record
    kind = title_of(record.format)
    threads = f" x{record.threads}" if record.threads and record.threads > 1 else ""
    variant = VARIANTS.get(record.variant)
    other = variant is not None and record.resolution not in (None, variant.resolution)
    side = f"@{record.resolution}" if other else ""
    return f"{short_name(record.variant)}{side} {kind} {record.precision}{threads}"


def refusal(selection: Selection) -> str:
    """One sentence on why no candidate was chosen."""
    if selection.to_train is not None:
        best = selection.to_train
        return (
            f"no checkpoint at hand fits a {selection.limits.metric} of "
            f"{selection.limits.budget_ms:g} ms and the other limits; {name(best)} would "
            f"({_measures(best, selection)}, predicted). {_train_it(selection)}"
        )
    nearest = selection.nearest
    assert nearest is not None  # noqa: S101  (there is one whenever there is no choice)
    timed = {item.candidate.record.threads for item in selection.excluded}
    threads = selection.limits.threads
    if threads is not None and threads not in timed:
        others = ", ".join(str(count) for count in sorted(count for count in timed if count))
        return (
            f"no file was timed on {threads} threads, only on {others or 'unknown numbers'}; "
            f"measure with --threads {threads}"
        )
    broken = next(item.broken for item in selection.excluded if item.candidate is nearest)
    return (
        f"no file fits a {selection.limits.metric} of {selection.limits.budget_ms:g} ms and the "
        f"other limits; the nearest is {nearest.record.file} ({_measures(nearest, selection)}): "
        f"{'; '.join(broken)}. Raise that limit, or try smaller variants or sizes"
    )


def _choice_lines(selection: Selection) -> list[str]:
    if selection.choice is None:
        return [refusal(selection)]
    lines = [_line("choice", selection.choice, selection)]
    command = selection.command(selection.choice)
    if command is not None:
        lines.append(f"{'export it':<10} {command}")
    if selection.runner_up is not None:
        lines.append(_line("runner-up", selection.runner_up, selection))
    lines.append("1 ms more  " + (_buys(selection.one_more, selection) or "buys nothing"))
    if selection.next_better is not None and selection.next_better is not selection.one_more:
        lines.append("next step  " + _buys(selection.next_better, selection))
    if selection.to_train is not None:
        best = selection.to_train
        lines.append(
            f"{'no weights':<10} {name(best)} would be better ({_measures(best, selection)}, "
            f"predicted). {_train_it(selection)}"
        )
    return lines


def _train_it(selection: Selection) -> str:
    """How to get a checkpoint of the network that must be trained."""
    best = selection.to_train
    assert best is not None  # noqa: S101  (only called for one)
    command = str(selection.command(best))
    variant = best.record.variant
    if CHECKPOINT in command.split():
        return (
            f"Get a checkpoint of {variant}, for example timm's, and fine-tune it: {command}; or "
            "give it as it is with --weights FILE"
        )
    return f"Train it: {command}; or give a checkpoint of {variant} with --weights FILE"


def _prediction_lines(selection: Selection) -> list[str]:
    """Predicted beside measured latency, and the summary of the errors."""
    errors = selection.predictions
    if not errors:
        return []
    lines = [
        f"predicted  {formatting.milliseconds(item.predicted_ms)} ms, measured "
        f"{formatting.milliseconds(item.measured_ms)} ({100 * item.relative:+.1f} %): {item.file}"
        for item in errors
        if len(errors) <= _LISTED
    ]
    sizes = [100 * abs(item.relative) for item in errors]
    if len(sizes) > 1:
        lines.append(
            f"prediction error of {len(sizes)} files: median {statistics.median(sizes):.1f} %, "
            f"largest {max(sizes):.1f} %"
        )
    return lines


def _line(title: str, candidate: Candidate, selection: Selection) -> str:
    return (
        f"{title:<10} {name(candidate)}: {_measures(candidate, selection)}; {candidate.record.file}"
    )


def _measures(candidate: Candidate, selection: Selection) -> str:
    record = candidate.record
    parts = [
        f"{formatting.milliseconds(candidate.latency)} ms {selection.limits.metric}",
        f"{candidate.accuracy or 0:.1f} % {MEASURES[selection.measure]}",
        f"{formatting.megabytes(record.size_bytes)} MB",
    ]
    if record.peak_rss_mb is not None:
        parts.append(f"{record.peak_rss_mb:.0f} MiB")
    return ", ".join(parts)


def _buys(other: Candidate | None, selection: Selection) -> str:
    if other is None or selection.choice is None:
        return ""
    extra = (other.latency or 0) - selection.limits.budget_ms
    gain = (other.accuracy or 0) - (selection.choice.accuracy or 0)
    return (
        f"a budget {formatting.milliseconds(extra)} ms larger buys "
        f"{formatting.signed(gain)} points: {name(other)}"
    )


def _plot(selection: Selection, width: int) -> list[str]:
    """Accuracy over latency: * the choice, o the Pareto front, | the budget."""
    if not selection.front:
        return []
    near = sum((p.latency or 0) <= _FARTHEST * selection.limits.budget_ms for p in selection.front)
    points = list(selection.front[: max(near, _FEWEST)])
    beyond = len(selection.front) - len(points)
    if selection.choice is not None and selection.choice not in points:
        points = sorted([*points, selection.choice], key=lambda point: point.latency or 0)
    columns = max(20, width - _MARGIN - 3)
    right = 1.05 * max([selection.limits.budget_ms, *(p.latency or 0 for p in points)])
    if right > 4 * (points[-1].latency or 0):  # the budget is far above all latencies
        right = 1.3 * (points[-1].latency or 0)
    heights = [p.accuracy or 0 for p in points]
    low, high = min(heights), max(heights)
    low, high = (low, high) if high - low >= 0.5 else (low - 0.25, high + 0.25)

    def column(latency: float) -> int:
        return min(columns - 1, int(latency / right * columns))

    rows = [[" "] * columns for _ in range(_HEIGHT)]
    budget = selection.limits.budget_ms
    if budget < right:
        for row in rows:
            row[column(budget)] = "|"
    for candidate, height in zip(points, heights, strict=True):
        height_row = round((high - height) / (high - low) * (_HEIGHT - 1))
        rows[height_row][column(candidate.latency or 0)] = (
            "*" if candidate == selection.choice else "o"
        )
    lines = [f"{MEASURES[selection.measure]}, %"]
    for index, cells in enumerate(rows):
        value = high - (high - low) * index / (_HEIGHT - 1)
        label = f"{value:{_MARGIN - 1}.1f}" if index in (0, _HEIGHT // 2, _HEIGHT - 1) else ""
        lines.append(f"{label:>{_MARGIN - 1}} |{''.join(cells).rstrip()}")
    lines.append(" " * (_MARGIN - 1) + " +" + "-" * columns)
    lines.append(_axis(right, columns, selection.limits.metric))
    budget_text = f"| the budget of {budget:g} ms" if budget < right else "the budget is beyond"
    lines.append(f"{'':{_MARGIN}} * the choice, o the Pareto front, {budget_text}")
    if beyond:
        lines.append(f"{'':{_MARGIN}} {beyond} more of the front, all slower, are not shown")
    return lines


def _axis(right: float, columns: int, metric: str) -> str:
    label = f"{formatting.milliseconds(right)} ms {metric}"
    return f"{'':{_MARGIN}} 0{label:>{columns - 1}}"
