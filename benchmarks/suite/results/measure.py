"""Measurement of several networks for the results table, each with a journal of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from edge_effnet.benchmarks.suite.results.network_results import NetworkResults
from edge_effnet.benchmarks.suite.results.network_run import NetworkRun
from edge_effnet.benchmarks.suite.results.settings import Settings
from edge_effnet.benchmarks.sweep.plan import Cell, Plan
from edge_effnet.checkpoints import load
from edge_effnet.errors import EdgeEffNetError
from edge_effnet.progress import Progress, ignore_progress


def measure(
    cells: Sequence[Cell],
    settings: Settings,
    out: Path,
    progress: Progress = ignore_progress,
    notify: Callable[[str], None] = print,
) -> tuple[tuple[NetworkResults, ...], dict[str, str]]:
    """Export, evaluate and time the files of each network.

    The same call continues a killed measurement: results of completed tasks are in the journals in
    the subfolders of ``out``.

    Args:
        cells: The networks; the weights ``random`` give a network that is judged by SQNR alone.
        settings: Photos, files and timing.
        out: Folder for a subfolder per network.
        progress: Called with (stage, done, total).
        notify: Called with each note: vendors that are left out, unreadable photos.

    Returns:
        The results, and the error messages of the networks that failed, by name.

    Raises:
        CheckpointError: A checkpoint cannot be read.
        ImageError: There are no photos.
        UsageError: The photos have no labels, or these do not fit a network.
    """
    Plan(tuple(cells)).check()
    for cell in cells:  # every input is checked before the first hour of work
        info = load(cell.variant, cell.weights, resolution=cell.side, notify=lambda text: None).info
        settings.photos(info.labels)
        settings.calibration_photos(info.labels, cell)
    measured: list[NetworkResults] = []
    failures: dict[str, str] = {}
    command = settings.command(cells, out)
    for done, cell in enumerate(cells):
        progress("networks", done, len(cells))
        try:
            measured.append(NetworkRun(cell, settings, out, progress, notify).run(command))
        except EdgeEffNetError as error:
            failures[cell.name] = str(error)
    progress("networks", len(cells), len(cells))
    return tuple(measured), failures
