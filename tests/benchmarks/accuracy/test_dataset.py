from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge_effnet.benchmarks.accuracy.dataset import load
from edge_effnet.errors import EdgeEffNetError, ImageError, UsageError
from support.colour_models import LABELS, labels_csv, photos


def test_csv_with_indices_names_and_split(tmp_path: Path) -> None:
    photos(tmp_path / "p", 3)
    rows = [
        ("photo002.png", "6", "a"),
        ("photo000.png", " Colour 1 ", "a"),
        ("photo001.png", "2", "b"),
    ]
    table = labels_csv(tmp_path / "l.csv", rows, "file,label,split")
    everything = load(tmp_path / "p", LABELS, table)
    assert [photo.name for photo in everything.photos] == [row[0] for row in rows]
    assert np.array_equal(everything.targets(LABELS), [6, 1, 2])
    part = load(tmp_path / "p", LABELS, table, "b")
    assert [photo.name for photo in part.photos] == ["photo001.png"]
    assert part.split == "b"


def test_csv_with_bom_spaces_capitals_other_columns_and_blank_lines(tmp_path: Path) -> None:
    photos(tmp_path, 1)
    table = tmp_path / "l.csv"
    table.write_text("\ufeffid, Label ,FILE\n\n1, 3 ,photo000.png\n\n", encoding="utf-8")
    assert np.array_equal(load(tmp_path, LABELS, table).targets(LABELS), [3])


def test_csv_files_may_lie_beside_the_csv(tmp_path: Path) -> None:
    photos(tmp_path / "images", 1)
    table = labels_csv(tmp_path / "l.csv", [("images/photo000.png", "0")])
    assert load(tmp_path / "images", LABELS, table).photos[0].path.is_file()


@pytest.mark.parametrize("separator", [";", "\t"])
def test_csv_of_other_separators(tmp_path: Path, separator: str) -> None:
    photos(tmp_path, 1)
    table = tmp_path / "l.csv"
    table.write_text(f"file{separator}label\nphoto000.png{separator}3\n")
    assert np.array_equal(load(tmp_path, LABELS, table).targets(LABELS), [3])


def test_csv_names_files_as_other_systems_write_them(tmp_path: Path) -> None:
    photos(tmp_path / "cle\u0301", 1)  # as a Mac's disk has it
    table = labels_csv(tmp_path / "l.csv", [("cl\u00e9\\photo000.png", "3")])
    (found,) = load(tmp_path, LABELS, table).photos
    assert found.path.is_file()
    assert found.label == "3"


@pytest.mark.parametrize(
    ("header", "rows", "split", "kind", "message"),
    [
        ("name,label", [("photo000.png", "1")], None, UsageError, "no column 'file'"),
        ("file,class", [("photo000.png", "1")], None, UsageError, "no column 'label'"),
        ("file,label", [("photo000.png", "1")], "x", UsageError, "no column 'split'"),
        ("file,label,split", [("photo000.png", "1", "a")], "x", UsageError, "'x'; it has a"),
        ("file,label", [], None, UsageError, "lists no photo"),
        ("file,label", [("photo000.png", "")], None, UsageError, "line 2: the column 'label'"),
        ("file,label", [("photo000.png",)], None, UsageError, "line 2: the column 'label'"),
        ("file,label", [("photo000.png", "1")] * 2, None, UsageError, "twice"),
        ("file,label", [("no.png", "1"), ("nor.png", "1")], None, ImageError, "2 of the 2 files"),
    ],
)
def test_csv_that_cannot_be_used(
    tmp_path: Path, header: str, rows: list, split: str | None, kind: type, message: str
) -> None:
    photos(tmp_path, 1)
    table = labels_csv(tmp_path / "l.csv", rows, header)
    with pytest.raises(kind, match=message):
        load(tmp_path, LABELS, table, split)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("7", "out of range: the model has 7 classes, 0 to 6"),
        ("-1", "neither a class index"),
        ("1.0", "neither a class index"),
        ("zebra", "neither a class index"),
        ("twin", "names the classes 1, 2"),
    ],
)
def test_labels_that_fit_no_class(tmp_path: Path, label: str, message: str) -> None:
    photos(tmp_path, 1)
    table = labels_csv(tmp_path / "l.csv", [("photo000.png", label)])
    classes = ("a", "twin", "twin", "d", "e", "f", "g")
    with pytest.raises(UsageError, match=message):
        load(tmp_path, classes, table).targets(classes)


def test_unreadable_csv(tmp_path: Path) -> None:
    photos(tmp_path, 1)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    for name, message in (("binary.csv", "cannot read the labels"), ("none.csv", "is no file")):
        with pytest.raises(UsageError, match=message):
            load(tmp_path, LABELS, tmp_path / name)


def test_folder_a_class_by_index_or_name(tmp_path: Path) -> None:
    photos(tmp_path / "3", 2)
    photos(tmp_path / "Colour 0" / "deeper", 1)
    found = load(tmp_path, LABELS)
    assert found.labelled
    assert np.array_equal(found.targets(LABELS), [3, 3, 0])
    assert found.photos[2].name == "Colour 0/deeper/photo000.png"


def test_complete_wordnet_folders_are_classes_in_order(tmp_path: Path) -> None:
    for index in (2, 0, 1):
        photos(tmp_path / f"n0000000{index}", 1)
    assert np.array_equal(load(tmp_path, ("a", "b", "c")).targets(("a", "b", "c")), [0, 1, 2])
    with pytest.raises(UsageError, match="WordNet"):
        load(tmp_path, LABELS)


def test_other_folders_are_no_labels(tmp_path: Path) -> None:
    photos(tmp_path / "holiday", 1)
    photos(tmp_path, 1)
    found = load(tmp_path, LABELS)
    assert not found.labelled
    assert found.targets(LABELS) is None
    assert len(found.photos) == 2


@pytest.mark.parametrize("stray", ["holiday", "", "99"])
def test_a_mixture_of_class_folders_and_others_is_refused(tmp_path: Path, stray: str) -> None:
    photos(tmp_path / "3", 1)
    photos(tmp_path / stray, 1)
    with pytest.raises(UsageError, match="name a class"):
        load(tmp_path, LABELS)


def test_missing_or_empty_folder(tmp_path: Path) -> None:
    table = labels_csv(tmp_path / "l.csv", [("a.png", "1")])
    for labels in (None, table):
        with pytest.raises(ImageError, match="does not exist"):
            load(tmp_path / "none", LABELS, labels)
    with pytest.raises(ImageError, match="no images"):
        load(tmp_path, LABELS)
    photos(tmp_path, 1)
    with pytest.raises(EdgeEffNetError, match="needs a labels CSV"):
        load(tmp_path, LABELS, split="evaluation")


def test_thousands_of_missing_files_are_not_all_looked_for(tmp_path: Path) -> None:
    photos(tmp_path, 1)
    for count, least in ((1000, "1,000"), (1001, "at least 1,000")):
        rows = [(f"{number}.png", "1") for number in range(count)]
        table = labels_csv(tmp_path / "l.csv", rows)
        with pytest.raises(ImageError, match=f"^{least} of the {count:,} files"):
            load(tmp_path, LABELS, table)
