"""Selection -> text: the choice, the runner-up, what was excluded, and the front as a plot."""

from __future__ import annotations

from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.benchmarks.selection.select import MEASURES, Candidate, Selection
from edge_effnet.formats import title_of
from edge_effnet.variants import VARIANTS, short_name

_HEIGHT = 12  # lines of the plot
_LEFT = 7  # characters of the vertical axis' labels
_FARTHEST = 4  # times the budget, up to which the plot goes
_FEWEST = 3  # points that it shows all the same
_NAMED = 4  # files named of those a limit excludes


def explain(found: Selection, width: int = 80) -> str:
    """The whole answer as lines of text at most about ``width`` characters wide."""
    lines = _answer(found)
    groups: dict[str, list[Candidate]] = {}
    for item in found.excluded:
        groups.setdefault("; ".join(item.reasons), []).append(item.candidate)
    for reason, those in groups.items():
        names = ", ".join(name(candidate) for candidate in those[:_NAMED])
        more = f" and {len(those) - _NAMED} more" if len(those) > _NAMED else ""
        lines.append(f"excluded   {reason}: {names}{more}")
    return "\n".join([*lines, "", *_plot(found, width)]) + "\n"


def name(candidate: Candidate) -> str:
    """``lite0 TFLite int8``, with its side where that is not its own, and threads over one."""
    record = candidate.record
    kind = title_of(record.format)
    threads = f" x{record.threads}" if record.threads and record.threads > 1 else ""
    variant = VARIANTS.get(record.variant)
    other = variant is not None and record.resolution not in (None, variant.resolution)
    side = f"@{record.resolution}" if other else ""
    return f"{short_name(record.variant)}{side} {kind} {record.precision}{threads}"


def refusal(found: Selection) -> str:
    """The one sentence for when nothing fits."""
    nearest = found.nearest
    assert nearest is not None  # noqa: S101  (there is one whenever there is no choice)
    reasons = next(item.reasons for item in found.excluded if item.candidate is nearest)
    return (
        f"no file fits a {found.limits.metric} of {found.limits.budget_ms:g} ms and the other "
        f"limits; the nearest is {nearest.record.file} ({_figures(nearest, found)}): "
        f"{'; '.join(reasons)}. Raise that limit, or try smaller variants or sizes"
    )


def _answer(found: Selection) -> list[str]:
    if found.choice is None:
        return [refusal(found)]
    lines = [_line("choice", found.choice, found)]
    if found.runner_up is not None:
        lines.append(_line("runner-up", found.runner_up, found))
    lines.append("1 ms more  " + (_buys(found.one_more, found) or "buys nothing"))
    if found.step is not None and found.step is not found.one_more:
        lines.append("next step  " + _buys(found.step, found))
    return lines


def _line(title: str, candidate: Candidate, found: Selection) -> str:
    return f"{title:<10} {name(candidate)}: {_figures(candidate, found)}; {candidate.record.file}"


def _figures(candidate: Candidate, found: Selection) -> str:
    record = candidate.record
    parts = [
        f"{formatting.milliseconds(candidate.latency)} ms {found.limits.metric}",
        f"{candidate.accuracy or 0:.1f} % {MEASURES[found.measure]}",
        f"{formatting.megabytes(record.size_bytes)} MB",
    ]
    if record.peak_rss_mb is not None:
        parts.append(f"{record.peak_rss_mb:.0f} MiB")
    return ", ".join(parts)


def _buys(other: Candidate | None, found: Selection) -> str:
    if other is None or found.choice is None:
        return ""
    extra = (other.latency or 0) - found.limits.budget_ms
    gain = (other.accuracy or 0) - (found.choice.accuracy or 0)
    return (
        f"a budget {formatting.milliseconds(extra)} ms larger buys "
        f"{formatting.signed(gain)} points: {name(other)}"
    )


def _plot(found: Selection, width: int) -> list[str]:
    """Accuracy upwards against latency to the right: * the choice, o the front, | the budget."""
    if not found.front:
        return []
    near = sum((p.latency or 0) <= _FARTHEST * found.limits.budget_ms for p in found.front)
    points = found.front[: max(near, _FEWEST)]
    beyond = len(found.front) - len(points)
    columns = max(20, width - _LEFT - 3)
    right = 1.05 * max([found.limits.budget_ms, *(p.latency or 0 for p in points)])
    if right > 4 * (points[-1].latency or 0):  # a budget far beyond everything
        right = 1.3 * (points[-1].latency or 0)
    heights = [p.accuracy or 0 for p in points]
    low, high = min(heights), max(heights)
    low, high = (low, high) if high - low >= 0.5 else (low - 0.25, high + 0.25)

    def column(latency: float) -> int:
        return min(columns - 1, int(latency / right * columns))

    grid = [[" "] * columns for _ in range(_HEIGHT)]
    budget = found.limits.budget_ms
    if budget < right:
        for row in grid:
            row[column(budget)] = "|"
    for candidate, height in zip(points, heights, strict=True):
        place = round((high - height) / (high - low) * (_HEIGHT - 1))
        grid[place][column(candidate.latency or 0)] = "*" if candidate is found.choice else "o"
    lines = [f"{MEASURES[found.measure]}, %"]
    for index, cells in enumerate(grid):
        value = high - (high - low) * index / (_HEIGHT - 1)
        label = f"{value:{_LEFT - 1}.1f}" if index in (0, _HEIGHT // 2, _HEIGHT - 1) else ""
        lines.append(f"{label:>{_LEFT - 1}} |{''.join(cells).rstrip()}")
    lines.append(" " * (_LEFT - 1) + " +" + "-" * columns)
    lines.append(_axis(right, columns, found.limits.metric))
    budget_in_words = f"| the budget of {budget:g} ms" if budget < right else "the budget is beyond"
    lines.append(f"{'':{_LEFT}} * the choice, o the Pareto front, {budget_in_words}")
    if beyond:
        lines.append(f"{'':{_LEFT}} {beyond} more of the front, all slower, are not shown")
    return lines


def _axis(right: float, columns: int, metric: str) -> str:
    end = f"{formatting.milliseconds(right)} ms {metric}"
    return f"{'':{_LEFT}} 0{end:>{columns - 1}}"
