"""Rows of the results tables: the cells of one file, and the networks' tables as cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edge_effnet.benchmarks.intervals import round_ratio
from edge_effnet.benchmarks.records import Record
from edge_effnet.benchmarks.reporting import formatting
from edge_effnet.benchmarks.suite.results.network_results import NetworkResults
from edge_effnet.converters.options import OURS
from edge_effnet.formats import RUNNABLE, title_of

#: How the vendors' quantizers are called in the tables.
TITLES = {
    "tensorflow": "TensorFlow's converter",
    "ai-edge-quantizer": "ai-edge-quantizer",
    "onnxruntime": "`quantize_static`",
    "nncf": "NNCF",
    "nncf-histogram": "NNCF, histogram ranges",
}
DETAILS = (
    "format", "file", "recipe", "agreement, %", "drop, points", "SQNR, dB", "size, MB", "time",
)  # fmt: skip


@dataclass(frozen=True)
class Table:
    """Header and rows of one table, as text."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table in Markdown; the first column is on the left, numbers on the right."""
        lines = [self.header, ("---",) * len(self.header), *self.rows]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def standard_error(share: float, photos: int) -> float:
    """Standard error of a share of ``photos``, both as fractions of 1.

    One success and one failure are added (Agresti and Coull 1998), so that it is never 0.
    """
    adjusted = (share * photos + 1) / (photos + 2)
    return math.sqrt(adjusted * (1 - adjusted) / (photos + 2))


def time_ratio(record: Record, base: Record | None) -> str:
    """The file's latency divided by that of ``base``: median and quartiles over the rounds."""
    if base is None or not record.samples_ms or not base.samples_ms:
        return formatting.NONE
    if record is base:
        return "1"
    low, middle, high = round_ratio(record.samples_ms, base.samples_ms, record.rounds or 1)
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def detail_table(network: NetworkResults) -> Table:
    """One row per file of a trained network, formats one after the other."""
    records = network.results.records
    rows = []
    for name in RUNNABLE:
        group = [record for record in records if record.format == name]
        base = next((record for record in group if record.precision == "fp32"), None)
        rows += [_details(record, base) for record in _in_order(group)]
    timed = any(record.samples_ms for record in records)
    width = len(DETAILS) if timed else -1
    return Table(DETAILS[:width], tuple(row[:width] for row in rows))


def overview_table(networks: Sequence[NetworkResults]) -> Table:
    """int8 and mixed files of trained networks beside the vendors' int8 files."""
    recipes = _recipes(networks)
    kinds = [(precision, recipe) for precision in ("int8", "mixed") for recipe in recipes]
    kinds = [kind for kind in kinds if any(_find(each, "", *kind) for each in networks)]
    header = ("network", "format", *(" ".join(kind) for kind in kinds), "vendors' int8")
    rows = []
    for network in networks:
        for name in RUNNABLE:
            cells = [_short(_find(network, name, *kind)) for kind in kinds]
            vendors = [
                f"{TITLES[str(record.quantizer)]} {_short(record)}"
                for record in _vendors(network, name)
            ]
            if any(cell != formatting.NONE for cell in cells):
                vendor_cell = "; ".join(vendors) or formatting.NONE
                rows.append((network.method.network, title_of(name), *cells, vendor_cell))
    return Table(header, tuple(rows))


def random_table(networks: Sequence[NetworkResults]) -> Table:
    """SQNR in dB of networks with random weights: one row per network and format."""
    recipes = _recipes(networks)
    kinds = [(precision, recipe) for precision in ("w8", "int8", "mixed") for recipe in recipes]
    kinds = [kind for kind in kinds if any(_find(each, "", *kind) for each in networks)]
    header = ("network", "input", "format", *(" ".join(kind) for kind in kinds), "vendors' int8")
    rows = []
    for network in networks:
        side = f"{network.method.resolution} px"
        for name in RUNNABLE:
            records = [_find(network, name, *kind) for kind in kinds]
            cells = [formatting.decibels(each.sqnr_db if each else None) for each in records]
            vendors = [
                f"{TITLES[str(record.quantizer)]} {formatting.decibels(record.sqnr_db)}"
                for record in _vendors(network, name)
            ]
            if any(records):
                variant = network.method.network.partition("@")[0]
                vendor_cell = "; ".join(vendors) or formatting.NONE
                rows.append((variant, side, title_of(name), *cells, vendor_cell))
    return Table(header, tuple(rows))


def _details(record: Record, base: Record | None) -> tuple[str, ...]:
    theirs = record.quantizer not in (None, OURS)
    file = f"{record.precision}, {TITLES[str(record.quantizer)]}" if theirs else record.precision
    recipe = formatting.NONE if theirs or record.recipe is None else record.recipe
    agreement = drop = formatting.NONE
    if record.agreement is not None and record is not base:
        error = standard_error(record.agreement, record.images)
        agreement = f"{formatting.percent(record.agreement)} ± {100 * error:.1f}"
    if record.drop is not None and record.drop_ci is not None and record is not base:
        interval = formatting.points_interval(record.drop_ci)
        drop = f"{formatting.points(record.drop)} ({interval})"
    return (
        title_of(record.format),
        file,
        recipe,
        agreement,
        drop,
        formatting.NONE if record is base else formatting.decibels(record.sqnr_db),
        formatting.megabytes(record.size_bytes),
        time_ratio(record, base),
    )


def _in_order(records: Iterable[Record]) -> list[Record]:
    """Our files by precision and recipe, then the vendors'."""
    quantizers = [OURS, *TITLES]

    def order(record: Record) -> tuple[int, int, bool, str]:
        quantizer = quantizers.index(record.quantizer or OURS)
        precision = formatting.PRECISIONS.index(record.precision)
        return quantizer, precision, record.recipe != "default", record.recipe or ""

    return sorted(records, key=order)


def _recipes(networks: Sequence[NetworkResults]) -> list[str]:
    names = {
        str(record.recipe)
        for network in networks
        for record in network.results.records
        if record.quantizer == OURS
    }
    return sorted(names, key=lambda name: (name != "default", name))


def _find(network: NetworkResults, name: str, precision: str, recipe: str) -> Record | None:
    """Our file of one format (any if ``name`` is empty), precision and recipe."""
    for record in network.results.records:
        kind = (record.precision, record.recipe, record.quantizer)
        if kind == (precision, recipe, OURS) and name in ("", record.format):
            return record
    return None


def _vendors(network: NetworkResults, name: str) -> list[Record]:
    records = [each for each in network.results.records if each.quantizer not in (None, OURS)]
    return _in_order(record for record in records if record.format == name)


def _short(record: Record | None) -> str:
    if record is None or record.agreement is None:
        return formatting.NONE
    return f"{formatting.percent(record.agreement)} %, {formatting.decibels(record.sqnr_db)} dB"
