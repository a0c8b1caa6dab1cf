"""Self-contained HTML page of a training run: report.html."""

from __future__ import annotations

import shlex
from pathlib import Path

from edge_effnet.apps.training.metrics import SCHEMA, Metrics
from edge_effnet.apps.training.run import Run
from edge_effnet.apps.training.run_page import plots
from edge_effnet.apps.training.run_page.class_bars import MOST_NAMES
from edge_effnet.apps.training.run_page.content import SPLIT_NAMES, TITLES, Content, read_content
from edge_effnet.apps.training.run_page.gallery import MOST_ROWS
from edge_effnet.benchmarks.records import Results, read_results
from edge_effnet.benchmarks.reporting import formatting, html
from edge_effnet.errors import require
from edge_effnet.files import write_text
from edge_effnet.version import VERSION

_PACKAGE = "edge_effnet.apps.training.run_page"
_STYLES = "edge_effnet.benchmarks.reporting"


def write_page(run: Run, results: Results | None = None) -> Path:
    """Write report.html into the run's folder, atomically.

    Args:
        run: The run. One whose training is not finished gets a page of what is there.
        results: Measurements of its exported files; by default those of results.json in the
            run's folder, if there is one.

    Returns:
        Path of the page.

    Raises:
        MissingExtra: jinja2 or matplotlib is not installed.
        ModelFileError: A file of the run is damaged.
        UsageError: results.json is damaged.
        OutputError: The page cannot be written.
    """
    return write_text(run.page_file, render(run, results))


def render(run: Run, results: Results | None = None) -> str:
    """The page's HTML; arguments and errors as in `write_page`."""
    environment = html.environment(_PACKAGE, _STYLES)
    markup = require("markupsafe", "report").Markup
    require("matplotlib", "report")
    if results is None and run.results_file.is_file():
        results = read_results(run.results_file)
    metrics = run.metrics() if run.metrics_file.is_file() else Metrics(SCHEMA, run.class_names)
    content = read_content(run, metrics)
    epochs = run.epochs()
    records = formatting.order(results.records) if results else []
    svgs = {
        "accuracies": plots.accuracies(epochs),
        "losses": plots.losses(epochs),
        "divergences": plots.divergences(epochs),
        "candidates": plots.head_candidates(epochs),
        "reliability": plots.reliability_plot(content.reliability) if content.reliability else "",
    }
    text: str = environment.get_template("run.html").render(
        run=run,
        content=content,
        headline=headline(content),
        split_name=SPLIT_NAMES[content.split] if content.split else "",
        chosen_title=TITLES[content.chosen] if content.chosen else "",
        titles=TITLES,
        metrics=metrics,
        epochs=epochs,
        plots={name: markup(svg) for name, svg in svgs.items()},
        rows=list(zip(records, formatting.titles(records), strict=True)),
        results=results,
        formatting=formatting,
        commands=commands(run),
        sentence=sentence,
        class_count=len(run.class_names),
        split_names=SPLIT_NAMES,
        wrong_count=wrong_count(content),
        duration=duration,
        most_names=MOST_NAMES,
        most_rows=MOST_ROWS,
        toolkit=f"edge-effnet {VERSION}",
    )
    return html.without_surrogates(text)


def commands(run: Run) -> list[str]:
    """The commands that bring the run to a device."""
    return [
        shlex.join(["edge-effnet", "export", str(run.folder), "--out", "out/"]),
        f"edge-effnet camera out/{run.settings.variant}-int8.tflite --source 0 --preview http",
    ]


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + "." * (text[-1:] not in {".", "!", "?", ""})


def headline(content: Content) -> str:
    """One sentence: the accuracy and the number of photos that it was measured on."""
    measured = content.reliability
    if measured is None or content.split is None:
        return "The training has not measured a network yet"
    photos = f"{measured.photos:,} {SPLIT_NAMES[content.split]} photo{'s' * (measured.photos != 1)}"
    return f"{formatting.percent(measured.accuracy)} % of {photos} classified correctly"


def wrong_count(content: Content) -> int:
    """Number of wrong predictions on the evaluated split."""
    measured = content.reliability
    return 0 if measured is None else round(measured.photos * (1 - measured.accuracy))


def duration(seconds: float) -> str:
    """A duration in words: ``42 s``, ``3 min 5 s``, ``2 h 10 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
