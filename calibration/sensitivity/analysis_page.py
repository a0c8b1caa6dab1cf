"""An `Analysis` as an SVG bar chart along the network, and as an HTML page with a table.

The SVG is written without a plotting library, because it has only bars and labels. Colours and
fonts match the HTML report of ``compare``.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from itertools import groupby

from edge_effnet.calibration.sensitivity.analysis import Analysis
from edge_effnet.calibration.sensitivity.measure import Sensitivity

_WIDTH, _HEIGHT = 960.0, 330.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 952.0, 34.0, 270.0
_NUMBERED = 9  # bars with their rank above
_LETTER = 7.0  # upper limit of a letter's width
#: Operator -> the variable of its colour.
_COLOURS = {"conv": "blue", "depthwise": "orange", "dense": "grey"}
_LEGEND = (("blue", "convolution"), ("orange", "depthwise"), ("green", "sum, product, pool"))
_STYLE = """
:root, svg { --paper: #fdfdfb; --band: #f1f1ec; --ink: #1b1d20; --muted: #62676e; --line: #e2e2dc;
  --blue: #2f62c9; --orange: #d9701a; --green: #149683; --grey: #7d828a; color-scheme: light dark; }
@media screen and (prefers-color-scheme: dark) { :root, svg { --paper: #15171a; --band: #1d2024;
  --ink: #e9e7e2; --muted: #9fa4ac; --line: #30343a; --blue: #7fa6ff; --orange: #f29a4e;
  --green: #45c9b2; --grey: #9fa4ac; } }
svg { font: 13px ui-sans-serif, system-ui, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; }
"""
_PAGE_STYLE = """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 3rem 1.5rem 4rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.55 ui-sans-serif, system-ui, "Segoe UI", Roboto, sans-serif;
  font-variant-numeric: tabular-nums; }
h1 { font-size: clamp(1.4rem, 4vw, 2rem); line-height: 1.2; font-weight: 650; margin: .35rem 0 1rem;
  letter-spacing: -.018em; max-width: 32em; text-wrap: balance; }
p { max-width: 46em; margin: 0 0 .8rem; } .eyebrow { color: var(--muted); font-size: .84rem; }
figure { margin: 1.6rem 0 2rem; overflow-x: auto; } figure svg { display: block; width: 100%;
  min-width: 40rem; height: auto; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th, td { text-align: right; padding: .38rem .5rem; white-space: nowrap; }
th { font-weight: 500; color: var(--muted); font-size: .8rem; }
td:nth-child(2), th:nth-child(2), td:nth-child(3), th:nth-child(3) { text-align: left; }
tbody tr { border-top: 1px solid var(--line); } td:first-child { color: var(--muted); }
td.bar { min-width: 5rem; } td.bar i { display: block; height: .7em; border-radius: 1px; }
@media print { .scroll, figure { overflow: visible; } * { print-color-adjust: exact; } }
"""


def svg(analysis: Analysis) -> str:
    """The content of an SVG file: each unit's share of the noise as a bar, in network order."""
    return _figure(analysis, f"<style>{_STYLE}</style>")


def page(analysis: Analysis) -> str:
    """One self-contained HTML page with the bar chart and a table of all units."""
    title = f"{analysis.variant}: sensitivity of each layer"
    rows = "\n".join(_row(analysis, rank, unit) for rank, unit in enumerate(analysis.ranked, 1))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{escape(title)}</title>
<style>{_STYLE}{_PAGE_STYLE}</style>
</head>
<body>
<p class="eyebrow">{escape(analysis.variant)} · {escape(analysis.format)} int8 · recipe
{escape(analysis.recipe)} · {analysis.samples} photos</p>
<h1>{escape(_sentence(analysis))}</h1>
<p>Each bar is the noise that one layer adds to the logits when it alone is quantized: its weights
and its output tensors. Their sum would be {analysis.sum_db:.1f} dB. The logits of the whole
quantized network have {analysis.sqnr_db:.1f} dB, since later layers compensate errors of earlier
ones.</p>
<figure>{_figure(analysis, "")}</figure>
<div class="scroll"><table>
<thead><tr><th></th><th>layer</th><th>operator</th><th>SQNR of the logits</th><th></th>
<th>share of the noise</th><th>multiply-adds</th><th>its output, all quantized</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>
</body>
</html>
"""


def _sentence(analysis: Analysis) -> str:
    return analysis.headline()[:1].upper() + analysis.headline()[1:]


def _row(analysis: Analysis, rank: int, unit: Sensitivity) -> str:
    largest = analysis.share(analysis.ranked[0]) or 1.0
    width = 100 * analysis.share(unit) / largest
    bar = f'<i style="width:{width:.1f}%;background:var(--{_colour(unit)})"></i>'
    cells = (
        f"{rank}",
        escape(unit.name),
        escape(unit.kind),
        f"{unit.sqnr_db:.1f} dB" if unit.noise > 0 else "no noise",
        bar,
        f"{analysis.share(unit):.1%}",
        f"{analysis.work(unit):.1%}" if unit.multiply_adds else "",
        f"{unit.output_db:.1f} dB",
    )
    written = "".join(
        f'<td class="bar">{cell}</td>' if cell is bar else f"<td>{cell}</td>" for cell in cells
    )
    return f"<tr>{written}</tr>"


def _figure(analysis: Analysis, style: str) -> str:
    shares = [analysis.share(unit) for unit in analysis.units]
    limit = _round_up(max(shares, default=0.0))
    step = (_RIGHT - _LEFT) / max(1, len(shares))
    largest = "; ".join(
        f"{rank}: {unit.name}, {analysis.share(unit):.1%}"
        for rank, unit in enumerate(analysis.ranked[:_NUMBERED], 1)
    )
    parts = [
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" xmlns="http://www.w3.org/2000/svg">',
        f"<title>{escape(analysis.variant)}: share of the noise on the logits by layer</title>",
        f"<desc>In the network's order. The largest: {escape(largest)}.</desc>{style}",
        f'<rect width="{_WIDTH:g}" height="{_HEIGHT:g}" fill="var(--paper)"/>',
        *_stages(analysis, step),
    ]
    for tick in range(5):
        value = limit * tick / 4
        y = _height(value, limit)
        parts.append(f'<path d="M{_LEFT:g} {y:.1f}H{_RIGHT:g}" stroke="var(--line)"/>')
        parts.append(_text(_LEFT - 6, y + 4, f"{100 * value:g}", "end"))
    parts.append(_text(_LEFT, 20, "share of the noise on the logits, %", "start"))
    ranks = {unit.name: rank for rank, unit in enumerate(analysis.ranked[:_NUMBERED], 1)}
    for index, (unit, share) in enumerate(zip(analysis.units, shares, strict=True)):
        x, y = _LEFT + (index + 0.5) * step, _height(share, limit)
        width = max(1.0, 0.66 * step)
        parts.append(
            f'<rect x="{x - width / 2:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{_BOTTOM - y:.1f}" fill="var(--{_colour(unit)})"><title>'
            f"{escape(unit.name)}: {unit.sqnr_db:.1f} dB, {share:.1%}</title></rect>"
        )
        if unit.name in ranks:
            parts.append(_text(x, y - 5, str(ranks[unit.name]), "middle", "ink"))
    x = _RIGHT
    for colour, words in reversed(_LEGEND):
        parts.append(_text(x, 20, words, "end"))
        x -= _LETTER * len(words) + 8
        parts.append(
            f'<rect x="{x - 10:.1f}" y="10" width="10" height="10" fill="var(--{colour})"/>'
        )
        x -= 26
    return "\n".join([*parts, "</svg>"])


def _stages(analysis: Analysis, step: float) -> Iterator[str]:
    """SVG elements: the name of each stage, and a shaded band behind every other stage."""
    first = 0
    ends = [0.0, 0.0, 0.0]  # right end of each text line; names of narrow stages use several lines
    for number, (stage, members) in enumerate(groupby(analysis.units, key=_stage)):
        count = len(list(members))
        x, width = _LEFT + first * step, count * step
        if number % 2 == 0:
            yield (
                f'<rect x="{x:.1f}" y="{_TOP:g}" width="{width:.1f}" '
                f'height="{_BOTTOM - _TOP:g}" fill="var(--band)"/>'
            )
        half = _LETTER * len(stage) / 2
        middle = min(x + width / 2, _RIGHT - half)
        for line, end in enumerate(ends):
            if middle - half > end:
                ends[line] = middle + half + _LETTER
                yield _text(middle, _BOTTOM + 18 * (line + 1), stage, "middle")
                break
        first += count


def _stage(unit: Sensitivity) -> str:
    first, *others = unit.name.split(".")
    return f"stage {others[0]}" if first == "stages" and others else first


def _colour(unit: Sensitivity) -> str:
    return _COLOURS.get(unit.kind, "green")


def _height(share: float, limit: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * share / limit


def _round_up(share: float) -> float:
    """End of the axis: a multiple of 4 %, or of 0.4 % if the largest share is at most 4 %."""
    unit = 0.04 if share > 0.04 else 0.004
    return unit * max(1, -int(-share // unit))


def _text(x: float, y: float, words: str, anchor: str, colour: str = "muted") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="var(--{colour})">'
        f"{escape(words)}</text>"
    )
