"""A plot as inline SVG, coloured by the page's style sheet.

matplotlib draws with placeholder colours. They are replaced by CSS variables, so that one plot
suits light mode, dark mode and print. The output is deterministic.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable
from typing import Any

#: Placeholder colours -> the page's CSS variables.
_VARIABLES = {
    "#010101": "ink",
    "#010102": "muted",
    "#010103": "line",
    "#010104": "paper",
    "#010105": "tflite",
    "#010106": "onnx",
    "#010107": "openvino",
    "#010108": "other",
    "#010109": "warn",
}
#: Name of a CSS variable -> its placeholder colour.
COLOURS = {name: colour for colour, name in _VARIABLES.items()}
_WIDTH = 4.9  # inches; about a phone's width at the page's scale


def plot(
    name: str,
    title: str,
    description: str,
    height: float,
    draw: Callable[[Any], None],
    *,
    measured: bool = False,
) -> str:
    """A plot as an inline SVG element.

    Args:
        name: Prefix of all ids in the element; unique in the page.
        title: Accessible name.
        description: Accessible description, with the values that the plot shows.
        height: Height in inches; the width is 4.9 inches.
        draw: Draws on the matplotlib axes, in the colours of `COLOURS`.
        measured: Whether the element's attributes hold the axes' pixel positions.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    style: Any = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",  # SVG text instead of paths: searchable, in the page's font
        "text.parse_math": False,  # a $ in a file's name is a $
        "font.size": 9.5,
        "text.color": COLOURS["ink"],
        "axes.labelcolor": COLOURS["muted"],
        "axes.edgecolor": COLOURS["line"],
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "xtick.color": COLOURS["muted"],
        "ytick.color": COLOURS["muted"],
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "grid.color": COLOURS["line"],
        "grid.linewidth": 0.7,
    }
    with mpl.rc_context(style), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the font may lack characters of a name
        mpl.rcParams["font.family"] = [
            "DejaVu Sans"
        ]  # part of matplotlib, so the layout is the same on every machine
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
        positions = _axis_positions(figure, axes) if measured else ""
    return _inline(stream.getvalue(), name, title, description, positions)


def _axis_positions(figure: Any, axes: Any) -> str:
    """Attributes of an SVG: pixel positions of the axes' edges, and the upper limit of x."""
    scale = 72 / figure.dpi  # matplotlib's SVG unit is the point; y points down
    (left, bottom), (right, top) = axes.transAxes.transform([(0, 0), (1, 1)]) * scale
    height = figure.get_figheight() * 72
    values = (left, right, height - top, height - bottom, axes.get_xlim()[1])
    names = ("left", "right", "top", "bottom", "limit")
    return " ".join(f'data-{name}="{value:.4f}"' for name, value in zip(names, values, strict=True))


def _inline(svg: str, name: str, title: str, description: str, positions: str = "") -> str:
    """The SVG file as an HTML element with unique ids, and CSS variables as colours."""
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var(--{variable})")
    label = (
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>'
    )
    svg_tag = re.compile(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', re.DOTALL)
    head = (
        rf'<svg id="{name}" viewBox="\1" {positions} role="img" '
        f'aria-labelledby="{name}-title {name}-desc" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return svg_tag.sub(lambda match: match.expand(head) + label, svg, count=1)
