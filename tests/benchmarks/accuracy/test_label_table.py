"""Labels CSVs of photos with several labels, and with a column for each class."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edge_effnet.benchmarks.accuracy.dataset import load
from edge_effnet.benchmarks.accuracy.label_table import read_label_table
from edge_effnet.errors import UsageError
from support.colour_models import photos

NAMES = ("Cat", "dog", "red fox")


def table(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    "text",
    [
        "file,label\na.png,cat; Red Fox\nb.png,\nc.png,dog\n",
        "file,label\na.png,0;2\nc.png,1\nb.png,\n",
        "file,label\na.png,cat\na.png,red_fox\nb.png,\nc.png,dog\n",
        "file,red fox,Cat,dog\na.png,1,1,0\nb.png,0,0,0\nc.png,,,1\n",
        "file,split,cat,dog,red fox\na.png,x,TRUE,false,1.0\nb.png,x,no,no,no\nc.png,x,0,yes,0\n",
    ],
)
def test_several_labels(tmp_path: Path, text: str) -> None:
    for name in "abc":
        photos(tmp_path, 1)[0].rename(tmp_path / f"{name}.png")
    found = load(tmp_path, NAMES, table(tmp_path / "l.csv", text), multi_label=True)
    assert found.labelled
    rows = {photo.name: row for row, photo in enumerate(found.photos)}
    sets = found.label_sets(NAMES)
    assert sets is not None
    expected = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 0]], bool)
    assert np.array_equal(sets[[rows["a.png"], rows["b.png"], rows["c.png"]]], expected)


def test_one_column_a_class_of_one_class_photos(tmp_path: Path) -> None:
    path = table(tmp_path / "l.csv", "file,Cat,dog,red fox\na.png,0,1,0\nb.png,1,0,0\n")
    assert [row.labels for row in read_label_table(path, NAMES)] == [("dog",), ("cat",)]


@pytest.mark.parametrize(
    ("text", "multi_label", "said"),
    [
        ("file,cat,dog\na.png,1,0\n", True, "red fox are missing"),
        ("file,cat,dog,red fox,owl\na.png,1,0,0,1\n", True, "owl are no classes"),
        ("file,cat,dog,red fox\na.png,1,0,0.3\n", True, "line 2: '0.3' in the column 'red fox'"),
        ("file,cat,dog,red fox\na.png,1,-1,0\n", True, "line 2: '-1' in the column 'dog'"),
        ("file,cat,dog,red fox\na.png,1,1,0\n", False, r"line 2: 2 classes are 1 \(cat, dog\)"),
        ("file,cat,dog,red fox\na.png,1,0,0\na.png,0,1,0\n", True, "twice"),
        ("file,label\na.png,cat\na.png,dog\n", False, "twice"),
        ("file,owl\na.png,1\n", True, "no column 'label'"),
    ],
)
def test_unusable_tables(tmp_path: Path, text: str, multi_label: bool, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_label_table(table(tmp_path / "l.csv", text), NAMES, multi_label=multi_label)


def test_folders_give_one_label_each_and_that_is_said(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        photos(tmp_path / name, 1)
    found = load(tmp_path, NAMES, multi_label=True)
    assert np.array_equal(found.label_sets(NAMES), [[1, 0, 0], [0, 1, 0]])
    assert "no label but its folder's" in found.notes[0]


def test_a_column_repeated_thousands_of_times_costs_nothing(tmp_path: Path) -> None:
    header = ",".join(["file", *["cat"] * 16_000, *["elk"] * 16_000])
    started = time.process_time()
    with pytest.raises(UsageError, match="are no classes"):
        read_label_table(table(tmp_path / "l.csv", f"{header}\na,1\n"), NAMES)
    assert time.process_time() - started < 2


def test_many_rows_take_little_memory(tmp_path: Path) -> None:
    lines = (f"photo_{n:07d}.jpg,{NAMES[n % 3]},{'ab'[n % 2]}" for n in range(50_000))
    path = table(tmp_path / "l.csv", "\n".join(["file,label,split", *lines]))
    tracemalloc.start()
    rows = read_label_table(path, NAMES)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 400 * len(rows) == 400 * 50_000
