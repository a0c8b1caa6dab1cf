"""The papers' tables: what is computed, what is printed, and why they differ where they do."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_effnet.benchmarks.papers.comparison import Cell, Table, parse, render
from edge_effnet.benchmarks.papers.discrepancies import (
    flops_cell,
    params_cell,
    with_batch_norm,
    with_statistics,
)
from edge_effnet.benchmarks.papers.tables import TABLES, stages_of
from edge_effnet.benchmarks.papers.transfer import Transfer, transfer
from edge_effnet.network import build
from edge_effnet.registry import get_variant
from edge_effnet.scaling import scale
from support import RECORDED
from support.command import call, done, refused, run

#: What is known not to come out within its rounding: (table, row, column).
DIFFERENT = {
    ("v1-2", "B1", "FLOPs"),
    ("v1-2", "B2", "params"),
    ("v1-2", "B4", "FLOPs"),
    ("v1-2", "B5", "FLOPs"),
    ("v1-2", "B7", "FLOPs"),
    ("v1-2", "ResNet-50", "ratio"),
    ("v1-2", "ResNet-152", "ratio"),
    ("v1-3", "  resolution (r=2)", "FLOPs"),
    ("v1-3", "  d=1.4, w=1.2, r=1.3", "FLOPs"),
    ("v1-3", "  compound, as above", "FLOPs"),
    ("v1-3", "  depth (d=4)", "FLOPs"),
    ("v1-3", "  width (w=2)", "FLOPs"),
    ("v1-3", "  compound", "FLOPs"),
    ("v1-7", "  depth (d=4)", "FLOPs"),
    ("v1-7", "  width (w=2)", "FLOPs"),
    ("v1-7", "  resolution (r=2)", "FLOPs"),
    ("v2-7", "V2-S", "params"),
    ("v2-7", "V2-S", "FLOPs"),
    ("v2-7", "V2-M", "FLOPs"),
    ("v2-7", "V2-L", "params"),
    ("v2-7", "V2-L", "FLOPs"),
    ("v2-7", "V2-M", "FLOPs, release"),
    ("v2-7", "V2-L", "params, release"),
    ("v2-7", "V2-L", "FLOPs, release"),
}


#: Rows of table 5 whose parameters are those without the classifier.
CLASSIFIER_LEFT_OUT = {
    "Birdsnap (500), B5",
    "Birdsnap (500), B7",
    "Stanford Cars (196), B3",
    "Flowers (102), B5",
    "FGVC Aircraft (100), B3",
    "Oxford-IIIT Pets (37), B4",
    "Food-101 (101), B4",
}


@pytest.fixture(scope="module")
def tables() -> dict[str, Table]:
    return {name: compute() for name, compute in TABLES.items()}


def test_every_figure_agrees_or_says_why(tables: dict[str, Table]) -> None:
    found = set()
    for table in tables.values():
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                if cell is None:
                    continue
                assert bool(cell.note) != cell.agrees, (table.key, row.name, column)
                if not cell.agrees:
                    found.add((table.key, row.name, column))
    transfers = {place for place in found if place[0] == "v1-5"}
    assert found - transfers == DIFFERENT
    assert {row for _, row, column in transfers if column == "params"} == CLASSIFIER_LEFT_OUT
    assert sum(column == "top-1 %" for *_, column in transfers) == 16  # data sets not at hand


def test_what_the_authors_release_prints_is_within_one_percent(tables: dict[str, Table]) -> None:
    for row in tables["v2-7"].rows:
        assert all(cell is not None and cell.near for cell in row.cells[2:])


def test_figures_are_those_of_torchvision(tables: dict[str, Table]) -> None:
    counts = json.loads((RECORDED / "library_counts.json").read_text())["gflops"]
    compared = []
    for row in tables["v1-2"].rows:
        entry = counts["entries"].get(f"efficientnet-{row.name.lower()}")
        if entry and entry["side"] == get_variant(row.name).resolution:
            flops = row.cells[2]
            assert flops is not None
            assert float(flops.computed) / 1e9 == pytest.approx(entry["gflops"], abs=0.0005001)
            compared.append(row.name)
    assert compared == ["B0", "B1", "B3", "B4", "B5", "B6", "B7"]  # its B2 has another side


def test_tables_have_every_line_of_the_papers(tables: dict[str, Table]) -> None:
    lines = {"v1-1": 9, "v1-2": 10, "v1-3": 14, "v1-5": 16, "v1-7": 5, "v2-4": 8, "v2-7": 3}
    assert {key: len(table.rows) for key, table in tables.items()} == lines
    assert all(table.key == key for key, table in tables.items())


def test_stages_are_read_off_the_graph() -> None:
    """Another network gives another table: nothing is taken from the printed one."""
    b0 = get_variant("b0")
    stages = list(b0.stages)
    stages[1] = replace(stages[1], kernel=7, expansion=4, repeats=5, channels=64)
    found = stages_of(build(replace(b0, stages=tuple(stages))), squeeze=False)[2]
    assert (found.operator, found.side, found.channels) == ("MBConv4, k7x7", 112, 64)
    assert (found.stride, found.layers) == (2, 5)
    wide = stages_of(build(scale(b0, width=2, depth=2, resolution=2)), squeeze=True)
    assert [(facts.channels, facts.layers) for facts in wide][1:3] == [(32, 2), (48, 4)]
    assert wide[0].side == 448
    assert wide[1].operator == "MBConv1, k3x3, SE0.25"


# Cells


@pytest.mark.parametrize(
    ("printed", "number", "unit", "decimals"),
    [("0.39B", 0.39, 1e9, 2), ("26M", 26, 1e6, 0), ("4.9x", 4.9, 1, 1), ("1280", 1280, 1, 0)],
)
def test_printed_figures(printed: str, number: float, unit: float, decimals: int) -> None:
    assert parse(printed) == (number, unit, decimals)


@given(st.integers(1, 10**6), st.integers(0, 3), st.floats(-0.9, 0.9))
def test_a_figure_agrees_if_it_rounds_to_the_printed_one(
    digits: int, decimals: int, off: float
) -> None:
    step = 10.0**-decimals
    value = digits * step
    cell = Cell((value + off * step) * 1e9, f"{value:.{decimals}f}B")
    if abs(abs(off) - 0.5) > 1e-6:
        assert cell.agrees == (abs(off) < 0.5)
    assert cell.near or not cell.agrees


def test_one_more_digit_is_shown() -> None:
    assert Cell(385_814_752, "0.39B").shown == "0.386"
    assert Cell(25_557_032, "26M").shown == "25.6"
    assert Cell(385_814_752, "0.39B").near
    assert Cell(101.0, "100").near
    assert not Cell(101.1, "100").near
    assert not Cell("MBConv6", "MBConv1").near


# Reasons


def test_counts_that_include_more() -> None:
    graph = build(get_variant("mobilenet-v1"))
    channels = [32, 32, 64, 64, 128, 128, 128, 128, 256, 256, 256, 256, 512, *[512] * 11, 1024]
    channels += [1024, 1024]
    assert with_statistics(graph) - graph.params == 2 * sum(channels)
    norms = [node for node in graph if node.name.endswith("bn")]
    assert len(norms) == 27
    elements = sum(
        shape[0] * shape[1] * shape[2] for shape in (graph.shapes[n.name] for n in norms)
    )
    assert with_batch_norm(graph) == graph.multiply_adds + elements


@pytest.mark.parametrize(
    ("name", "published", "reason"),
    [
        ("b1", "0.70B", "0.698B if batch normalisation counts"),
        ("b4", "4.2B", "368 pixels instead of 380 would give 4.18B"),
        ("b5", "9.9B", "not reproduced: 10.27B, .* nothing between; torchvision"),
        ("b0", "3.9B", "not reproduced: 0.39B"),
    ],
)
def test_reasons(name: str, published: str, reason: str) -> None:
    cell = flops_cell(get_variant(name), published)
    assert not cell.agrees
    assert re.match(reason, cell.note)


def test_reasons_of_parameters() -> None:
    assert "the figure seems to count them" in params_cell(get_variant("b2"), "9.2M").note
    assert params_cell(get_variant("b2"), "9.1M").note == ""
    assert params_cell(get_variant("b2"), "8.0M").note.startswith("not reproduced")


# On the command line


def test_tables_as_json() -> None:
    (shown,) = json.loads(done(call("tables", "v1-2", "--json", "-")))
    assert shown["table"] == "v1-2"
    row = next(row for row in shown["rows"] if row["name"] == "B4")
    flops = row["figures"]["FLOPs"]
    assert (flops["computed"], flops["published"]) == (4393771024, "4.2B")
    assert (flops["agrees"], flops["within_1_percent"]) == (False, False)
    assert "368 pixels" in flops["note"]
    assert row["figures"]["ratio"] is None


def test_tables_fit_80_columns() -> None:
    text = done(run("tables"))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "36 of 36 figures as published" in text
    assert "31 of 31 figures as published" in text
    assert text.count("figures as published") == len(TABLES)
    assert "14.57 / 16.2B [4]" in text


def test_an_unknown_table() -> None:
    assert "known are v1-1, v1-2" in refused(call("tables", "v1-9"))


def test_trainings_stand_beside_table_5() -> None:
    """On as many test photos and classes they meet the published value, others have a row."""
    variant = get_variant("b0").name
    same = Transfer("cifar", variant, 50000, 10000, 10, 0.98149, 4_020_358)
    other = Transfer("mine", variant, 300, 60, 5, 0.9, 4_013_953)
    table = transfer([same, other])
    cells = {row.name: row.cells[0] for row in table.rows}
    first = cells["CIFAR-10 (10), B0"]
    assert first is not None
    assert first.agrees
    assert first.shown == "98.15"
    assert len(table.rows) == 17
    assert table.rows[-1].name == "yours: mine (5), b0"
    note = "300 training and validation photos, 60 test photos; the paper has no value"
    assert cells["yours: mine (5), b0"] == Cell("90.0", "", note)
    texts = [str(part) for part in render([table]).renderables]  # type: ignore[attr-defined]
    assert any(text.endswith(note) for text in texts)
    printed = str(render([table]).renderables[-2])  # type: ignore[attr-defined]
    assert printed.startswith("10 of 32 figures as published")
